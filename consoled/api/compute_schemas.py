"""The bodies of the compute API's requests for consoles (reference: nova-contract).

They are what nova takes, so that a client hears of a type that consoled does not have in the
words of its own API.
"""

from __future__ import annotations

from functools import cache

from consoled.api.microversions import Microversion
from consoled.api.schemas import Schema, Shape

_MKS_FROM = Microversion(2, 8)
_SPICE_DIRECT_FROM = Microversion(2, 99)

ANY_OBJECT: Schema = {"type": "object"}
"""What is looked at by its version or its one member."""


def _exactly(name: str, properties: Schema) -> Schema:
    inner = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {name: inner},
        "required": [name],
        "additionalProperties": False,
    }


GET_SERIAL_CONSOLE = Shape(_exactly("os-getSerialConsole", {"type": {"enum": ["serial"]}}))
"""``POST /v2.1/servers/{server_id}/action``."""


def remote_console(version: Microversion) -> Shape:
    """``POST /v2.1/servers/{server_id}/remote-consoles`` in that version."""
    return _remote_console(version >= _MKS_FROM, version >= _SPICE_DIRECT_FROM)


@cache
def _remote_console(mks: bool, spice_direct: bool) -> Shape:
    protocols = ["vnc", "spice", "serial", "rdp", *["mks"] * mks]
    types = ["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"]
    types += ["webmks"] * mks + ["spice-direct"] * spice_direct
    properties = {"protocol": {"enum": protocols}, "type": {"enum": types}}
    return Shape(_exactly("remote_console", properties))

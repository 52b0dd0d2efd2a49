"""The shapes of request bodies, and words for what breaks them.

:data:`GET_SERIAL_CONSOLE` is the schema of the serial-ports specification,
letter by letter; the native route has the same with its own name, and a role in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from consoled.errors import BadRequest
from consoled.model import OBSERVER, WRITER

Schema = Mapping[str, Any]


def _one_member(name: str, properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            name: {
                "type": ["object", "null"],
                "properties": properties,
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


GET_SERIAL_CONSOLE = _one_member("serial_console", {})
"""``POST .../get-serial-console``."""

CREATE_TOKEN = _one_member("token", {"role": {"enum": [WRITER, OBSERVER]}})
"""``POST .../tokens``."""

MIGRATE = _one_member("migration", {"host": {"type": "string"}})
"""``POST /v1/servers/{server_id}/migration``."""

CREATE_REPLAY_TOKEN = _one_member("token", {})
"""``POST /v1/recordings/{recording_id}/tokens``."""

SEND_BREAK: Schema = {
    "type": "object",
    "properties": {"sysrq": {"type": ["string", "null"]}},
    "additionalProperties": False,
}
"""``POST .../break``; which keys there are is told by :mod:`consoled.sysrq`."""

CONFIGURE_CONSOLES = _one_member(
    "consoles",
    {
        "ports": {"type": "integer"},
        "image_properties": {"type": "object"},
        **{name: {"type": "boolean"} for name in ("log", "tls", "force", "dry_run")},
    },
)
"""``POST /v1/servers/{server_id}/consoles``; how many ports there can be is told by
:mod:`consoled.compute.port_count`."""

_STRING = {"type": "string"}
_OPTIONAL = {"type": ["string", "null"]}
_STRINGS = {"type": "array", "items": _STRING}
_TRAITS: Schema = {
    "name": _STRING,
    "is_proxy": {"type": "boolean"},
    "known_hosts": _STRINGS,
    **dict.fromkeys(
        ("project_id", "user_name", "key_file", "private_key", "passphrase", "proxy_group_id"),
        _OPTIONAL,
    ),
}
_GROUP: Schema = {
    **_TRAITS,
    "hosts": _STRINGS,
    "members": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "instance_id": _STRING,
                "host": _STRING,
                "port": {"type": "integer"},
            },
            "additionalProperties": False,
        },
    },
}

NODE_GROUP = _one_member("node_group", _GROUP)
"""``PATCH /v1/node-groups/{group_id}``; what values there can be is told by
:mod:`consoled.reaching.wishes`."""

NODE_GROUP_TO_MAKE = _one_member("node_group", {**_GROUP, "node_group_template_id": _OPTIONAL})
"""``POST /v1/node-groups``."""

NODE_GROUP_TEMPLATE = _one_member("node_group_template", _TRAITS)
"""``POST`` and ``PATCH`` below ``/v1/node-group-templates``."""

_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_NAMES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "a boolean",
    "null": "null",
}


class Shape:
    """A schema, ready to be compared with many bodies."""

    def __init__(self, schema: Schema) -> None:
        self._validator = Draft202012Validator(schema)
        self._empty_fits = self._validator.is_valid({})

    def check(self, body: object) -> None:
        """Nothing, where the body fits.

        :param body: decoded JSON.
        :raises consoled.errors.BadRequest: which field is wrong, and how.
        """
        if self._empty_fits and body == {}:
            return  # As nearly all are.
        error = best_match(self._validator.iter_errors(body))
        if error is not None:
            raise _refusal(error)


def check(body: object, schema: Schema) -> None:
    """As :meth:`Shape.check`, once."""
    Shape(schema).check(body)


def _refusal(error: ValidationError) -> BadRequest:
    # The words are ours: jsonschema's quote the whole value, however long.
    where = ".".join(str(part) for part in error.absolute_path) or "The body"
    schema: Any = error.schema
    if error.validator == "additionalProperties":
        known = schema["properties"]
        unknown = min(name for name in cast(Any, error.instance) if name not in known)
        there = f"it may hold {', '.join(map(shown, known))}" if known else "it must be empty"
        return BadRequest(f"{where} has the unknown member {shown(unknown)}; {there}.")
    if error.validator == "required":
        lacking = min(name for name in schema["required"] if name not in cast(Any, error.instance))
        return BadRequest(f"{where} lacks the member {shown(lacking)}.")
    if error.validator == "enum":
        return BadRequest(f"{where} must be {' or '.join(map(shown, schema['enum']))}.")
    wanted = schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    return BadRequest(
        f"{where} must be {' or '.join(_NAMES[name] for name in names)}, "
        f"not {_TYPES[type(error.instance)]}."
    )


def shown(name: str) -> str:
    """A member's name as an error quotes it: short, and of printable characters only."""
    short = name if len(name) <= 64 else name[:64] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in short) + '"'

"""The shapes of request bodies, and words for what breaks them.

:data:`GET_SERIAL_CONSOLE` is the schema of the serial-ports specification,
letter by letter; the native route has the same with its own name, and a role in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

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

_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_NAMES = {"object": "an object", "null": "null"}


def check(body: object, schema: Schema) -> None:
    """Nothing, where the body fits.

    :param body: decoded JSON.
    :raises consoled.errors.BadRequest: which field is wrong, and how.
    """
    error = best_match(Draft202012Validator(schema).iter_errors(body))
    if error is None:
        return
    # The words are ours: jsonschema's quote the whole value, however long.
    where = ".".join(str(part) for part in error.absolute_path) or "The body"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = min(name for name in error.instance if name not in known)
        there = f"it may hold {', '.join(map(shown, known))}" if known else "it must be empty"
        raise BadRequest(f"{where} has the unknown member {shown(unknown)}; {there}.")
    if error.validator == "enum":
        raise BadRequest(f"{where} must be {' or '.join(map(shown, error.schema['enum']))}.")
    wanted = error.schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    raise BadRequest(
        f"{where} must be {' or '.join(_NAMES[name] for name in names)}, "
        f"not {_TYPES[type(error.instance)]}."
    )


def shown(name: str) -> str:
    """A member's name as an error quotes it: short, and of printable characters only."""
    short = name if len(name) <= 64 else name[:64] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in short) + '"'

"""Reading a request's body.

A body is JSON text in UTF-8, at most 64 KiB of it. ``Content-Type`` may be
absent (curl users forget it; the credential is a header, so no browser form
can send one); any other media type than ``application/json`` is refused. An
absent body and ``null`` are the empty object.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from twisted.web.server import Request

from consoled.api.schemas import shown
from consoled.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

BODY_LIMIT = 64 * 1024
DEPTH_LIMIT = 16

_CHARSET = re.compile(r'charset="?utf-?8"?', re.IGNORECASE)


def read_json(request: Request) -> Any:
    """The decoded body, ``{}`` where there is none.

    :raises consoled.errors.PayloadTooLarge: it is over 64 KiB.
    :raises consoled.errors.UnsupportedMediaType: it says to be something else.
    :raises consoled.errors.BadRequest: it is not JSON, and where.
    """
    content = request.content
    assert content is not None
    content.seek(0)
    raw = content.read(BODY_LIMIT + 1)
    if not raw:
        return {}
    if len(raw) > BODY_LIMIT:
        raise PayloadTooLarge(f"The body is over the limit of {BODY_LIMIT} bytes.")
    check_media_type(request.getHeader("content-type"), request.getHeader("content-encoding"))
    return decode_json(raw)


def check_media_type(content_type: str | None, content_encoding: str | None = None) -> None:
    """Nothing, where a body of that type can be JSON.

    :raises consoled.errors.UnsupportedMediaType: it cannot.
    """
    if content_encoding is not None and content_encoding.strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be encoded; leave Content-Encoding away.")
    if content_type is None:
        return
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type.lower() != "application/json" or not all(
        _CHARSET.fullmatch(p) for p in parameters if p
    ):
        raise UnsupportedMediaType("The body must be JSON: send Content-Type: application/json.")


def decode_json(raw: bytes) -> Any:
    """The value of a JSON text; ``null`` is ``{}``.

    Stricter than :mod:`json`: no name twice, no NaN or Infinity, no deep nesting.

    :raises consoled.errors.BadRequest: what is wrong, and where.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The body is not JSON: it is not UTF-8 text at byte {error.start}."
        ) from error
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise BadRequest("The body has a number with too many digits.") from error
    _check_depth(value)
    return {} if value is None else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest(f"The body has the member {shown(name)} twice.")
        found[name] = value
    return found


def _constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not JSON: {name} is not a JSON number.")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> BadRequest:
    return BadRequest(f"The body is nested deeper than {DEPTH_LIMIT} levels.")

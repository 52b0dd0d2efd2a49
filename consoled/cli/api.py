"""A client of consoled's REST API: requests out, JSON in, errors that say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from attrs import frozen

from consoled import __version__
from consoled.cli.endpoint import Endpoint
from consoled.cli.failure import Failure, warn

_PARTIAL = 206
_UNAUTHORIZED = 401
_RANGE_NOT_SATISFIABLE = 416
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)", re.ASCII)
_QUOTED = 120


@frozen
class Answer:
    """An HTTP answer of any status.

    :ivar headers: by their names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportError(Exception):
    """There is no answer; the text says why, and what to do."""


class Transport(Protocol):
    """Sends one request."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """The answer, whatever its status; it blocks.

        :raises TransportError: there is none.
        """
        ...


def path(*segments: object) -> str:
    """A path of these segments, each one escaped."""
    return "".join(f"/{quote(str(segment), safe='')}" for segment in segments)


def query(values: Mapping[str, object]) -> str:
    """A query of the values that are not None, with its question mark; "" without any."""
    given = {name: value for name, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


@frozen
class ApiClient:
    """Asks one endpoint.

    An answer of consoled is an object with one member, such as ``{"servers": [...]}``;
    the methods give that member's value. A list may lack cells, which is said at once.
    """

    endpoint: Endpoint
    transport: Transport

    def get_list(self, route: str, member: str) -> list[dict[str, Any]]:
        """The objects at a route.

        :raises consoled.cli.failure.Failure: the API is away, or refuses.
        """
        return self._list("GET", route, member)

    def get(self, route: str, member: str) -> dict[str, Any]:
        """The object at a route.

        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        return self._object("GET", route, member)

    def fetch(self, route: str, start: int, most: int) -> tuple[bytes, int]:
        """A piece of a file, and how long the file is.

        :param start: the piece's first byte, from 0.
        :param most: its bytes at most; less than what the transport takes.
        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        answer = self._send("GET", route, part=f"bytes={start}-{start + most - 1}")
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status == _RANGE_NOT_SATISFIABLE and match is not None:
            return b"", int(match[2])
        if not 200 <= answer.status < 300:
            raise self._refusal("GET", route, answer, _decode(answer.body))
        if answer.status == _PARTIAL and match is not None and match[1] == str(start):
            return answer.body, int(match[2])
        if answer.status == _PARTIAL or start:
            raise self._strange("GET", route, "another range")
        return answer.body, len(answer.body)

    def delete(self, route: str) -> None:
        """Ends the object at a route.

        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        answer = self._send("DELETE", route)
        if not 200 <= answer.status < 300:
            raise self._refusal("DELETE", route, answer, _decode(answer.body))

    def delete_list(self, route: str, member: str) -> list[dict[str, Any]]:
        """The objects that a DELETE ends.

        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        return self._list("DELETE", route, member)

    def _list(self, method: str, route: str, member: str) -> list[dict[str, Any]]:
        value = self._member(method, route, member)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._strange(method, route)
        return value

    def post(self, route: str, member: str, wish: Any = None) -> dict[str, Any]:
        """The object that a POST makes.

        :param wish: sent as JSON; None sends no body.
        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        return self._object("POST", route, member, wish)

    def patch(self, route: str, member: str, wish: Any) -> dict[str, Any]:
        """The object at a route, after a change of those fields that are named.

        :param wish: sent as JSON.
        :raises consoled.cli.failure.Failure: as of :meth:`get_list`.
        """
        return self._object("PATCH", route, member, wish)

    def _object(self, method: str, route: str, member: str, wish: Any = None) -> dict[str, Any]:
        value = self._member(method, route, member, wish)
        if not isinstance(value, dict):
            raise self._strange(method, route)
        return value

    def _member(self, method: str, route: str, member: str, wish: Any = None) -> Any:
        answer = self._send(method, route, wish)
        value = _decode(answer.body)
        if not 200 <= answer.status < 300:
            raise self._refusal(method, route, answer, value)
        if not isinstance(value, dict) or member not in value:
            raise self._strange(method, route)
        if value.get("missing_cells"):
            cells = ", ".join(map(str, value["missing_cells"]))
            warn(f"cells that do not answer now are missing from the list: {cells}")
        return value[member]

    def _send(self, method: str, route: str, wish: Any = None, part: str | None = None) -> Answer:
        headers = {
            "Accept": "application/json",
            "User-Agent": f"consolectl/{__version__}",
            "X-Auth-Token": self.endpoint.key,
        }
        if part is not None:
            headers["Range"] = part
        body = None
        if wish is not None:
            body = json.dumps(wish).encode()
            headers["Content-Type"] = "application/json"
        try:
            return self.transport.send(method, self.endpoint.url + route, headers, body)
        except TransportError as error:
            where = f"{self.endpoint.url} (from {self.endpoint.source})"
            raise Failure(f"cannot reach the API at {where}: {error}") from None

    def _refusal(self, method: str, route: str, answer: Answer, value: Any) -> Failure:
        message = _message(value)
        if answer.status == _UNAUTHORIZED:
            return Failure(
                f"the API at {self.endpoint.url} does not accept the key from "
                f"{self.endpoint.key_source}; give one of its keys with --key-file or CONSOLED_KEY"
            )
        if message is None:
            return self._strange(method, route, f"status {answer.status}{_plain(answer)}")
        hint = ""
        if "retry-after" in answer.headers:
            hint = f" Try again in {answer.headers['retry-after']} s."
        return Failure(f"{message}{hint} ({answer.status})")

    def _strange(self, method: str, route: str, what: str = "something else") -> Failure:
        return Failure(
            f"{method} {self.endpoint.url}{route} answers {what}, and not as consoled does; is "
            f"the address (from {self.endpoint.source}) the one of its API?"
        )


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _plain(answer: Answer) -> str:
    """What a short plain answer says, such as that the port speaks TLS only."""
    if not answer.headers.get("content-type", "").startswith("text/plain"):
        return ""
    text = " ".join(answer.body[:_QUOTED].decode("utf-8", "replace").split())
    return f" ({text})" if text else ""


def _message(value: Any) -> str | None:
    """The text of ``{fault: {"code": ..., "message": ...}}``, on one line."""
    inner = next(iter(value.values()), None) if isinstance(value, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return " ".join(message.split()) if isinstance(message, str) and message.strip() else None

"""One request and its answer: what the log lines about it share."""

from __future__ import annotations

import re
from typing import Any, cast

from attrs import define, field, frozen
from twisted.web.server import Request

from consoled.model import Caller

_GLOBAL_ID = re.compile(r"req-[0-9a-f-]{36}")


@define
class Exchange:
    """Known from the first byte of a request to the last of its answer.

    :ivar request_id: ours; a sent one is not trusted.
    :ivar global_request_id: the sent one where it looks like one, for the log only.
    :ivar src: the client's address.
    :ivar started: in seconds of the API's clock.
    :ivar route: the template that matched, e.g. ``/v1/servers/{server_id}``.
    :ivar caller: who sent it, once that is known.
    :ivar abandoned: whether the client went away before the answer.
    :ivar taken: whether its connection is another protocol's now, and there is no answer.
    :ivar reason: why the answer is a fault of ours, or of what consoled needs.
    :ivar cell: the cell whose answer it is, where that is not this one.
    """

    request_id: str
    global_request_id: str | None
    src: str
    started: float
    route: str | None = None
    caller: Caller | None = None
    abandoned: bool = False
    taken: bool = False
    reason: str | None = None
    cell: str | None = None


@frozen
class Call:
    """What a handler is told of an authenticated request.

    :ivar body: its JSON, which fits the route's schema; ``{}`` where there is none.
    """

    request_id: str
    caller: Caller
    body: Any = field(factory=dict)


def attach(request: Request, exchange: Exchange) -> None:
    """Ties them together; :func:`exchange_of` gives the exchange back."""
    cast(Any, request).exchange = exchange


def exchange_of(request: Request) -> Exchange:
    """The exchange that a request belongs to."""
    return cast(Exchange, cast(Any, request).exchange)


def global_request_id(sent: str | None) -> str | None:
    """A sent X-Openstack-Request-Id, if it is nothing but an id."""
    return sent if sent is not None and _GLOBAL_ID.fullmatch(sent) else None

"""A client's request as another cell gets it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from consoled.api.exchange import exchange_of
from consoled.auth.keystone import SERVICE, USER
from consoled.cells.asking import Wish
from consoled.cells.hop import CELL, Hop
from consoled.http.requestid import REQUEST_ID_HEADER

SENT = (
    *(USER, SERVICE),
    *("Accept", "Range", "Content-Type", "Content-Encoding"),
    *("OpenStack-API-Version", "X-OpenStack-Nova-API-Version"),
)
"""The client's headers that other cells get."""

ServiceToken = Callable[[], Deferred[str | None]]
"""Gives a token of consoled's own user, or None where it has none now."""


@frozen
class Wishes:
    """Makes them.

    :ivar own: this cell's name.
    :ivar base: where the client reached this API.
    :ivar service_token: vouches for users whose token expires on the way; None leaves it away.
    """

    own: str
    base: Callable[[Request], str]
    service_token: ServiceToken | None = None

    async def of(self, request: Request) -> Wish:
        """The same request, from this cell."""
        # The answer to HEAD is that to GET, and its body is left away here.
        method = b"GET" if request.method == b"HEAD" else request.method
        plain = Wish(method, request.uri, self._headers(request), _body(request))
        if self.service_token is None or plain.headers.hasHeader(SERVICE):
            return plain
        own = await self.service_token()
        if own is None:
            return plain
        headers = plain.headers.copy()
        headers.setRawHeaders(SERVICE, [own])
        headers.setRawHeaders(CELL, [str(Hop(self.own, vouched=True))])
        return evolve(plain, headers=headers, plain=plain)

    def _headers(self, request: Request) -> Headers:
        headers, sent = Headers(), request.requestHeaders
        for name in SENT:
            values = sent.getRawHeaders(name)
            if values is not None:
                headers.setRawHeaders(name, values)
        exchange, place = exchange_of(request), urlsplit(self.base(request))
        for name, value in (
            (CELL, str(Hop(self.own))),
            (REQUEST_ID_HEADER, exchange.request_id),
            ("X-Forwarded-For", exchange.src),
            ("X-Forwarded-Host", place.netloc),
            ("X-Forwarded-Proto", place.scheme),
        ):
            headers.setRawHeaders(name, [value])
        return headers


def _body(request: Request) -> bytes:
    content = request.content
    if content is None:
        return b""
    content.seek(0)
    body: bytes = content.read()
    return body

"""A BREAK for a console whose line another replica has: asked of that one."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http_headers import Headers

from consoled.errors import Conflict, Unavailable
from consoled.interfaces import Leases
from consoled.leasing.values import ConsoleKey, LeaseRow
from consoled.replicas.borrowing import Dialling
from consoled.replicas.break_papers import PAPERS, PATH, BreakWish, pack, subject
from consoled.replicas.hops import ANSWER_LIMIT, AWAY, TICKET
from consoled.replicas.tickets import TicketOffice

log = Logger()

LONGEST = 4096
"""Bytes of another replica's sentence."""


@define(eq=False)
class BreakAsker:
    """Implements :class:`consoled.breaking.BreaksElsewhere`.

    :ivar leases: knows which replica has a console.
    :ivar endpoint: where a replica's url is dialled.
    """

    leases: Leases
    tickets: TicketOffice
    reactor: Any
    endpoint: Callable[[str], IStreamClientEndpoint]
    _agent: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._agent = Agent.usingEndpointFactory(self.reactor, Dialling(self.endpoint))

    def send(self, key: ConsoleKey, sysrq: str | None, by: str) -> Deferred[bool]:
        """Has the replica that has the console's line send a BREAK on it.

        :param sysrq: the key that follows it; None for a BREAK alone.
        :param by: who sends it.
        :returns: whether another replica has the line, and has sent it.
        :raises consoled.errors.Conflict: it says why not at this moment.
        :raises consoled.errors.Unavailable: it cannot be reached, or its hypervisor cannot.
        """
        return Deferred.fromCoroutine(self._send(BreakWish(key, sysrq, by)))

    async def _send(self, wish: BreakWish) -> bool:
        owner = await self.leases.elsewhere(wish.key.instance_uuid, wish.key.index, None)
        if owner is None or owner.replica_id is None or not owner.url:
            return False
        papers = pack(wish)
        ticket = await self.tickets.make(owner.replica_id, subject(papers))
        headers = Headers({TICKET: [ticket.encode()], PAPERS: [papers]})
        asking = Deferred.fromCoroutine(self._ask(owner, headers))
        try:
            status, text = await asking.addTimeout(ANSWER_LIMIT, self.reactor)
        except Exception as error:  # whatever a network, TLS or HTTP has
            log.warn(
                "replica {replica_id} was asked for a BREAK, and did not answer at {url}: {reason}",
                event="replica_unreachable",
                replica_id=owner.replica_id,
                url=owner.url,
                reason=str(error) or type(error).__name__,
            )
            raise Unavailable(AWAY) from error
        if status == HTTPStatus.CONFLICT:
            raise Conflict(text)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Unavailable(text)
        return status == HTTPStatus.NO_CONTENT

    async def _ask(self, owner: LeaseRow, headers: Headers) -> tuple[int, str]:
        assert owner.url is not None
        answer: Any = await self._agent.request(b"POST", owner.url.encode() + PATH, headers)
        words = _Words()
        answer.deliverBody(words)
        return answer.code, await words.all


class _Words(Protocol):
    """Gathers a body.

    :ivar all: fires with its text; fails where it is too long, or cut off.
    """

    def __init__(self) -> None:
        self.all: Deferred[str] = Deferred()
        self._body = b""

    def dataReceived(self, data: bytes) -> None:
        """A piece."""
        self._body += data
        if len(self._body) > LONGEST:
            transport: Any = self.transport
            transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """All has come, or no more will."""
        if len(self._body) > LONGEST:
            self.all.errback(ValueError("its answer is too long"))
        elif reason is not None and not reason.check(ResponseDone):
            self.all.errback(reason)
        else:
            self.all.callback(self._body.decode("utf-8", "replace"))

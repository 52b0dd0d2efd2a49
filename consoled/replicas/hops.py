"""Any replica serves any viewer: the way to the one that has the console.

::

    viewer --- this replica ===(GET /v1/replica/viewers, a ticket)=== the owner --- guest

The owner answers the viewer's own handshake, so that this side only carries bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectionClosed, UserError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from consoled.errors import ConsoleBusy, Unavailable
from consoled.interfaces import Leases
from consoled.leasing.values import LeaseRow
from consoled.model import SHELL, ConsoleAuthToken
from consoled.proxy.reception import Arrival
from consoled.proxy.websocket import Handshake
from consoled.replicas.ferry import Hop, OwnerSide, ViewerSide
from consoled.replicas.papers import UnreadablePapers, pack, unpack
from consoled.replicas.tickets import TicketOffice

log = Logger()

PATH = b"/v1/replica/viewers"
TICKET = b"X-Consoled-Ticket"
PAPERS = b"X-Consoled-Arrival"
ANSWER_LIMIT = 5.0
"""Seconds until another replica of the cell has answered."""
ACCEPTED = b"HTTP/1.1 101 "
AWAY = "The server that has this console cannot be reached now. Try again in a moment."
RESTARTED = "The server that had this console has just restarted. Try again in a moment."


@define(eq=False)
class Hops:
    """Carries viewers to other replicas, and lets in those that others bring.

    :ivar own_url: this replica's; another one there is a dead incarnation of this one.
    :ivar endpoint: where a replica's url is dialled.
    """

    leases: Leases
    tickets: TicketOffice
    own_url: str
    endpoint: Callable[[str], IStreamClientEndpoint]
    clock: IReactorTime
    _under_way: dict[Hop, str] = field(factory=dict, init=False)
    _ended: list[Deferred[None]] = field(factory=list, init=False)

    def __len__(self) -> int:
        return len(self._under_way)

    def owner(
        self, token: ConsoleAuthToken | None, session_id: str | None
    ) -> Deferred[LeaseRow | None]:
        """The lease of the other replica that has this session, or else this console.

        :raises consoled.errors.ConsoleBusy: it has no ``[proxy] replica_url``.
        :raises consoled.errors.Unavailable: the database is away.
        """
        if token is None or token.console_type == SHELL:
            # A shell is found by its session: a token for one gets another wherever it is shown.
            uuid, index = None, 0
            if session_id is None:
                return succeed(None)
        else:
            uuid, index = token.instance_uuid, token.index
        return self.leases.elsewhere(uuid, index, session_id).addCallback(self._reachable)

    def _reachable(self, row: LeaseRow | None) -> LeaseRow | None:
        if row is None:
            return None
        if row.url and row.url == self.own_url:
            raise Unavailable(RESTARTED)
        if not row.url:
            log.warn(
                "replica {replica_id} has the console that was asked for, and no [proxy] "
                "replica_url: set it there",
                event="replica_without_url",
                replica_id=row.replica_id,
            )
            raise ConsoleBusy("This console is in use. Try again later.")
        return row

    async def begin(self, owner: LeaseRow, handshake: Handshake, arrival: Arrival) -> Hop:
        """A connection to the owner that has been asked to take the viewer.

        :raises consoled.errors.Unavailable: it cannot be reached.
        """
        assert owner.url is not None
        assert owner.replica_id is not None
        papers = pack(evolve(arrival, facts={**arrival.facts, "via": self.tickets.own_id()}))
        ticket = await self.tickets.make(owner.replica_id, papers)
        request = _request(owner.url, handshake, ticket, papers)
        factory = Factory.forProtocol(lambda: OwnerSide(request))
        factory.noisy = False
        try:
            hop = await Deferred.fromCoroutine(self._dial(owner.url, factory)).addTimeout(
                ANSWER_LIMIT, self.clock
            )
        except (TimedOut, UserError, ConnectError, ConnectionClosed, OSError) as error:
            log.warn(
                "replica {replica_id} cannot be reached at {url}: {reason}",
                event="replica_unreachable",
                replica_id=owner.replica_id,
                url=owner.url,
                reason=str(error) or type(error).__name__,
                **arrival.facts,
            )
            raise Unavailable(AWAY) from error
        side = hop.owner_side
        self._under_way[hop] = owner.replica_id
        side.on_end = lambda: self._over(hop)
        log.info(
            "a viewer of session {session_id} is relayed to replica {replica_id}",
            event="viewer_relayed",
            session_id=owner.session_id,
            replica_id=owner.replica_id,
            **arrival.facts,
        )
        return hop

    async def _dial(self, url: str, factory: Factory[OwnerSide]) -> Hop:
        side: Any = await self.endpoint(url).connect(factory)
        try:
            first = await side.answered
            if not first.startswith(ACCEPTED):
                raise ConnectionClosed("it does not take the viewer")
            return Hop(side, ViewerSide(first))
        except BaseException:
            side.transport.abortConnection()
            raise

    async def arrival(self, headers: Headers) -> Arrival | None:
        """The viewer that another replica of the cell brings; None where it is none."""
        tickets, papers = headers.getRawHeaders(TICKET), headers.getRawHeaders(PAPERS)
        if not tickets or not papers:
            return None
        try:
            secret = tickets[0].decode("ascii")
            if not await self.tickets.take(secret, papers[0]):
                return None
            return unpack(papers[0])
        except (Unavailable, UnicodeDecodeError):
            return None
        except UnreadablePapers as error:
            log.warn("another replica's viewer cannot be understood: {reason}", reason=str(error))
            return None

    def end_all(self) -> Deferred[None]:
        """Ends every relayed connection; fires when the last one is gone."""
        if not self._under_way:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        for hop in list(self._under_way):
            hop.drop()
        return ended

    def keep(self, living: Collection[str]) -> None:
        """Cuts viewers off replicas that have died without closing anything.

        :param living: the ids of all replicas that are not dead.
        """
        for hop, owner in list(self._under_way.items()):
            if owner not in living:
                hop.drop()

    def _over(self, hop: Hop) -> None:
        self._under_way.pop(hop, None)
        if not self._under_way:
            waiting, self._ended = self._ended, []
            for deferred in waiting:
                deferred.callback(None)


def _request(url: str, handshake: Handshake, ticket: str, papers: bytes) -> bytes:
    lines = [
        b"GET " + PATH + b" HTTP/1.1",
        b"Host: " + url.partition("://")[2].encode(),
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + handshake.key,
        TICKET + b": " + ticket.encode(),
        PAPERS + b": " + papers,
    ]
    if handshake.chosen is not None:
        lines.append(b"Sec-WebSocket-Protocol: " + handshake.chosen.encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"

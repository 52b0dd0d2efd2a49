"""The way of a viewer between two replicas, without sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from cells import memory_database
from fakes import WEB_1, result
from memory_leases import MemoryLeases
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers
from wires import Wire

from consoled.db.database import CellDatabase
from consoled.errors import ConsoleBusy, TokenInvalid, Unavailable
from consoled.leasing.values import ConsoleKey, LeaseRow
from consoled.model import SHELL, ConsoleAuthToken
from consoled.proxy.reception import Arrival
from consoled.proxy.resuming import ResumeKey
from consoled.proxy.websocket import Handshake
from consoled.replicas.ferry import Hop, OwnerSide, ViewerSide
from consoled.replicas.hops import Hops
from consoled.replicas.papers import UnreadablePapers, pack, unpack
from consoled.replicas.tickets import TicketOffice

TOKEN = ConsoleAuthToken(
    token_hash="ab" * 32,
    instance_uuid=WEB_1,
    index=1,
    host="192.0.2.1",
    port=10001,
    generation=3,
    access_url="https://console.example.org/serial.html",
    expires=1_767_225_600,
    user_id="mia",
    options={"rights": "see_holder"},
    left=42.0,
)


@pytest.mark.parametrize(
    "arrival",
    [
        Arrival(TOKEN, facts={"src": "203.0.113.9", "origin": None}),
        Arrival(TOKEN, ResumeKey.make(WEB_1), since=7, takeover=True),
        Arrival(TokenInvalid("no token"), ResumeKey.make(WEB_1)),
        Arrival(Unavailable("the database is away"), ResumeKey.make(WEB_1)),
    ],
)
def test_papers(arrival: Arrival) -> None:
    """What a replica says of a viewer is what the other one understands."""
    read = unpack(pack(arrival))
    assert (read.resume, read.since, read.takeover) == (
        arrival.resume,
        arrival.since,
        arrival.takeover,
    )
    assert read.facts == arrival.facts
    if isinstance(arrival.outcome, ConsoleAuthToken):
        assert read.token == TOKEN
        assert read.token.left == 42.0
    else:
        assert type(read.outcome) is type(arrival.outcome)
        assert str(read.outcome) == str(arrival.outcome)


@pytest.mark.parametrize("text", [b"", b"%%%", b"e30=", b"W10=", b"bnVsbA=="])
def test_unreadable_papers(text: bytes) -> None:
    """What no replica writes is no viewer."""
    with pytest.raises(UnreadablePapers):
        unpack(text)


@pytest.fixture
def database() -> Iterator[CellDatabase]:
    """An empty cell database."""
    made = memory_database()
    yield made
    made.stop()


def test_a_ticket_opens_once(database: CellDatabase) -> None:
    """A ticket is for one replica, one viewer, one time."""
    there = TicketOffice(database, lambda: "replica-a")
    elsewhere = TicketOffice(database, lambda: "replica-b")
    secret = result(there.make("replica-a", b"papers"))
    assert not result(elsewhere.take(secret, b"papers"))
    assert not result(there.take(secret, b"other papers"))
    assert not result(there.take("guess", b"papers"))
    assert result(there.take(secret, b"papers"))
    assert not result(there.take(secret, b"papers"))


def test_a_ticket_without_a_replica(database: CellDatabase) -> None:
    """A replica that has no id now takes nobody in."""
    here = TicketOffice(database, lambda: None)
    secret = result(here.make("replica-a", b"papers"))
    assert not result(here.take(secret, b"papers"))


def test_ticket_rows_hold_no_secret(database: CellDatabase) -> None:
    """A copy of the database opens nothing (faults.md T6)."""
    office = TicketOffice(database, lambda: "replica-a")
    secret = result(office.make("replica-a", b"papers"))
    rows = result(database.read(lambda c: list(c.exec_driver_sql("SELECT * FROM replica_tickets"))))
    assert len(rows) == 1
    assert secret not in repr(rows)


def joined() -> tuple[Hop, Wire, Wire]:
    """A hop with the sockets of its owner and its viewer."""
    owner, viewer = Wire(), Wire()
    owner.protocol = side = OwnerSide(b"GET")
    side.makeConnection(owner)
    assert owner.written == b"GET"
    side.dataReceived(b"HTTP/1.1 101\r\n\r\n")
    assert owner.producerState == "paused"
    hop = Hop(side, ViewerSide(result(side.answered)))
    viewer.protocol = hop.viewer_side
    hop.viewer_side.makeConnection(viewer)
    return hop, owner, viewer


def test_ferry_carries_bytes() -> None:
    """Both ways, unchanged; a full socket stops the reading of the other one."""
    hop, owner, viewer = joined()
    assert owner.producerState == "producing"
    hop.owner_side.dataReceived(b"output")
    hop.viewer_side.dataReceived(b"input")
    assert (viewer.written, owner.written) == (b"HTTP/1.1 101\r\n\r\noutput", b"GETinput")
    viewer.producer.pauseProducing()
    assert owner.producerState == "paused"
    owner.producer.pauseProducing()
    assert viewer.producerState == "paused"


@pytest.mark.parametrize("which", ["owner", "viewer"])
def test_either_end_ends_both(which: str) -> None:
    """A connection without its other side is closed, and the hop is over once."""
    hop, owner, viewer = joined()
    ended: list[str] = []
    hop.owner_side.on_end = lambda: ended.append("over")
    (owner if which == "owner" else viewer).drop()
    assert not owner.connected
    assert not viewer.connected
    assert ended == ["over"]


def test_dropped_before_the_viewer_joins() -> None:
    """A hop whose viewer is gone already closes its owner's side."""
    owner = Wire()
    owner.protocol = side = OwnerSide(b"GET")
    side.makeConnection(owner)
    side.dataReceived(b"HTTP/1.1 101\r\n\r\n")
    hop = Hop(side, ViewerSide(result(side.answered)))
    hop.drop()
    assert not owner.connected


def test_owner_hangs_up_without_an_answer() -> None:
    """Whoever waits for the answer hears of it."""
    owner = Wire()
    owner.protocol = side = OwnerSide(b"GET")
    side.makeConnection(owner)
    owner.drop()
    with pytest.raises(ConnectionDone):
        result(side.answered)


URL = "http://10.0.0.11:6083"
ROW = LeaseRow(ConsoleKey(WEB_1, 1), 7, "replica-a", owner_dead=False, session_id="s1", url=URL)
HANDSHAKE = Handshake(b"dGhlIHNhbXBsZSBub25jZQ==", "consoled.v1")


class Elsewhere(MemoryLeases):
    """A cell in which another replica has everything."""

    row: LeaseRow | None = ROW
    asked: list[tuple[str | None, str | None]]

    def __init__(self) -> None:
        super().__init__()
        self.asked = []

    def elsewhere(
        self, instance_uuid: str | None, index: int, session_id: str | None
    ) -> Deferred[LeaseRow | None]:
        """The one row."""
        self.asked.append((instance_uuid, session_id))
        return succeed(self.row)


class Dialled:
    """An endpoint that connects at once, to a wire that can be looked at."""

    def __init__(self) -> None:
        self.wire = Wire()

    def connect(self, factory: Any) -> Deferred[Any]:
        """The protocol, connected."""
        self.wire.protocol = factory.buildProtocol(None)
        self.wire.protocol.makeConnection(self.wire)
        return succeed(self.wire.protocol)


def make_hops(database: CellDatabase, own_url: str = "") -> tuple[Hops, Dialled, Elsewhere]:
    """Hops to one other replica."""
    dialled, leases = Dialled(), Elsewhere()
    endpoint: Any = lambda url: dialled  # noqa: E731  # one expression
    office = TicketOffice(database, lambda: "replica-b")
    return Hops(leases, office, own_url, endpoint, Clock()), dialled, leases


def test_the_owner_is_asked_to_take_the_viewer(database: CellDatabase) -> None:
    """The viewer's own key and subprotocol go there, with a ticket that the owner can take."""
    hops, dialled, _ = make_hops(database)
    row = result(hops.owner(TOKEN, None))
    assert row is not None
    arrival = Arrival(TOKEN, facts={"src": "203.0.113.9"})
    begun = Deferred.fromCoroutine(hops.begin(row, HANDSHAKE, arrival))
    head = dialled.wire.written.decode()
    assert head.startswith("GET /v1/replica/viewers HTTP/1.1\r\nHost: 10.0.0.11:6083\r\n")
    assert "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" in head
    assert "Sec-WebSocket-Protocol: consoled.v1" in head
    headers = Headers()
    for line in head.split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        headers.addRawHeader(name, value)
    there = Hops(
        Elsewhere(), TicketOffice(database, lambda: "replica-a"), URL, hops.endpoint, Clock()
    )
    taken = result(Deferred.fromCoroutine(there.arrival(headers)))
    assert taken is not None
    assert taken.token == TOKEN
    assert taken.facts == {"src": "203.0.113.9", "via": "replica-b"}
    assert result(Deferred.fromCoroutine(there.arrival(headers))) is None
    dialled.wire.protocol.dataReceived(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert result(begun) is not None
    assert len(hops) == 1


def test_a_shell_is_found_by_its_session(database: CellDatabase) -> None:
    """A token for a shell leads to no other replica; the key of a shell's session does."""
    hops, _, leases = make_hops(database)
    token = evolve(TOKEN, console_type=SHELL)
    assert result(hops.owner(token, None)) is None
    assert leases.asked == []
    assert result(hops.owner(token, "session")) is not None
    assert leases.asked == [(None, "session")]


def test_an_owner_that_refuses(database: CellDatabase) -> None:
    """Only a handshake reaches the viewer; anything else is words that a browser can show."""
    hops, dialled, _ = make_hops(database)
    begun = Deferred.fromCoroutine(hops.begin(ROW, HANDSHAKE, Arrival(TOKEN)))
    dialled.wire.protocol.dataReceived(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(Unavailable):
        result(begun)
    assert not dialled.wire.connected
    assert len(hops) == 0


def test_the_own_former_incarnation(database: CellDatabase) -> None:
    """A replica that was killed and is back does not dial itself; it will be free in a moment."""
    hops, _, _ = make_hops(database, own_url=URL)
    with pytest.raises(Unavailable, match="restarted"):
        result(hops.owner(TOKEN, None))


def test_an_owner_without_a_url(database: CellDatabase) -> None:
    """Without an address the console is busy, and the log says what to set."""
    hops, _, leases = make_hops(database)
    leases.row = evolve(ROW, url="")
    with pytest.raises(ConsoleBusy):
        result(hops.owner(TOKEN, None))


def test_viewers_of_a_dead_replica_are_cut(database: CellDatabase) -> None:
    """A frozen owner says nothing; when it is declared dead its viewers may go elsewhere."""
    hops, dialled, _ = make_hops(database)
    begun = Deferred.fromCoroutine(hops.begin(ROW, HANDSHAKE, Arrival(TOKEN)))
    dialled.wire.protocol.dataReceived(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    viewer = Wire()
    viewer.protocol = result(begun).viewer_side
    viewer.protocol.makeConnection(viewer)
    hops.keep({"replica-a", "replica-b"})
    assert viewer.connected
    hops.keep({"replica-b"})
    assert not viewer.connected
    assert len(hops) == 0

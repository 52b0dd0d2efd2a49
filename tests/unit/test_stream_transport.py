"""The transport of consoles without a port, over sockets that a test holds the other end of."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from consoled.compute.libvirt.pumps import Wire
from consoled.errors import BackendUnreachable, HeldOutside, Unavailable
from consoled.http.waiting import waiting_bytes
from consoled.model import Console, Instance, InstanceState
from consoled.proxy.leg import Leg, LegFactory
from consoled.transports.by_kind import KindTransport
from consoled.transports.stream import StreamTransport

PTY = Console(0, "kvm1", None)
GUEST = Instance("u", "web", "demo", "kvm1", InstanceState.RUNNING, (PTY,))


class Streams:
    """Gives out sockets; the test plays the program at their other ends."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.kinds: dict[int, str] = {}
        self.wires: list[socket.socket] = []
        self.seen: list[int] = []
        self.waiting: list[Callable[[], None]] | None = None

    def dial(self, uri: str, instance_uuid: str, index: int) -> Deferred[Wire]:
        """A socket, at once or when the test lets it go."""
        self.asked.append((uri, instance_uuid, index))
        ours, theirs = socket.socketpair()
        theirs.settimeout(60)
        self.wires.append(theirs)
        wire = Wire(ours, len(self.wires))
        if self.waiting is None:
            return succeed(wire)
        later: Deferred[Wire] = Deferred()
        self.waiting.append(lambda: later.callback(wire))
        return later

    def closed(self, wire: Wire) -> str | None:
        """How it has ended."""
        self.seen.append(wire.number)
        return self.kinds.get(wire.number)


class Reader(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[Failure] = Deferred()
        self._wanted: tuple[bytes, Deferred[None]] | None = None

    def until(self, end: bytes) -> Deferred[None]:
        """Fires when that has come."""
        came: Deferred[None] = Deferred()
        self._wanted = end, came
        self.dataReceived(b"")
        return came

    def dataReceived(self, data: bytes) -> None:
        """One more piece."""
        self.data += data
        if self._wanted is not None and self.data.endswith(self._wanted[0]):
            (_, came), self._wanted = self._wanted, None
            came.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # always given
        """The end."""
        self.lost.callback(reason.value)  # type: ignore[arg-type]  # not to be raised


class StreamTests(TestCase):
    """Dials, what comes of them, and ends."""

    timeout = 20

    def setUp(self) -> None:
        """A transport for the host kvm1."""
        assert IReactorFDSet.providedBy(reactor)
        self.streams = Streams()
        uris = {"kvm1": "qemu:///system"}
        self.transport = StreamTransport(self.streams, uris.get, reactor)

    def tearDown(self) -> None:
        """Every socket was asked about once."""
        for wire in self.streams.wires:
            wire.close()
        self.assertEqual(len(set(self.streams.seen)), len(self.streams.seen))

    def dial(self, factory: Factory | None = None) -> Deferred[Any]:
        """A connection to the console."""
        made = Factory.forProtocol(Reader) if factory is None else factory
        return self.transport.endpoint(GUEST, PTY).connect(made)

    async def opened(self, factory: Factory | None = None) -> tuple[Any, socket.socket]:
        """A console that is open: the protocol, and the program's end."""
        dial = self.dial(factory)
        self.streams.wires[-1].send(b"+")
        return await dial, self.streams.wires[-1]

    async def test_bytes_go_both_ways(self) -> None:
        """What follows the answer is the console's, and so is all that is written."""
        dial = self.dial()
        self.assertEqual(self.streams.asked, [("qemu:///system", "u", 0)])
        wire = self.streams.wires[0]
        wire.send(b"+login: ")
        reader = await dial
        await reader.until(b"login: ")
        self.assertEqual(reader.data, b"login: ")
        reader.transport.write(b"root\n")
        await reader.until(b"login: ")
        self.assertEqual(await self.received(wire, 5), b"root\n")
        reader.transport.loseConnection()
        self.assertIsInstance(await reader.lost, ConnectionDone)

    async def received(self, wire: socket.socket, size: int) -> bytes:
        """What has come at the program's end; the reactor has its turns meanwhile."""
        from twisted.internet.threads import deferToThread

        data = b""
        while len(data) < size and (piece := await deferToThread(wire.recv, size - len(data))):
            data += piece
        return data

    async def test_a_leg(self) -> None:
        """A leg takes it as it takes TCP: paused first, what waits is bounded, half-closed last."""
        leg, wire = await self.opened(LegFactory())
        self.assertIsInstance(leg, Leg)
        wire.send(b"early ")
        heard: list[bytes] = []
        came: Deferred[None] = Deferred()

        def hear(data: bytes) -> None:
            heard.append(data)
            if b"".join(heard) == b"early output":
                came.callback(None)

        throttle = Throttle()
        leg.start(hear, lambda: None, throttle)
        wire.send(b"output")
        await came
        leg.write(b"x" * 65536)
        self.assertTrue(throttle.paused)
        self.assertGreater(waiting_bytes(leg.transport), 65536 - 4 * 8192)
        self.assertEqual(len(await self.received(wire, 65536)), 65536)
        self.assertFalse(throttle.paused)
        closed = leg.close(reactor)
        self.assertEqual(await self.received(wire, 1), b"")
        wire.close()
        await closed
        self.assertEqual(leg.fault, "")

    async def test_refusals(self) -> None:
        """Somebody else has it, it is gone, libvirt is away, something else: each in its words."""
        for answer, error, words in (
            (b"-busy Active console session", HeldOutside, "open through libvirt"),
            (b"-gone Domain not found", BackendUnreachable, "no such console any more"),
            (b"-away timed out", BackendUnreachable, "does not answer now"),
            (b"-lost \xff", BackendUnreachable, "did not open serial port 0 of web"),
            (b"", BackendUnreachable, "did not open serial port 0 of web"),
        ):
            dial = self.dial()
            self.streams.wires[-1].send(answer)
            self.streams.wires[-1].close()
            failure = await self.assertFailure(dial, error)
            self.assertIn(words, str(failure))

    async def test_ends(self) -> None:
        """The guest's end is an end; a stream that was taken, or broke, is a fault with words."""
        for kind, words in (
            ("end", ""),
            ("lost", "with force"),
            ("away", "connection to the hypervisor"),
            (None, "process that carried this console"),
        ):
            leg, wire = await self.opened(LegFactory())
            lost: Deferred[None] = Deferred()
            leg.start(lambda _: None, lambda lost=lost: lost.callback(None), Throttle())
            if kind is not None:
                self.streams.kinds[len(self.streams.wires)] = kind
            wire.close()
            await lost
            self.assertIn(words, leg.fault)
            self.assertEqual(bool(leg.fault), bool(words))

    async def test_a_dial_that_is_given_up(self) -> None:
        """Whether the socket is there already or not, it is closed."""
        for late in (False, True):
            self.streams.waiting = [] if late else None
            dial = self.dial()
            dial.cancel()
            await self.assertFailure(dial, CancelledError)
            if late:
                self.streams.waiting[0]()
            self.assertEqual(await self.received(self.streams.wires[-1], 1), b"")

    async def test_nothing_carries_streams(self) -> None:
        """The cause goes to whoever dials."""
        self.streams.dial = lambda *_: fail(Unavailable("not now"))  # type: ignore[method-assign]
        await self.assertFailure(self.dial(), Unavailable)

    def test_a_host_of_another_daemon(self) -> None:
        """Its consoles cannot be reached from here."""
        away = evolve(GUEST, host="kvm2")
        with self.assertRaisesRegex(BackendUnreachable, "compute host kvm2"):
            self.transport.endpoint(away, PTY)

    def test_a_transport_for_each_kind(self) -> None:
        """A pty goes to its own one; without one the person reads which kind it is."""
        ways = KindTransport({"pty": self.transport})
        self.assertEqual(ways.endpoint(GUEST, PTY).uri, "qemu:///system")  # type: ignore[attr-defined]
        with self.assertRaisesRegex(BackendUnreachable, "kind tcp"):
            ways.endpoint(GUEST, Console(1, "127.0.0.1", 10000))


class Throttle:
    """Whoever types."""

    paused = False

    def pauseProducing(self) -> None:
        """The guest takes nothing now."""
        self.paused = True

    def resumeProducing(self) -> None:
        """It takes more."""
        self.paused = False

    def stopProducing(self) -> None:
        """It is gone."""

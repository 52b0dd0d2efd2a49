"""One stream over SSH as a transport, beside Conch's own server."""

from __future__ import annotations

from typing import Any

import pytest
from ssh_pair import OneReader, Pair, Reader
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from consoled.errors import BackendUnreachable
from consoled.transports.ssh.errors import NodeFailed
from consoled.transports.ssh.session import NcStream
from consoled.transports.ssh.window import SMALLEST


class Producer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Enough."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """More."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """The end."""
        self.told.append("stop")


def test_bytes_go_both_ways_and_it_ends() -> None:
    """As a TCP connection, from the first byte to the last."""
    pair = Pair()
    stream, reader, far = pair.stream()
    stream.write(b"to ")
    stream.writeSequence([b"the ", b"target"])
    far.write(b"and back")
    pair.run()
    assert (far.got, reader.got) == (b"to the target", b"and back")
    stream.loseConnection()
    pair.run()
    assert reader.reason.check(ConnectionDone)
    assert pair.closed == [stream]
    stream.write(b"too late")


def test_the_other_side_ends_it() -> None:
    """What came before the end is passed on first, also to a reader that was paused."""
    pair = Pair()
    stream, reader, far = pair.stream()
    stream.pauseProducing()
    far.write(b"last words")
    far.loseConnection()
    pair.run()
    assert (reader.got, reader.reason) == (b"", None)
    stream.resumeProducing()
    pair.run()
    assert reader.got == b"last words"
    assert reader.reason.check(ConnectionDone)


def test_a_reader_that_is_paused_from_the_start() -> None:
    """A protocol that pauses in connectionMade gets nothing before it resumes."""

    class Later(Reader):
        """Not yet."""

        def connectionMade(self) -> None:
            """Paused."""
            self.transport.pauseProducing()

    pair = Pair()
    stream, _ = pair.open()
    pair.far.opened[-1].write(b"early")
    pair.run()
    reader = Later()
    stream.attach(OneReader(reader))
    pair.run()
    assert reader.got == b""
    stream.resumeProducing()
    assert reader.got == b""
    pair.run()
    assert reader.got == b"early"


def test_a_paused_reader_holds_one_window() -> None:
    """The server may send no more than was promised, and the others are not held up."""
    pair = Pair()
    stream, reader, far = pair.stream()
    _, other, far_other = pair.stream()
    stream.pauseProducing()
    far.write(b"x" * 10 * SMALLEST)
    pair.run()
    assert sum(map(len, stream._inbox)) == SMALLEST
    far_other.write(b"y" * 4 * SMALLEST)
    pair.run()
    assert len(other.got) == 4 * SMALLEST
    stream.resumeProducing()
    pair.run()
    assert len(reader.got) == 10 * SMALLEST


def test_a_server_that_sends_more_than_it_may() -> None:
    """Its stream is closed with a reason; the others go on."""
    pair = Pair()
    stream, reader, far = pair.stream()
    _, other, far_other = pair.stream()
    stream.pauseProducing()
    far.remoteWindowLeft = 10 * SMALLEST
    far.write(b"x" * 10 * SMALLEST)
    pair.run()
    assert "more than it was allowed" in str(reader.reason.value)
    far_other.write(b"well")
    pair.run()
    assert other.got == b"well"


def test_a_protocol_that_fails_ends_its_own_stream() -> None:
    """An error in one reader is not the connection's."""

    class Fails(Reader):
        """Cannot read."""

        def dataReceived(self, data: bytes) -> None:
            """Fails."""
            raise RuntimeError("cannot read this")

    pair = Pair()
    _, fails, far = pair.stream(Fails())
    _, other, far_other = pair.stream()
    far.write(b"boom")
    pair.run()
    far_other.write(b"well")
    pair.run()
    assert fails.reason.check(ConnectionAborted)
    assert other.got == b"well"


def test_a_target_that_takes_no_more_pauses_the_producer() -> None:
    """Told once when the window is used up, and again when all that waits has gone."""
    pair = Pair()
    pair.far.window = 10_000
    stream, _, far = pair.stream()
    grant = far.conn.adjustWindow
    far.conn.adjustWindow = lambda channel, count: None
    producer = Producer()
    stream.registerProducer(producer, True)
    stream.write(b"a" * 9_000)
    assert producer.told == []
    stream.write(b"b" * 2_000)
    stream.write(b"c" * 2_000)
    pair.run()
    assert producer.told == ["pause"]
    assert len(far.got) == 10_000
    grant(far, 2_000)
    pair.run()
    assert producer.told == ["pause"]
    grant(far, 10_000)
    pair.run()
    assert producer.told == ["pause", "resume"]
    assert far.got == b"a" * 9_000 + b"b" * 2_000 + b"c" * 2_000
    with pytest.raises(RuntimeError):
        stream.registerProducer(producer, True)
    stream.unregisterProducer()


def test_a_connection_that_takes_no_more_pauses_all() -> None:
    """A full socket pauses each stream's producer, and what they write waits in the streams."""
    pair = Pair()
    stream, _, far = pair.stream()
    other, _, far_other = pair.stream()
    producer, second = Producer(), Producer()
    stream.registerProducer(producer, True)
    other.registerProducer(second, True)
    pair.link.pauseProducing()
    stream.write(b"waits")
    other.write(b"too")
    pair.run()
    assert (producer.told, second.told) == (["pause"], ["pause"])
    assert (far.got, far_other.got) == (b"", b"")
    pair.link.resumeProducing()
    pair.run()
    assert (far.got, far_other.got) == (b"waits", b"too")
    assert (producer.told, second.told) == (["pause", "resume"], ["pause", "resume"])


def test_a_pull_producer() -> None:
    """Asked for more whenever the last piece has gone, until it is done."""
    pair = Pair()
    stream, _, far = pair.stream()

    class Pull(Producer):
        """Three pieces."""

        def resumeProducing(self) -> None:
            """One piece."""
            self.told.append("resume")
            if len(self.told) > 3:
                stream.unregisterProducer()
                stream.loseConnection()
            else:
                stream.write(b"piece")

    producer = Pull()
    stream.registerProducer(producer, False)
    pair.run()
    assert far.got == b"piece" * 3
    assert pair.closed == [stream]


def test_half_closes() -> None:
    """Our end goes after what waits; theirs is told to who wants to know."""

    @implementer(IHalfCloseableProtocol)
    class Half(Reader):
        """Goes on after the other side's end."""

        ended = 0

        def readConnectionLost(self) -> None:
            """Nothing more will come."""
            self.ended += 1

        def writeConnectionLost(self) -> None:
            """Not used."""

    pair = Pair()
    pair.far.window = 1_000
    stream, half, far = pair.stream(Half())
    stream.write(b"q" * 5_000)
    stream.loseWriteConnection()
    pair.run()
    assert (len(far.got), far.ended) == (5_000, True)
    far.write(b"answer")
    far.conn.sendEOF(far)
    pair.run()
    assert (half.got, half.ended, half.reason) == (b"answer", 1, None)
    stream.loseConnection()
    pair.run()
    assert half.reason.check(ConnectionDone)
    _, reader, far = pair.stream()
    far.conn.sendEOF(far)
    pair.run()
    assert reader.reason.check(ConnectionDone)


def test_an_abort_forgets_what_waits() -> None:
    """The server is told to close at once, and the protocol hears when it has."""
    pair = Pair()
    pair.far.window = 1_000
    stream, reader, far = pair.stream()
    far.conn.adjustWindow = lambda channel, count: None
    stream.write(b"x" * 5_000)
    stream.abortConnection()
    assert reader.reason is None
    pair.run()
    assert reader.reason.check(ConnectionAborted)
    assert len(far.got) == 1_000


def test_a_lost_connection_is_each_streams_end() -> None:
    """With the reason in plain words, as an error that a viewer is told."""
    pair = Pair()
    _, reader, far = pair.stream()
    stream, opened = pair.open()
    pair.far.opens = False
    _, pending = pair.open()
    failures: list[Any] = []
    pending.addErrback(failures.append)
    far.write(b"last words")
    pair.pump.pump()
    pair.link.transport.loseConnection()
    pair.run()
    assert reader.got == b"last words"
    assert reader.reason.check(NodeFailed, BackendUnreachable)
    assert "connection to the SSH server gate:22 was lost" in str(reader.reason.value)
    assert failures[0].check(NodeFailed)
    assert opened.called
    assert stream._lost


def test_a_connection_that_is_lost_before_a_command_runs() -> None:
    """The server's loss is the reason, not the answer that it owes."""
    pair = Pair()
    pair.far.ssh_CHANNEL_REQUEST = lambda packet: None
    stream = NcStream("10.0.0.5", 23, "")
    stream.ask_for(pair.connection)
    pair.run()
    failures: list[Any] = []
    stream.opened.addErrback(failures.append)
    pair.link.transport.loseConnection()
    pair.run()
    assert failures[0].check(NodeFailed)


def test_cancelling_an_opening() -> None:
    """A stream that nobody waits for any more is closed when the server opens it after all."""
    pair = Pair()
    pair.far.opens = False
    stream, opened = pair.open()
    failures: list[Any] = []
    opened.addErrback(failures.append)
    opened.cancel()
    assert failures[0].check(CancelledError)
    pair.far.opens = True
    pair.server.service.ssh_CHANNEL_OPEN(
        b"\0\0\0\x0cdirect-tcpip" + stream.id.to_bytes(4, "big") + b"\0\1\0\0" + b"\0\1\0\0"
    )
    pair.run()
    assert pair.closed == [stream]
    assert not pair.connection.channels


def test_a_factory_that_wants_none() -> None:
    """Without a protocol the stream is closed."""
    pair = Pair()
    stream, _ = pair.open()
    with pytest.raises(NoProtocol):
        stream.attach(OneReader(None))
    pair.run()
    assert pair.closed == [stream]


def test_addresses() -> None:
    """The peer is what it leads to; a leg finds what it asks of a socket."""
    pair = Pair()
    stream, _, _ = pair.stream()
    assert (stream.getPeer().host, stream.getPeer().port) == ("10.0.0.5", 23)
    stream.setTcpNoDelay(True)
    stream.setTcpKeepAlive(True)
    stream.bufferSize = 1
    assert stream.getHost() is not None
    assert stream.carrier == "ssh"

"""A recording brought from another replica: what that one may do to it, over loopback sockets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cells import memory_database
from neighbour import Neighbour
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from consoled.db import replicas
from consoled.errors import Conflict, Unavailable
from consoled.recording.files import RecordingFiles
from consoled.recording.folder import RecordingFolder
from consoled.replicas import borrowing
from consoled.replicas.borrowing import Borrower
from consoled.replicas.lending import papers
from consoled.replicas.tickets import TicketOffice
from consoled.workers import InlineWorker

reactor: Any = _reactor
SESSION = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b0001"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class Borrowing(TestCase):
    """A borrower, and one neighbour whose answer the test chooses."""

    def setUp(self) -> None:
        self.database = memory_database()
        self.addCleanup(self.database.stop)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "recordings"
        self.worker: Any = InlineWorker()
        self.heard: list[bytes] = []

    async def fetched(self, answer: bytes) -> bytes | None:
        """What the borrower makes of that answer."""
        factory = Factory.forProtocol(lambda: Neighbour(answer, self.heard))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        address: Any = port.getHost()
        url = f"http://127.0.0.1:{address.port}"
        await self.database.run(replicas.register, "there", "lab", url)
        await self.database.run(replicas.register, "here", "lab", "http://127.0.0.1:1")
        await self.database.run(replicas.register, "silent", "lab", "")
        borrower = Borrower(
            self.database,
            TicketOffice(self.database, lambda: "here"),
            RecordingFiles(RecordingFolder(self.folder), self.worker),
            reactor,
            lambda url: TCP4ClientEndpoint(reactor, "127.0.0.1", urlsplit(url).port or 0),
        )
        content = await borrower.fetch(SESSION)
        if content is None:
            return None
        with os.fdopen(content.descriptor, "rb") as file:
            data = os.pread(file.fileno(), content.size + 1, 0)
        assert not list(self.folder.iterdir())
        return data

    async def test_a_file(self) -> None:
        """It comes whole, into a file that nobody else sees, for a ticket that is for it alone."""
        data = os.urandom(300_000)
        self.assertEqual(await self.fetched(HEAD % len(data) + data), data)
        (request,) = self.heard
        head, _, rest = request.partition(b"\r\n")
        self.assertEqual(head, papers("GET", SESSION) + b" HTTP/1.1")
        ticket = rest.lower().partition(b"x-consoled-ticket: ")[2].partition(b"\r\n")[0]
        self.assertEqual(len(ticket), 43)

    async def test_an_empty_file(self) -> None:
        """One that has just begun is a file too."""
        self.assertEqual(await self.fetched(HEAD % 0), b"")

    async def test_it_has_none(self) -> None:
        """Any other status means that it is not there."""
        for status in (b"403 No", b"404 No", b"500 No"):
            self.assertIsNone(await self.fetched(b"HTTP/1.1 " + status + b"\r\n\r\nsorry"))

    async def test_too_large(self) -> None:
        """A size over the bound is refused before a byte of it is written."""
        with self.assertRaisesRegex(Conflict, "too large to be brought here"):
            await self.fetched(HEAD % (borrowing.LARGEST + 1) + b"x")
        self.assertFalse(self.folder.exists())

    async def test_no_size(self) -> None:
        """A file whose end nobody knows could be cut off without anybody's notice."""
        with self.assertRaises(Conflict):
            await self.fetched(b"HTTP/1.1 200 OK\r\n\r\nsomething")

    async def test_cut_off(self) -> None:
        """Less than was promised is no recording: 503, and another try may help."""
        with capturedLogs() as logs, self.assertRaisesRegex(Unavailable, "Try again"):
            await self.fetched(HEAD % 100 + b"only this")
        self.assertEqual([log["replica_id"] for log in logs if "replica_id" in log], ["there"])
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_a_full_disk(self) -> None:
        """The same, and the reason is in the log."""
        self.worker = Full()
        with capturedLogs() as logs, self.assertRaises(Unavailable):
            await self.fetched(HEAD % 9 + b"something")
        self.assertIn("No space left", str([log.get("reason") for log in logs]))

    async def test_nobody_there(self) -> None:
        """A replica that hangs up without a word is passed over."""
        with capturedLogs() as logs:
            self.assertIsNone(await self.fetched(b""))
        self.assertEqual([log["event"] for log in logs if "event" in log], ["replica_unreachable"])


class Full(InlineWorker):
    """A disk that takes no more."""

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """As it is, but for writing."""
        if fn is borrowing._write:
            return super().run(self._refuse)
        return super().run(fn, *args, **kwargs)

    def _refuse(self) -> None:
        raise OSError(28, "No space left on device")

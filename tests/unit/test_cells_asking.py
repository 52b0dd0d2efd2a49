"""Questions to another cell over sockets: what counts as its answer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from consoled.cells import asking
from consoled.cells.asking import CellAnswer, CellClient, TooLarge, Unreachable, Wish
from consoled.cells.parts import trusted
from consoled.errors import ConfigError
from tools.lab.certificates import make_pair

reactor: Any = _reactor
HEAD = (
    b"HTTP/1.1 %d OK\r\nX-Consoled-Cell: cell2\r\nX-Consoled-Version: 0.9\r\n"
    b"Content-Length: %d\r\n\r\n"
)
GOOD = HEAD % (200, 2) + b"{}"


class Cell(Protocol):
    """Answers each request with the same bytes, once its body is there.

    :ivar hangs_up: whether the connection ends after that.
    """

    hangs_up = False

    def __init__(self, answer: bytes, heard: list[bytes]) -> None:
        self._answer = answer
        self._heard = heard

    def connectionMade(self) -> None:
        """A connection."""
        self._heard.append(b"")

    def dataReceived(self, data: bytes) -> None:
        """A request, or a piece of one."""
        self._heard[-1] += data
        if b"POST" in self._heard[-1] and not data.endswith(b"body"):
            return
        transport: Any = self.transport
        transport.write(self._answer)
        if self.hangs_up:
            transport.loseConnection()


class Asking(TestCase):
    """A client, and a cell whose answer the test chooses."""

    def setUp(self) -> None:
        self.heard: list[bytes] = []

    def factory(self, answer: bytes, *, hangs_up: bool = False) -> Factory:
        """Makes the cell's connections."""

        def connection() -> Cell:
            made = Cell(answer, self.heard)
            made.hangs_up = hangs_up
            return made

        return Factory.forProtocol(connection)

    async def client(self, answer: bytes, *, limit: float = 10.0, **more: Any) -> CellClient:
        """A client of a cell that gives that answer."""
        where = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        return self.of(await where.listen(self.factory(answer, **more)), limit=limit)

    def of(
        self, port: IListeningPort, scheme: str = "http", trust: Any = None, limit: float = 10.0
    ) -> CellClient:
        """A client of whatever listens there."""
        address: Any = port.getHost()
        self.addCleanup(port.stopListening)
        where = f"{scheme}://{address.host}:{address.port}"
        client = CellClient("cell2", where, reactor, limit, trust)
        self.addCleanup(client.stop)
        return client

    async def reason(self, client: CellClient) -> str:
        """Why it is not reached."""
        with self.assertRaises(Unreachable) as caught:
            await client.ask(Wish(b"GET", b"/"))
        return str(caught.exception)

    async def test_an_answer(self) -> None:
        """Request and answer are whole, and a second one goes over the same connection."""
        client = await self.client(GOOD)
        wish = Wish(b"POST", b"/v1/x?a=b", Headers({"X-Auth-Token": ["k"]}), b"the body")
        for _ in range(2):
            found = await client.ask(wish)
            self.assertEqual((found.status, found.body, found.version), (200, b"{}", "0.9"))
        [sent] = self.heard
        self.assertTrue(sent.startswith(b"POST /v1/x?a=b HTTP/1.1\r\n"))
        self.assertIn(b"\r\nX-Auth-Token: k\r\n", sent)
        self.assertEqual(sent.count(b"\r\n\r\nthe body"), 2)

    async def test_whose_answer(self) -> None:
        """An answer counts only where it is that cell's."""
        client = await self.client(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        self.assertIn("(503) is not its consoled", await self.reason(client))
        client = await self.client(GOOD.replace(b"cell2", b"cell1"))
        self.assertIn("another cell answers there", await self.reason(client))

    async def test_no_answer(self) -> None:
        """A hang-up, half an answer, something else than HTTP, and silence are none."""
        for answer in (b"", GOOD[:-1], b"SSH-2.0-x\r\n\r\n"):
            client = await self.client(answer, hangs_up=True)
            self.assertTrue(await self.reason(client), answer)
        client = await self.client(b"", limit=0.05)
        self.assertEqual(await self.reason(client), "it did not answer within 0.05 s")

    async def test_nobody_there(self) -> None:
        """A port that nobody listens on is told as such."""
        where = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await where.listen(self.factory(GOOD))
        address: Any = port.getHost()
        await port.stopListening()
        client = CellClient("cell2", f"http://127.0.0.1:{address.port}", reactor, 5.0)
        self.assertIn("refused", await self.reason(client))

    async def test_too_large(self) -> None:
        """No more is taken than there is room for, whether or not the answer says its length."""
        self.patch(asking, "LARGEST", 1000)
        long = b"X-Consoled-Cell: cell2\r\n\r\n" + b"x" * 1001
        for answer in (HEAD % (200, 1001), b"HTTP/1.1 200 OK\r\n" + long):
            client = await self.client(answer)
            with self.assertRaises(TooLarge):
                await client.ask(Wish(b"GET", b"/"))

    async def test_given_up(self) -> None:
        """Who gives a question up ends its connection."""
        client = await self.client(b"")
        asked: Deferred[CellAnswer] = client.ask(Wish(b"GET", b"/"))
        asked.addErrback(lambda _: None)
        asked.cancel()
        await asked

    async def test_tls(self) -> None:
        """A certificate counts where its file vouches for it, and for its names only."""
        with tempfile.TemporaryDirectory() as name:
            good, other = make_pair(), make_pair()
            cert, key = good.write(Path(name))
            other_cert, _ = other.write(Path(name), "other")
            # The certificate is for 127.0.0.1, and not for 127.0.0.2.
            where = f"ssl:0:interface=127.0.0.%d:certKey={cert}:privateKey={key}"
            one, two = [
                await serverFromString(reactor, where % n).listen(self.factory(GOOD))
                for n in (1, 2)
            ]
            client = self.of(one, "https", trusted(cert, "cell2"))
            self.assertEqual((await client.ask(Wish(b"GET", b"/"))).status, 200)
            for port, trust in (
                (one, trusted(other_cert, "cell2")),
                (one, trusted(None, "cell2")),
                (two, trusted(cert, "cell2")),
            ):
                self.assertTrue(await self.reason(self.of(port, "https", trust)))
            self.assertEqual(len([sent for sent in self.heard if sent]), 1)
            (Path(name) / "empty.pem").write_text("nothing\n")
            with self.assertRaisesRegex(ConfigError, r"\[cell:cell2\] cafile .*empty.pem cannot"):
                trusted(Path(name) / "empty.pem", "cell2")

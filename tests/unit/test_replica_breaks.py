"""A BREAK on a line of another replica: how it is asked for, and who is heard."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from cells import memory_database
from lease_world import WEB
from neighbour import Neighbour
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from consoled.db import replicas
from consoled.errors import Conflict, Unavailable
from consoled.leasing.values import ConsoleKey, Holder, LeaseRow
from consoled.replicas import break_taking
from consoled.replicas.break_asking import BreakAsker
from consoled.replicas.break_papers import PAPERS, PATH, BreakWish, pack, subject, unpack
from consoled.replicas.break_taking import BreakTaker
from consoled.replicas.doors import Doors
from consoled.replicas.hops import TICKET
from consoled.replicas.papers import UnreadablePapers
from consoled.replicas.tickets import TicketOffice

reactor: Any = _reactor
KEY = ConsoleKey(WEB, 1)


@pytest.mark.parametrize("sysrq", [None, "h"])
def test_a_wish_arrives_as_it_was_sent(sysrq: str | None) -> None:
    """Packed and read again it is the same."""
    wish = BreakWish(KEY, sysrq, "zoë")
    assert unpack(pack(wish)) == wish


@pytest.mark.parametrize(
    "text", [b"", b"e30=", b"\xff", pack(BreakWish(KEY, "no", "x")), pack(BreakWish(KEY, "a", "x"))]
)
def test_what_is_no_wish(text: bytes) -> None:
    """Anything else is refused, an impossible key too."""
    with pytest.raises(UnreadablePapers):
        unpack(text)


class FakeLeases:
    """Knows where the console is."""

    def __init__(self, row: LeaseRow | None) -> None:
        self._row = row

    def elsewhere(self, uuid: str, index: int, session_id: str | None) -> Deferred[Any]:
        """The row."""
        assert (uuid, index, session_id) == (WEB, 1, None)
        return succeed(self._row)


def lease(url: str | None) -> LeaseRow:
    """The console's lease, which the replica at that address has."""
    return LeaseRow(KEY, 1, "there", False, "s", Holder("mia", "demo"), url=url)


class Asking(TestCase):
    """An asker, and one neighbour whose answer the test chooses."""

    def setUp(self) -> None:
        self.database = memory_database()
        self.addCleanup(self.database.stop)
        self.heard: list[bytes] = []

    def asker(self, row: LeaseRow | None) -> BreakAsker:
        """An asker to which the console is there."""
        leases: Any = FakeLeases(row)
        return BreakAsker(
            leases,
            TicketOffice(self.database, lambda: "here"),
            reactor,
            lambda url: TCP4ClientEndpoint(reactor, "127.0.0.1", urlsplit(url).port or 0),
        )

    async def sent(self, status: bytes, text: bytes = b"") -> bool:
        """What the asker makes of that answer."""
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(text))
        answer = head.replace(b"\r\nContent-Length: 0", b"") if b"204" in status else head + text
        factory = Factory.forProtocol(lambda: Neighbour(answer, self.heard))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        address: Any = port.getHost()
        await self.database.run(replicas.register, "there", "lab", "http://there/")
        asker = self.asker(lease(f"http://127.0.0.1:{address.port}"))
        return await asker.send(KEY, "h", "ada")

    async def test_it_is_sent(self) -> None:
        """The other replica has the wish, and a ticket that is for it alone."""
        self.assertTrue(await self.sent(b"204 Sent"))
        (request,) = self.heard
        head, _, rest = request.partition(b"\r\n")
        self.assertEqual(head, b"POST " + PATH + b" HTTP/1.1")
        fields = dict(line.split(b": ", 1) for line in rest.split(b"\r\n") if b": " in line)
        named = {name.lower(): value for name, value in fields.items()}
        self.assertEqual(unpack(named[PAPERS.lower()]), BreakWish(KEY, "h", "ada"))
        self.assertEqual(len(named[TICKET.lower()]), 43)

    async def test_its_own_words(self) -> None:
        """Why it is not sent is said as the other replica says it."""
        with self.assertRaisesRegex(Conflict, "Cancel the paste"):
            await self.sent(b"409 Conflict", b"Cancel the paste, and try again.")
        with self.assertRaisesRegex(Unavailable, "does not answer"):
            await self.sent(b"503 Away", b"The hypervisor does not answer.")

    async def test_it_has_none(self) -> None:
        """Any other status means that it has no such line, or will not."""
        for status in (b"403 No", b"404 No", b"500 No"):
            self.assertFalse(await self.sent(status, b"sorry"))

    async def test_endless(self) -> None:
        """An answer over the bound is none."""
        with capturedLogs() as logs, self.assertRaises(Unavailable):
            await self.sent(b"409 Conflict", b"x" * 5000)
        self.assertEqual([log["event"] for log in logs if "event" in log], ["replica_unreachable"])

    async def test_nobody_there(self) -> None:
        """A replica that cannot be reached is said to be away; without a row nobody is asked."""
        await self.database.run(replicas.register, "there", "lab", "http://there/")
        with capturedLogs(), self.assertRaisesRegex(Unavailable, "cannot be reached"):
            await self.asker(lease("http://127.0.0.1:1")).send(KEY, None, "ada")
        for row in (None, lease(None)):
            self.assertFalse(await self.asker(row).send(KEY, None, "ada"))


class Taking(TestCase):
    """A replica that is asked for a BREAK."""

    def setUp(self) -> None:
        self.database = memory_database()
        self.addCleanup(self.database.stop)
        self.office = TicketOffice(self.database, lambda: "here")
        self.told: list[Any] = []
        self.outcome: Any = True
        self.patch(break_taking, "break_on_line", self._on_line)

    async def _on_line(self, *words: Any) -> bool:
        self.told.append(words[1:2] + words[3:])
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return bool(self.outcome)

    async def asked(self, papers: bytes, *, method: bytes = b"POST", breaks: Any = "any") -> Any:
        """The answer to a request with a fresh ticket."""
        await self.database.run(replicas.register, "here", "lab", "http://here/")
        ticket = await self.office.make("here", subject(papers))
        return self.answer(ticket.encode(), papers, method, breaks)

    def answer(
        self, ticket: bytes, papers: bytes, method: bytes = b"POST", breaks: Any = "any"
    ) -> Any:
        """The answer to a request."""
        request: Any = DummyRequest([])
        request.path, request.method = PATH, method
        request.requestHeaders = Headers({TICKET: [ticket], PAPERS: [papers]})
        doors = Doors((BreakTaker(self.office, breaks, "sessions"),))  # type: ignore[arg-type]  # passed on
        self.assertTrue(doors.is_asked(request))
        doors.take(request)
        return request

    async def test_it_is_sent(self) -> None:
        """With a ticket it is sent on the line, in the name of whoever asked."""
        request = await self.asked(pack(BreakWish(KEY, "h", "ada")))
        self.assertEqual((request.responseCode, self.told), (204, [(KEY, "h", "ada")]))

    async def test_without_a_line(self) -> None:
        """A line that has ended, or a driver that cannot, is 404."""
        self.outcome = False
        papers = pack(BreakWish(KEY, None, "ada"))
        self.assertEqual((await self.asked(papers)).responseCode, 404)
        self.assertEqual((await self.asked(papers, breaks=None)).responseCode, 404)

    async def test_why_not(self) -> None:
        """A refusal is a sentence with its status."""
        papers = pack(BreakWish(KEY, None, "ada"))
        for error, status in ((Conflict("Not now."), 409), (Unavailable("Away."), 503)):
            self.outcome = error
            request = await self.asked(papers)
            self.assertEqual(request.responseCode, status)
            self.assertEqual(b"".join(request.written), str(error).encode())

    async def test_nobody_else_is_heard(self) -> None:
        """A guessed ticket, one for something else, a used one, another method: 403."""
        papers, other = pack(BreakWish(KEY, None, "ada")), pack(BreakWish(KEY, "b", "eve"))
        self.assertEqual(self.answer(b"guess", papers).responseCode, 403)
        ticket = (await self.office.make("here", subject(papers))).encode()
        self.assertEqual(self.answer(ticket, other).responseCode, 403)
        self.assertEqual((await self.asked(papers, method=b"GET")).responseCode, 403)
        self.assertEqual(self.told, [])
        with capturedLogs():
            self.assertEqual((await self.asked(b"nonsense")).responseCode, 400)
        self.assertEqual(self.told, [])

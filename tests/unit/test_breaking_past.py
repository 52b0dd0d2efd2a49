"""BREAK and SysRq from somebody who is not on the console, while somebody else is."""

from __future__ import annotations

from typing import Any

import pytest
from api_client import Answer, ApiClient
from attrs import evolve
from fakes import WEB_1
from test_breaking_session import NOA, World
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from wires import Wire

BREAK = f"/v1/servers/{WEB_1}/consoles/0/break"


class Company:
    """Mia has the console, and ada, an administrator, asks the API."""

    def __init__(self) -> None:
        self.world = World()
        self.session, self.viewer, self.wire = self.world.opened()
        bench = self.world.bench
        self.client = ApiClient(
            key="admin-key",
            driver=bench.driver,
            opener=bench.reception.opener,
            breaks=self.world.breaks,
            sessions=bench.sessions,
        )

    def ask(self, key: str | None = None) -> Answer:
        """Ada's request, answered at once."""
        connection = self.start(key)
        answer: Answer | None = connection.answer("POST")
        assert answer is not None
        return answer

    def start(self, key: str | None = None) -> Any:
        """Ada's request."""
        body = b"" if key is None else b'{"sysrq": "%s"}' % key.encode()
        headers = {"Content-Type": "application/json"} if body else {}
        return self.client.start("POST", BREAK, body, headers)


@pytest.fixture
def company() -> Company:
    """Both of them."""
    return Company()


def test_a_break(company: Company) -> None:
    """It goes past whoever has the console; they read who sent it, and the recording has it."""
    with capturedLogs() as logs:
        assert company.ask().status == 200
    assert company.world.breaks.sent == [(WEB_1, 0)]
    assert company.wire.written == b""
    assert company.viewer.warned == ["ada sent BREAK to this console."]
    assert ("m", "BREAK by ada") in company.world.tape.told
    (event,) = (log for log in logs if log.get("event") == "break_sent")
    assert event["user_id"] == "ada"


def test_the_key_is_the_first_byte_after_it(company: Company) -> None:
    """What the person types meanwhile is not the key, and is not lost."""
    answers = company.world.later()
    company.session.typed(b"before ")
    connection = company.start("h")
    company.session.typed(b"after")
    assert company.wire.written == b"before "
    answers[0].callback(None)
    company.world.bench.reactor.advance(1)
    assert company.wire.written == b"before hafter"
    assert connection.answer("POST").json["break"]["sysrq"] == "h"
    assert company.viewer.warned == ["ada sent SysRq h to this console."]


def test_a_line_that_only_waits(company: Company) -> None:
    """While the writer is away, and with observers alone, the line takes it as well."""
    company.session.viewer_lost()
    assert company.ask("s").status == 200
    assert company.wire.written == b"s"
    company.world.bench.begin(
        evolve(NOA, options={"rights": "", "role": "observer"}), acknowledges=True
    )
    company.session.ended(1000, "over")
    assert company.ask("u").status == 200
    assert company.wire.written == b"su"


def test_input_on_its_way(company: Company) -> None:
    """A paste would be taken for the key: 409 in the words that the page has for it."""
    producer: Any = company.wire.producer
    producer.pauseProducing()
    company.session.typed(b"reboot?")
    answer = company.ask("b")
    assert answer.status == 409
    assert "would take the next of it as a SysRq command" in answer.message
    assert company.world.breaks.sent == []


def test_one_at_a_time(company: Company) -> None:
    """The key of a second one would be the first one's."""
    answers = company.world.later()
    company.session.break_wanted("s")
    answer = company.ask("b")
    assert (answer.status, "on its way already" in answer.message) == (409, True)
    answers[0].callback(None)
    assert company.wire.written == b"s"


def test_without_a_lease(company: Company) -> None:
    """A replica that may not be the console's any more types nothing (invariant 1)."""
    answers = company.world.later()
    connection = company.start("b")
    (lease,) = company.world.bench.leases._held.values()
    lease.valid = False
    answers[0].callback(None)
    answer = connection.answer("POST")
    assert (answer.status, "but not the key" in answer.message) == (503, True)
    assert company.wire.written == b""


def test_a_client_that_goes_away(company: Company) -> None:
    """Typing goes on."""
    answers: list[Deferred[None]] = company.world.later()
    connection = company.start("b")
    connection.leave()
    company.session.typed(b"x")
    company.world.bench.reactor.advance(1)
    assert len(answers) == 1
    wire: Wire = company.wire
    assert wire.written == b"x"

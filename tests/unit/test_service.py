"""The running cell: what SIGHUP swaps, and the order of the end."""

from __future__ import annotations

import signal
from typing import Any

from fakes import FakeDriver, result
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from consoled.errors import ConfigError
from consoled.proxy.book import SessionBook
from consoled.service import DRAIN_DEADLINE, FORCED, STOP_DEADLINE, Cell, Part, Reload


def cell(**changes: Any) -> Cell:
    """A cell without listeners."""
    values: dict[str, Any] = {
        "name": "c1",
        "reactor": MemoryReactorClock(),
        "observer": lambda event: None,
        "listeners": [],
        "driver": FakeDriver(),
        "parts": [],
        "sessions": SessionBook(),
        "reloads": [],
    }
    return Cell(**(values | changes))


class Session:
    """A session that only remembers how it ended."""

    ended_with: tuple[int, str] | None = None

    def ended(self, code: int, reason: str) -> None:
        """Told to end."""
        self.ended_with = (code, reason)


def test_parts_start_in_order_and_stop_in_reverse() -> None:
    """What others need starts first and stops last."""
    said: list[str] = []
    parts = [
        Part(lambda n=name: said.append(f"start {n}"), lambda n=name: said.append(f"stop {n}"))
        for name in ("database", "reaper")
    ]
    running = cell(parts=parts)
    running.startService()
    result(running.stopService())
    assert said == ["start database", "start reaper", "stop reaper", "stop database"]


def test_parts_are_waited_for() -> None:
    """A part that stops later holds back those below it."""
    said: list[str] = []
    slow: Deferred[None] = Deferred()
    running = cell(
        parts=[
            Part(lambda: None, lambda: said.append("engine")),
            Part(lambda: None, lambda: slow),
        ]
    )
    running.startService()
    stopped = running.stopService()
    assert said == []
    slow.callback(None)
    assert said == ["engine"]
    result(stopped)


class Core:
    """As much of a session's core as its book asks for."""

    session_id = "s1"

    def __init__(self, session: Session) -> None:
        self.gone: Deferred[None] = Deferred()
        self.ended = session.ended


def add(book: SessionBook, session: Session) -> Core:
    """A session in the book, with a viewer that is connected."""
    core: Any = Core(session)
    book.connected()
    book.add(core)
    made: Core = core
    return made


def test_sessions_are_told_before_anything_stops() -> None:
    """Viewers are told, and parts stop once the last socket is gone."""
    said: list[str] = []
    book, session = SessionBook(), Session()
    core = add(book, session)
    running = cell(sessions=book, parts=[Part(lambda: None, lambda: said.append("stopped"))])
    running.startService()
    running.stopService()
    assert session.ended_with is not None
    assert session.ended_with[0] == 1001
    assert said == []
    core.gone.callback(None)
    assert said == []
    book.disconnected()
    assert said == ["stopped"]


def test_a_viewer_that_does_not_go_is_not_waited_for() -> None:
    """The drain has a deadline."""
    said: list[str] = []
    book, reactor = SessionBook(), MemoryReactorClock()
    add(book, Session())
    running = cell(
        reactor=reactor,
        sessions=book,
        parts=[Part(lambda: None, lambda: said.append("stopped"))],
    )
    running.startService()
    running.stopService()
    reactor.advance(DRAIN_DEADLINE)
    assert said == ["stopped"]


def test_a_part_that_hangs_is_left() -> None:
    """After the deadline the process ends as it is, and the log says so."""
    reactor = MemoryReactorClock()
    left: list[int] = []
    stuck: Deferred[None] = Deferred()
    running = cell(reactor=reactor, parts=[Part(lambda: None, lambda: stuck)], leave=left.append)
    running.startService()
    with capturedLogs() as logs:
        stopped = running.stopService()
        reactor.advance(STOP_DEADLINE - 1)
        assert left == []
        reactor.advance(1)
    assert left == [FORCED]
    assert [event["event"] for event in logs] == ["stop_forced"]
    stuck.callback(None)
    result(stopped)


def test_an_orderly_end_leaves_nothing_behind() -> None:
    """No deadline runs on, and the signals are again as they were."""
    reactor = MemoryReactorClock()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    running = cell(reactor=reactor)
    running.startService()
    result(running.stopService())
    assert reactor.getDelayedCalls() == []
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_reload_goes_on_after_a_bad_file() -> None:
    """What is bad stays as it was and is logged; the rest is swapped."""
    said: list[str] = []

    def refuse() -> Deferred[None]:
        return fail(ConfigError("inventory.yaml:3: port is 99999"))

    def break_down() -> None:
        raise ZeroDivisionError

    running = cell(
        reloads=[
            Reload("the inventory", refuse),
            Reload("the oddity", break_down),
            Reload("the keys", lambda: said.append("keys")),
            Reload("the policy", lambda: succeed(said.append("policy"))),
        ]
    )
    with capturedLogs() as logs:
        result(Deferred.fromCoroutine(running.reload()))
    assert said == ["keys", "policy"]
    outcomes = [(e["event"], e["what"]) for e in logs]
    assert outcomes == [
        ("reload_refused", "the inventory"),
        ("reload_refused", "the oddity"),
        ("reloaded", "the keys"),
        ("reloaded", "the policy"),
    ]
    assert "inventory.yaml:3" in str(logs[0]["error"])

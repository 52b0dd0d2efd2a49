"""The seams that count and time: what goes through them is not changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fakes import FakeAuthority, instances, result
from metric_samples import figures, make_instruments
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from wires import answer_dial

from consoled.db import leases, tokens
from consoled.errors import BackendTimeout, InstanceNotRunning, TokenInvalid, Unavailable
from consoled.metrics.authority import CountedAuthority
from consoled.metrics.database import TimedDatabase, operation
from consoled.metrics.transport import TimedTransport
from consoled.model import Caller, Console, ConsoleAuthToken, Instance, InstanceState
from consoled.proxy.leg import LegFactory
from consoled.reaching.behalf import NOBODY, Behalf
from consoled.tokens.database import DatabaseAuthority
from consoled.transports.ssh.errors import TargetRefused
from consoled.transports.tcp import TCPTransport

CALLER = Caller("mia", "demo")
INSTANCE = Instance(
    "7f0a4d2e-5f4b-4f0c-9a53-3b1d4f6a0001", "web", "demo", "kvm1", InstanceState.RUNNING
)


class Asked:
    """A database, or authority, that answers with what it is given."""

    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer = answer
        self.calls: list[tuple[str, Any]] = []

    def validate(self, clear: str) -> Deferred[Any]:
        """As it was told."""
        self.calls.append(("validate", clear))
        return self.answer

    def run(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """As it was told."""
        self.calls.append(("run", args))
        return self.answer

    def read(self, fn: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """As it was told."""
        self.calls.append(("read", args))
        return self.answer


# The token authority


def test_authority_passes_on() -> None:
    """A token is issued, checked and spent as without the counting."""
    instruments = make_instruments()
    authority = CountedAuthority(FakeAuthority(), instruments.token_validations)
    instance = instances()[0]
    issued = result(authority.issue(instance, instance.consoles[0], CALLER, "http://x/"))
    token: ConsoleAuthToken = result(authority.validate(issued.clear))
    assert token == issued.token
    watching = authority.issue(instance, instance.consoles[0], CALLER, "http://x/", role="observer")
    assert result(watching).token.observes
    result(authority.spend(token))
    assert figures(instruments, "token_validations_total") == {("valid",): 1}


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (TokenInvalid("no"), "invalid"),
        (InstanceNotRunning("off"), "invalid"),
        (Unavailable("away"), "unavailable"),
        (CancelledError(), "cancelled"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_refused_tokens(problem: Exception, kind: str) -> None:
    """A check that fails, fails as before, and counts by what was wrong."""
    instruments = make_instruments()
    authority = CountedAuthority(Asked(fail(problem)), instruments.token_validations)  # type: ignore[arg-type]  # a part of one
    with pytest.raises(type(problem)):
        result(authority.validate("clear"))
    assert figures(instruments, "token_validations_total") == {(kind,): 1}


def test_a_check_is_cancelled() -> None:
    """Cancelling reaches the authority itself."""
    cancelled: list[Deferred[Any]] = []
    asked = Asked(Deferred(cancelled.append))
    instruments = make_instruments()
    check = CountedAuthority(asked, instruments.token_validations).validate("clear")  # type: ignore[arg-type]  # a part of one
    check.cancel()
    assert cancelled == [asked.answer]
    with pytest.raises(CancelledError):
        result(check)


# The database


@pytest.mark.parametrize("way", ["run", "read"])
def test_transactions_are_timed(way: str) -> None:
    """A transaction counts by its function's name, from the question to the answer."""
    clock, instruments = Clock(), make_instruments()
    asked = Asked(Deferred())
    database = TimedDatabase(asked, instruments.database, clock.seconds)
    answer = getattr(database, way)(tokens.find, "hash")
    clock.advance(0.03)
    asked.answer.callback("found")
    assert result(answer) == "found"
    assert asked.calls == [(way, ("hash",))]
    name = "db_operation_duration_seconds"
    assert figures(instruments, f"{name}_sum") == {("tokens.find", "ok"): 0.03}
    assert ("tokens.find", "ok", "0.1") in figures(instruments, f"{name}_bucket")


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (Unavailable("away"), "unavailable"),
        (CancelledError(), "cancelled"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_transactions_that_fail(problem: Exception, kind: str) -> None:
    """A transaction that fails, fails as before, and counts by how."""
    instruments = make_instruments()
    database = TimedDatabase(Asked(fail(problem)), instruments.database, Clock().seconds)
    with pytest.raises(type(problem)):
        result(database.read(leases.look, "key"))
    found = figures(instruments, "db_operation_duration_seconds_count")
    assert found == {("leases.look", kind): 1}


def test_names_of_operations() -> None:
    """A function's name is its module's and its own, or that of the function around it."""

    class Callable:
        def __call__(self) -> None:
            """Nothing."""

    def inner() -> None:
        """Nothing."""

    assert operation(tokens.find) == "tokens.find"
    assert operation(inner) == "test_metrics_wrappers.test_names_of_operations"
    assert operation(DatabaseAuthority.issue) == "database.issue"
    assert operation(partial(tokens.find)) == "functools.partial"
    assert operation(Callable()).startswith("test_metrics_wrappers.")


def test_names_are_kept_by_code() -> None:
    """A function that is made anew for each call adds one name, not one for each."""
    instruments = make_instruments()
    database = TimedDatabase(Asked(succeed(None)), instruments.database, Clock().seconds)
    for _ in range(5):
        result(database.run(lambda connection: None))
    assert len(database._names) == 1


# Dials


class Dialled:
    """A transport whose dial ends as it is told.

    :ivar cancelled: the dials that were given up.
    """

    def __init__(self) -> None:
        self.cancelled: list[Deferred[Any]] = []
        self.dial: Deferred[Any] = Deferred(self.cancelled.append)

    def endpoint(self, instance: Instance, console: Console, behalf: Behalf = NOBODY) -> Any:
        """Itself."""
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        """The dial."""
        return self.dial


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (error.ConnectionRefusedError(), "refused"),
        (error.TimeoutError(), "timed_out"),
        (error.TCPTimedOutError(), "timed_out"),
        (TimedOut(), "timed_out"),
        (BackendTimeout("over a proxy node"), "timed_out"),
        (TargetRefused("over a proxy node"), "refused"),
        (error.NoRouteError(), "failed"),
        (CancelledError(), "cancelled"),
    ],
)
def test_dials_that_fail(problem: Exception, kind: str) -> None:
    """A dial that fails, fails as before, and counts by how, with its time."""
    clock, instruments, dialled = Clock(), make_instruments(), Dialled()
    transport = TimedTransport(dialled, instruments.backend_connect, clock.seconds)
    dial = transport.endpoint(INSTANCE, Console(0, "192.0.2.1", 7000)).connect(LegFactory())
    clock.advance(2)
    dialled.dial.errback(problem)
    with pytest.raises(type(problem)):
        result(dial)
    assert figures(instruments, "backend_connect_duration_seconds_sum") == {(kind,): 2}


def test_dials_are_cancelled() -> None:
    """Cancelling reaches the dial itself."""
    instruments, dialled = make_instruments(), Dialled()
    transport = TimedTransport(dialled, instruments.backend_connect, Clock().seconds)
    dial = transport.endpoint(INSTANCE, Console(0, "192.0.2.1", 7000)).connect(LegFactory())
    dial.cancel()
    assert dialled.cancelled == [dialled.dial]
    with pytest.raises(CancelledError):
        result(dial)


def test_a_tcp_dial() -> None:
    """A real endpoint connects through the stopwatch, to the protocol that was wanted."""
    reactor, instruments = MemoryReactorClock(), make_instruments()
    transport = TimedTransport(
        TCPTransport(reactor, 10), instruments.backend_connect, reactor.seconds
    )
    dial = transport.endpoint(INSTANCE, Console(0, "192.0.2.1", 7000)).connect(LegFactory())
    reactor.advance(0.5)
    answer_dial(reactor)
    assert isinstance(result(dial), LegFactory.protocol)
    found = figures(instruments, "backend_connect_duration_seconds_sum")
    assert found == {("connected",): 0.5}
    assert reactor.tcpClients[0][:2] == ("192.0.2.1", 7000)

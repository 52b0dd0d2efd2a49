"""consoled.tokens.backends: what the option of the token backend comes to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve
from breaks import FakeBreaks
from cells import ALICE, instance, memory_database, outcome
from fakes import FakeAuthority, FakeDriver
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from consoled.compute.nova_known import NovaKnownDriver
from consoled.db import nova_tables
from consoled.db.engine import make_engine
from consoled.errors import ConfigError, NotFound, TokenInvalid
from consoled.interfaces import ConsoleDriver
from consoled.model import NO_GENERATION, ConsoleAuthToken
from consoled.settings import Cache, Default, Nova, Settings, Workarounds
from consoled.tokens.backends import TokenBackend, check_backend
from consoled.tokens.fallback import FallbackAuthority
from consoled.tokens.memcached import MemcachedAuthority
from consoled.tokens.nova import NovaAuthority

SERVERS = Cache(("127.0.0.1:1",))
DATABASE = Settings("c")
MEMCACHED = Settings("c", default=Default(console_tokens_backend="memcached"), cache=SERVERS)
FALLBACK = Settings("c", cache=SERVERS, workarounds=Workarounds(True))


@pytest.fixture
def nova(tmp_path: Path) -> Settings:
    """Settings that name a nova cell database."""
    url = f"sqlite:///{tmp_path}/nova.sqlite"
    engine = make_engine(url)
    nova_tables.metadata.create_all(engine)
    engine.dispose()
    return Settings("c", default=Default(console_tokens_backend="nova"), nova=Nova(url))


class Reactor(MemoryReactorClock):
    """One to which threads may speak."""

    def callFromThread(self, fn: Callable[..., object], *args: object) -> None:
        """At once."""
        fn(*args)


def opened(settings: Settings) -> TokenBackend:
    driver = cast(ConsoleDriver, FakeDriver([instance()]))
    return TokenBackend.open(settings, Reactor(), driver)


def test_the_database_itself() -> None:
    """The cell's own authority answers, and nothing else is asked."""
    backend, own = opened(DATABASE), FakeAuthority()
    authority = backend.authority(own)
    assert isinstance(backend.driver, FakeDriver)
    one = instance()
    issued = outcome(authority.issue(one, one.consoles[0], ALICE, "http://x/"))
    assert own.issued == [issued]
    assert outcome(authority.validate(issued.clear)) == issued.token


def test_the_fallback() -> None:
    """enable_consoleauth puts memcached behind the database."""
    authority = opened(FALLBACK).authority(FakeAuthority())
    assert isinstance(authority, FallbackAuthority)
    assert isinstance(authority.legacy, MemcachedAuthority)


def test_memcached_warns_once() -> None:
    """At the start of its parts one line says that it is deprecated."""
    backend = opened(MEMCACHED)
    assert isinstance(backend.authority(FakeAuthority()), MemcachedAuthority)
    assert backend.reloads(lambda: MEMCACHED) == []
    with capturedLogs() as logs:
        for part in backend.parts:
            part.start()
        for part in reversed(backend.parts):
            part.stop()
    (event,) = [event for event in logs if event.get("event") == "deprecated"]
    assert event["log_level"].name == "warn"


@pytest.mark.parametrize("settings", [DATABASE, FALLBACK])
def test_nobody_else_is_warned(settings: Settings) -> None:
    """The other backends start in silence."""
    with capturedLogs() as logs:
        for part in opened(settings).parts:
            part.start()
            part.stop()
    assert logs == []


def test_nova(nova: Settings) -> None:
    """nova's table issues and checks, and nova's word stands behind the driver's."""
    backend = opened(nova)
    assert isinstance(backend.driver, NovaKnownDriver)
    authority = backend.authority(FakeAuthority())
    assert isinstance(authority, FallbackAuthority)
    assert isinstance(authority.primary, NovaAuthority)
    assert authority.primary.driver is backend.driver


def test_a_database_that_is_not_nova_s(tmp_path: Path) -> None:
    """A start and a check say the same one line."""
    url = f"sqlite:///{tmp_path}/absent.sqlite"
    settings = Settings("c", default=Default(console_tokens_backend="nova"), nova=Nova(url))
    with pytest.raises(ConfigError, match=r"^\[nova\] connection: .* does not exist") as checked:
        check_backend(settings)
    with pytest.raises(ConfigError) as started:
        opened(settings)
    assert str(started.value) == str(checked.value)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told what to install, at a start and in a check."""
    monkeypatch.setitem(sys.modules, "oslo_cache", None)
    for refused in (opened, check_backend):
        for settings in (MEMCACHED, FALLBACK):
            with pytest.raises(ConfigError, match=r"pip install 'consoled\[memcached\]'"):
                refused(settings)
        refused(DATABASE)
    url = "mysql+nosuchdriver://nova:sesame@db/nova"
    nova = Settings("c", default=Default(console_tokens_backend="nova"), nova=Nova(url))
    with pytest.raises(ConfigError, match=r"pip install 'consoled\[mariadb\]'") as caught:
        check_backend(nova)
    assert str(caught.value).startswith("[nova] connection: ")


def test_ports_of_an_instance_that_only_nova_knows() -> None:
    """The driver's answer counts; where it sees no instance, nobody knows and nothing is done."""

    class Ports(FakeDriver):
        """A driver that sees web's ports only."""

        breaks = FakeBreaks()

        def free_port(self, instance_uuid: str, index: int) -> object:
            return succeed(True) if instance_uuid == instance().uuid else fail(NotFound("x"))

        def held_ports(self, instance_uuid: str) -> object:
            known = instance_uuid == instance().uuid
            return succeed(frozenset({0})) if known else fail(NotFound("x"))

    both = NovaKnownDriver(cast(ConsoleDriver, Ports([])), memory_database())
    assert outcome(both.free_port(instance().uuid, 0)) is True
    assert outcome(both.held_ports(instance().uuid)) == {0}
    assert outcome(both.free_port(instance(2).uuid, 0)) is False
    assert outcome(both.held_ports(instance(2).uuid)) == frozenset()
    assert both.breaks is Ports.breaks


def test_spending() -> None:
    """The fallback asks the first, whoever took the token; memcached's open again and again."""
    one = instance()
    first = FakeAuthority()
    token = outcome(first.issue(one, one.consoles[0], ALICE, "http://x/")).token
    foreign = evolve(token, generation=NO_GENERATION)

    class Used(FakeAuthority):
        """An authority whose tokens have all been used."""

        def spend(self, token: ConsoleAuthToken) -> Deferred[None]:
            return fail(TokenInvalid("used"))

    with pytest.raises(TokenInvalid, match="used"):
        outcome(FallbackAuthority(Used(), first).spend(token))
    assert outcome(FallbackAuthority(first, Used()).spend(foreign)) is None
    assert outcome(opened(MEMCACHED).authority(first).spend(foreign)) is None


def test_rights_go_with_the_token() -> None:
    """What policy allowed reaches the first authority, through the fallback too."""
    one, first = instance(), FakeAuthority()
    both = FallbackAuthority(first, FakeAuthority())
    outcome(both.issue(one, one.consoles[0], ALICE, "http://x/", frozenset({"see_holder"})))
    assert first.issued[0].token.rights == {"see_holder"}
    outcome(both.issue(one, one.consoles[0], ALICE, "http://x/", role="observer"))
    assert first.issued[1].token.observes

"""consoled.rechecking: sessions whose users have lost their right end, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from test_session import TOKEN, Bench
from twisted.internet.defer import Deferred, fail, succeed

from consoled.auth.policy import PolicyEnforcer, Rule
from consoled.errors import Unavailable
from consoled.model import SHELL, ConsoleAuthToken
from consoled.rechecking import Rechecker, rule_of
from consoled.workers import InlineWorker

INTERVAL = 1800.0
OF_MIA = evolve(TOKEN, user_id="mia", project_id="demo")


class World:
    """A bench with sessions, and a Keystone whose words are set."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.roles: dict[str, Any] = {"mia": {"member", "reader"}, "ron": {"reader"}}
        self.asked: list[tuple[str, str | None]] = []
        policy = PolicyEnforcer(InlineWorker())
        self.rechecker = Rechecker(
            self.bench.sessions.all, self._of, policy, self.bench.reactor, INTERVAL
        )
        self.rechecker.start()

    def _of(self, user_id: str, project_id: str | None) -> Deferred[frozenset[str]]:
        self.asked.append((user_id, project_id))
        roles = self.roles[user_id]
        return fail(roles) if isinstance(roles, Exception) else succeed(frozenset(roles))

    def opened(self, token: ConsoleAuthToken) -> Any:
        """The viewer of a session that was opened with that token."""
        return self.bench.opened(token=token)[1]

    def look(self) -> None:
        """The time of the next look has come."""
        self.bench.reactor.advance(INTERVAL)


def test_a_right_that_lasts() -> None:
    """Nothing happens to a session whose user may have it still."""
    world = World()
    viewer = world.opened(OF_MIA)
    world.look()
    world.look()
    assert world.asked == [("mia", "demo")] * 2
    assert viewer.dismissed is None


@pytest.mark.parametrize("roles", [set(), {"reader"}])
def test_a_right_that_is_lost(roles: set[str]) -> None:
    """It ends with 4403 where no role is left that lets its user type."""
    world = World()
    viewer = world.opened(OF_MIA)
    world.roles["mia"] = roles
    world.look()
    assert viewer.dismissed == (4403, "You are not allowed to use this console any more.")


def test_an_observer_needs_less() -> None:
    """A session that watches is judged by the rule of those who watch."""
    world = World()
    viewer = world.opened(
        evolve(TOKEN, user_id="ron", project_id="demo", options={"role": "observer"})
    )
    world.look()
    assert viewer.dismissed is None
    world.roles["ron"] = set()
    world.look()
    assert viewer.dismissed is not None


def test_each_user_is_asked_about_once() -> None:
    """Two sessions of one user are one question; who is nobody's user is let alone."""
    world = World()
    one = world.opened(OF_MIA)
    two = world.opened(evolve(OF_MIA, token_hash="cd" * 32, index=1, port=10001))
    world.look()
    assert world.asked == [("mia", "demo")]
    world.roles["mia"] = set()
    world.look()
    assert one.dismissed and two.dismissed


def test_nobody_s_user() -> None:
    """A token that another service has issued for nobody is not asked about."""
    world = World()
    viewer = world.opened(TOKEN)
    world.look()
    assert world.asked == []
    assert viewer.dismissed is None


@pytest.mark.parametrize("problem", [Unavailable("away"), ZeroDivisionError()])
def test_keystone_is_away(problem: Exception) -> None:
    """Sessions go on, and the next look finds out."""
    world = World()
    viewer = world.opened(OF_MIA)
    world.roles["mia"] = problem
    world.look()
    assert viewer.dismissed is None
    world.roles["mia"] = set()
    world.look()
    assert viewer.dismissed is not None


def test_it_stops() -> None:
    """No look follows the end, and the end waits for none that hangs."""
    world = World()
    world.opened(OF_MIA)
    world.look()
    ended = world.rechecker.stop()
    assert ended is not None and ended.called
    world.look()
    assert world.asked == [("mia", "demo")]


def test_rules() -> None:
    """A shell has a rule of its own."""
    assert rule_of(TOKEN) is Rule.TOKENS_CREATE
    assert rule_of(evolve(TOKEN, options={"role": "observer"})) is Rule.TOKENS_OBSERVE
    assert rule_of(evolve(TOKEN, console_type=SHELL)) is Rule.SHELLS_CREATE

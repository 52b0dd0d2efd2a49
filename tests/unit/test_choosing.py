"""consoled.choosing: the console that somebody gets who names none."""

from __future__ import annotations

import pytest
from fakes import KEYS, PORTLESS, WEB_1, make_instance

from consoled.choosing import choose_console, choose_watched
from consoled.errors import BadRequest, Conflict
from consoled.leasing.values import ConsoleKey, Holder, LeaseRow
from consoled.model import Console

MEMBER = KEYS["member-key"]
OWN, OTHER = Holder(MEMBER.user_id, MEMBER.project_id), Holder("noa", "demo")


def held(index: int, holder: Holder = OTHER, *, lingers: bool = False) -> LeaseRow:
    """A session on that console of web-1."""
    key = ConsoleKey(WEB_1, index, "serial")
    return LeaseRow(key, 1, "replica", False, "session", holder, lingers=lingers)


@pytest.mark.parametrize(
    ("rows", "outsiders", "index"),
    [
        ([], (), 0),
        ([held(0)], (), 1),
        ([], {0}, 1),
        ([held(0), held(1, OWN)], (), 1),
        ([held(0, OWN), held(1, lingers=True)], (), 0),
        ([held(0), held(1, lingers=True)], (), 1),
    ],
)
def test_the_next_one_that_is_free(rows: list[LeaseRow], outsiders: set[int], index: int) -> None:
    """One that nobody holds, else the own one, else one whose viewer is lost."""
    web = make_instance(WEB_1, "web-1")
    assert choose_console(web, None, rows, MEMBER, outsiders).index == index


def test_none_is_free() -> None:
    """Others have them all, in the cell or outside of it."""
    with pytest.raises(Conflict, match="all 2 are in use"):
        choose_console(make_instance(WEB_1, "web-1"), None, [held(0)], MEMBER, {1})


def test_there_is_none() -> None:
    """Neither to type into nor to watch."""
    portless = make_instance(PORTLESS, "portless", consoles=())
    with pytest.raises(BadRequest, match="has no serial port"):
        choose_console(portless, None, [], MEMBER)
    with pytest.raises(BadRequest, match="has no serial port"):
        choose_watched(portless, [])


def test_consoles_without_a_port_are_as_good() -> None:
    """A pty is chosen in its turn, and given when it is asked for."""
    mixed = make_instance(WEB_1, "web-1", consoles=(Console(0, "h", None), Console(3, "h", 10003)))
    assert choose_console(mixed, None, [], MEMBER).index == 0
    assert choose_console(mixed, None, [], MEMBER, {0}).index == 3
    assert choose_console(mixed, 0, [], MEMBER).port is None


@pytest.mark.parametrize(
    ("rows", "outsiders", "index"),
    [([], (), 0), ([held(1)], (), 1), ([], {0}, 1), ([held(0)], {0}, 0), ([], {0, 1}, 0)],
)
def test_what_an_observer_sees_who_names_no_console(
    rows: list[LeaseRow], outsiders: set[int], index: int
) -> None:
    """The console that a session is on, else one that consoled can open."""
    assert choose_watched(make_instance(WEB_1, "web-1"), rows, outsiders).index == index

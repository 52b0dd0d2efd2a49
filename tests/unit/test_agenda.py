"""consoled.compute.agenda and backoff: which looks there are, and when a failed one is repeated."""

from __future__ import annotations

from consoled.compute.agenda import MOST, Agenda
from consoled.compute.backoff import Backoff


def test_events_of_one_domain_are_one_look() -> None:
    """However many there were; the domains come in the order of their first event."""
    agenda = Agenda()
    for uuid in ("b", "a", "b", "b"):
        agenda.note(uuid)
    assert agenda.take() == ["b", "a"]
    assert agenda.is_empty


def test_everything_is_one_look() -> None:
    """It covers the domains that were noted, and so does one for too many domains."""
    agenda = Agenda()
    agenda.note("a")
    agenda.note_all()
    assert agenda.take() == [None]
    for number in range(MOST):
        agenda.note(str(number))
    assert len(agenda.take()) == MOST
    for number in range(MOST + 1):
        agenda.note(str(number))
    assert agenda.take() == [None]
    assert agenda.is_empty


def test_nothing_noted_is_a_look_at_everything() -> None:
    """So a round that no event asked for finds what no event told."""
    assert Agenda().take() == [None]


def test_failed_looks_come_back() -> None:
    """Beside what was noted in the meantime, each once."""
    agenda = Agenda()
    agenda.note("a")
    agenda.note("b")
    taken = agenda.take()
    agenda.note("b")
    agenda.put_back(taken)
    assert agenda.take() == ["b", "a"]
    agenda.put_back([None])
    agenda.note("c")
    assert agenda.take() == [None]


def test_pauses_double_up_to_a_bound() -> None:
    """And begin anew after a success."""
    backoff = Backoff(1.0, 30.0, lambda: 1.0)
    assert [backoff.pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.pause() == 1


def test_half_of_a_pause_is_chance() -> None:
    """Never less than half of it, never more than all of it."""
    for part, expected in ((0.0, 4.0), (0.5, 6.0), (1.0, 8.0)):
        assert Backoff(8.0, 8.0, iter([part]).__next__).pause() == expected

"""Which of an instance's consoles a request is about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from consoled.errors import BadRequest, Conflict, NotFound
from consoled.leasing.values import Holder, LeaseRow
from consoled.model import SERIAL, Caller, Console, Instance

_TAKEN = 3


def choose_console(
    instance: Instance,
    index: int | None,
    held: Iterable[LeaseRow],
    caller: Caller,
    outsiders: Collection[int] = (),
) -> Console:
    """The console that a request is about (bug 1425640: the next one that is not in use).

    :param index: the one with this index; None takes the first that nobody holds, else
        one that the caller holds already, so that reloading a dashboard locks nobody out,
        else one whose session has lost its viewer: it yields to whoever comes first.
    :param held: who holds the instance's consoles now.
    :param outsiders: the indexes of those that somebody outside of the cell holds.
    :raises consoled.errors.Conflict: others hold all of them.
    :raises consoled.errors.NotFound: there is none with that index.
    :raises consoled.errors.BadRequest: there is none at all (nova: console type
        unavailable).
    """
    if index is not None:
        console = instance.console(index)
        if console is None:
            known = ", ".join(str(c.index) for c in instance.consoles)
            there = f"there are {known}" if known else "it has no serial port"
            raise NotFound(f"Instance {instance.uuid} has no console {index}; {there}.")
        return console
    usable = _usable(instance)
    rows = {row.key.index: row for row in held if row.key.console_type == SERIAL}
    own = Holder(caller.user_id, caller.project_id)

    def reluctance(console: Console) -> int:
        row = rows.get(console.index)
        if row is None:
            return _TAKEN if console.index in outsiders else 0
        if row.holder == own:
            return 1
        return 2 if row.lingers else _TAKEN

    best = min(usable, key=reluctance)
    if reluctance(best) < _TAKEN:
        return best
    raise Conflict(
        f"Instance {instance.uuid} has no free serial port: all {len(usable)} are in use. "
        "Try again when a session ends, or have one disconnected."
    )


def choose_watched(
    instance: Instance, held: Iterable[LeaseRow], outsiders: Collection[int] = ()
) -> Console:
    """The console that an observer sees who names none.

    The first that a session of the cell is on, as there is something to see; else the first
    that consoled can open.

    :param held: who holds the instance's consoles now.
    :param outsiders: the indexes of those that somebody outside of the cell holds.
    :raises consoled.errors.BadRequest: there is none at all.
    """
    busy = {row.key.index for row in held if row.key.console_type == SERIAL}

    def reluctance(console: Console) -> int:
        if console.index in busy:
            return 0
        return 2 if console.index in outsiders else 1

    return min(_usable(instance), key=reluctance)


def _usable(instance: Instance) -> list[Console]:
    if not instance.consoles:
        raise BadRequest(
            f"Instance {instance.uuid} has no serial port; "
            "add a TCP serial port or a pty to it, start it again, then ask again."
        )
    return list(instance.consoles)

"""The rows of allocated ports: which instance has which port of a compute host.

Whoever changes them takes the host's next turn first, an UPDATE of one row: so allocators
wait for each other, and what one of them sees free stays free until its COMMIT. The primary
key (host, port) is the net under that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BindParameter,
    Connection,
    Insert,
    and_,
    bindparam,
    delete,
    false,
    insert,
    null,
    select,
    true,
    update,
)

from consoled.compute.port_range import PortRange
from consoled.compute.reconciling import Adoption, Allocation, Release
from consoled.db import ports
from consoled.db.clock import epoch_seconds
from consoled.db.tables import port_allocations as allocations
from consoled.db.tables import port_turns as turns
from consoled.errors import SocketPortRangeExhausted

RESERVED_FOR = 600
"""Seconds that a reservation waits for an XML to name it."""

WINDOW = 512
"""Ports that are looked through with one statement."""

_host: BindParameter[str] = bindparam("at_host")
_of_host = allocations.c.host == _host
_at = and_(_of_host, allocations.c.port == bindparam("at_port"))
_unchanged = and_(
    _at,
    allocations.c.instance_uuid == bindparam("of"),
    allocations.c.turn == bindparam("at_turn"),
    allocations.c.named == bindparam("was_named"),
)
_TURN = update(turns).where(turns.c.host == _host).values(turn=turns.c.turn + 1)
_AFTER = select(turns.c.turn, turns.c.position).where(turns.c.host == _host)
_MOVE_ON = update(turns).where(turns.c.host == _host).values(position=bindparam("to"))
_ROWS = (
    select(
        allocations.c.port,
        allocations.c.instance_uuid,
        allocations.c.port_index,
        allocations.c.named,
        (allocations.c.since > epoch_seconds() - RESERVED_FOR).label("waits"),
        allocations.c.turn,
    )
    .where(_of_host)
    .order_by(allocations.c.port)
)
_OF_INSTANCE = _ROWS.where(allocations.c.instance_uuid == bindparam("of")).order_by(None)
_TAKEN = select(allocations.c.port).where(
    _of_host, allocations.c.port >= bindparam("first"), allocations.c.port <= bindparam("last")
)
_NEW = insert(allocations).values(
    host=_host,
    port=bindparam("at_port"),
    instance_uuid=bindparam("of"),
    port_index=bindparam("at_index"),
    turn=bindparam("in_turn"),
)
_RESERVE = _NEW.values(named=false(), since=epoch_seconds())
_ADOPT = _NEW.values(named=true(), since=null())
_RENEW = update(allocations).where(_at).values(since=epoch_seconds(), turn=bindparam("in_turn"))
_GIVE_BACK = delete(allocations).where(
    _at, allocations.c.instance_uuid == bindparam("of"), allocations.c.named == false()
)
_RELEASE = delete(allocations).where(_unchanged)
_CONFIRM = update(allocations).where(_unchanged).values(named=true(), since=null())
_HAND_OVER = (
    update(allocations)
    .where(_unchanged)
    .values(
        instance_uuid=bindparam("to"),
        port_index=bindparam("at_index"),
        named=true(),
        since=null(),
        turn=bindparam("in_turn"),
    )
)
_AMONG = select(allocations.c.port).where(
    _of_host, allocations.c.port.in_(bindparam("some", expanding=True))
)


@frozen
class Order:
    """Ports that an instance wants.

    :ivar host: the compute host's name.
    :ivar address: where its ports are dialled.
    :ivar indexes: the serial ports that shall have one each.
    :ivar avoid: ports that are not given out now: somebody else listens there.
    :ivar refused: ports that this instance does not want, though it may have them.
    :ivar drop: reservations of this instance that end with this order.
    """

    host: str
    address: str
    instance_uuid: str
    indexes: tuple[int, ...]
    ports: PortRange
    avoid: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    drop: frozenset[int] = frozenset()


@frozen
class Reserved:
    """The port of one serial port.

    :ivar named: whether an XML named it before: the domain itself may listen there.
    :ivar fresh: whether this order has reserved it.
    """

    index: int
    port: int
    named: bool
    fresh: bool


def reserve(connection: Connection, order: Order) -> list[Reserved]:
    """A port for each index: the one that it has, or the next that is free.

    All of them are kept for :data:`RESERVED_FOR` seconds, in which an XML has to name them.

    :raises consoled.errors.SocketPortRangeExhausted: too few are free; nothing was changed.
    """
    turn, position = _take_turn(connection, order.host)
    _give_back(connection, order.host, order.instance_uuid, order.drop)
    kept = _kept(connection, order)
    renewed = [
        {"at_host": order.host, "at_port": row.port, "in_turn": turn} for row in kept.values()
    ]
    if renewed:
        connection.execute(_RENEW, renewed)
    missing = [index for index in order.indexes if index not in kept]
    found = _free(connection, order, position, len(missing))
    given = list(zip(missing, found, strict=True))
    _insert(connection, _RESERVE, order.host, turn, [(p, order.instance_uuid, i) for i, p in given])
    ports.vacate(connection, [(order.address, p, order.instance_uuid, i) for i, p in given])
    if found:
        connection.execute(_MOVE_ON, {"at_host": order.host, "to": found[-1] + 1})
    fresh = {index: Reserved(index, port, named=False, fresh=True) for index, port in given}
    had = {i: Reserved(i, row.port, named=row.named, fresh=False) for i, row in kept.items()}
    return [(had | fresh)[index] for index in order.indexes]


def give_back(
    connection: Connection, host: str, instance_uuid: str, unused: Iterable[int]
) -> list[int]:
    """Ends reservations; a port that an XML was seen to name stays.

    :param unused: ports of that instance.
    :returns: those that came back.
    """
    _take_turn(connection, host)
    return _give_back(connection, host, instance_uuid, unused)


def rows(connection: Connection, host: str) -> list[Allocation]:
    """Everything that is allocated on a host, in the order of the ports."""
    return [_allocation(row) for row in connection.execute(_ROWS, {"at_host": host})]


def rows_of(connection: Connection, host: str, instance_uuid: str) -> list[Allocation]:
    """What an instance has on a host, in no order."""
    found = connection.execute(_OF_INSTANCE, {"at_host": host, "of": instance_uuid})
    return [_allocation(row) for row in found]


def release(connection: Connection, host: str, gone: Sequence[Release]) -> list[Release]:
    """Takes ports back whose rows are as they were seen.

    :returns: those that came back.
    """
    _take_turn(connection, host)
    return [one for one in gone if connection.execute(_RELEASE, _seen(host, one.row)).rowcount == 1]


def confirm(connection: Connection, host: str, named: Sequence[Allocation]) -> list[Allocation]:
    """Makes reservations of which an XML was seen to name the port what they were for.

    :returns: those whose rows were as they were seen.
    """
    _take_turn(connection, host)
    return [row for row in named if connection.execute(_CONFIRM, _seen(host, row)).rowcount == 1]


def adopt(connection: Connection, host: str, found: Sequence[Adoption]) -> list[Adoption]:
    """Gives ports to those domains whose XML was seen to name them.

    :returns: those that nobody got meanwhile.
    """
    turn, _ = _take_turn(connection, host)
    wanted = {"at_host": host, "some": [one.named.port for one in found if one.instead_of is None]}
    taken = set(connection.scalars(_AMONG, wanted))
    new = [one for one in found if one.instead_of is None and one.named.port not in taken]
    _insert(
        connection,
        _ADOPT,
        host,
        turn,
        [(one.named.port, one.domain.uuid, one.named.index) for one in new],
    )
    done = new + [one for one in found if _hand_over(connection, host, one, turn)]
    ports.vacate(
        connection,
        [(one.named.address, one.named.port, one.domain.uuid, one.named.index) for one in done],
    )
    return done


def _hand_over(connection: Connection, host: str, one: Adoption, turn: int) -> bool:
    if one.instead_of is None:
        return False
    new = {"to": one.domain.uuid, "at_index": one.named.index, "in_turn": turn}
    changed = connection.execute(_HAND_OVER, {**_seen(host, one.instead_of), **new})
    return changed.rowcount == 1


def _take_turn(connection: Connection, host: str) -> tuple[int, int]:
    """The host's next turn, which all others wait for, and where the search goes on."""
    if connection.execute(_TURN, {"at_host": host}).rowcount == 0:
        connection.execute(insert(turns), {"host": host, "turn": 1, "position": 0})
    turn, position = connection.execute(_AFTER, {"at_host": host}).one()
    return int(turn), int(position)


def _kept(connection: Connection, order: Order) -> dict[int, Allocation]:
    """Of two ports for one index (a live one and one for the next start) the newer one."""
    own = rows_of(connection, order.host, order.instance_uuid)
    return {
        row.index: row
        for row in sorted(own, key=lambda row: row.turn)
        if row.index in order.indexes and row.port not in order.refused
    }


def _free(connection: Connection, order: Order, position: int, count: int) -> list[int]:
    found: list[int] = []
    shunned = order.avoid | order.refused
    for window in order.ports.windows(position, WINDOW) if count else ():
        within = {"at_host": order.host, "first": window[0], "last": window[-1]}
        taken = set(connection.scalars(_TAKEN, within))
        for port in window:
            if port not in taken and port not in shunned:
                found.append(port)
                if len(found) == count:
                    return found
    if len(found) < count:
        raise SocketPortRangeExhausted(
            f"Compute host {order.host} has no free port left for a serial console; delete "
            "instances that are not needed, or have [serial_console] port_range extended."
        )
    return found


def _insert(
    connection: Connection, how: Insert, host: str, turn: int, new: Iterable[tuple[int, str, int]]
) -> None:
    """New rows: port, instance and index of each."""
    made = [
        {"at_host": host, "at_port": port, "of": uuid, "at_index": index, "in_turn": turn}
        for port, uuid, index in new
    ]
    if made:
        connection.execute(how, made)


def _give_back(
    connection: Connection, host: str, instance_uuid: str, unused: Iterable[int]
) -> list[int]:
    own = {"at_host": host, "of": instance_uuid}
    return [
        port
        for port in sorted(unused)
        if connection.execute(_GIVE_BACK, {**own, "at_port": port}).rowcount == 1
    ]


def _seen(host: str, row: Allocation) -> dict[str, Any]:
    return {
        "at_host": host,
        "at_port": row.port,
        "of": row.instance_uuid,
        "at_turn": row.turn,
        "was_named": row.named,
    }


def _allocation(row: Any) -> Allocation:
    return Allocation(
        port=row.port,
        instance_uuid=row.instance_uuid,
        index=row.port_index,
        named=row.named,
        waits=bool(row.waits),
        turn=row.turn,
    )

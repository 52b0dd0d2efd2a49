"""Instances that go on at another compute host: consoles and tokens go with them.

A token is bound to its console's place and generation (:mod:`consoled.db.ports`). When the
guest itself has moved, that binding moves too, in one transaction: who had the right to the
console still has it, and whoever gets the old place next gets none of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, func, select, update

from consoled.db import instances, ports
from consoled.db.tables import console_auth_tokens as tokens
from consoled.db.tables import console_ports
from consoled.db.tables import instances as table
from consoled.model import Console, Instance

_LOCK = update(table).where(table.c.uuid == bindparam("of")).values(name=table.c.name)
_HOST = select(table.c.host).where(table.c.uuid == bindparam("of"))
_PLACE = select(console_ports.c.host, console_ports.c.port, console_ports.c.generation).where(
    console_ports.c.instance_uuid == bindparam("of"),
    console_ports.c.console_type == bindparam("type"),
    console_ports.c.port_index == bindparam("index"),
)
_CARRY = (
    update(tokens)
    .where(
        and_(
            tokens.c.instance_uuid == bindparam("of"),
            tokens.c.console_type == bindparam("type"),
            tokens.c.console_index == bindparam("index"),
            tokens.c.host == bindparam("old_host"),
            func.coalesce(tokens.c.port, 0) == bindparam("old_port"),
            tokens.c.generation == bindparam("old_generation"),
        )
    )
    .values(
        host=bindparam("new_host"),
        port=bindparam("new_port"),
        generation=bindparam("new_generation"),
    )
)


def settle(connection: Connection, instance: Instance, driver: str) -> None:
    """Keeps the instance's row in step with what its driver says now.

    Where it was on another compute host, the consoles that it has there now keep their tokens.

    :param driver: the word of ``[DEFAULT] driver``.
    """
    before = connection.scalar(_HOST, {"of": instance.uuid})
    moved = before is not None and before != instance.host
    if moved:
        # First of all: of two that follow the same instance one waits here, and finds it done.
        connection.execute(_LOCK, {"of": instance.uuid})
    instances.upsert(connection, instance, driver)
    if moved:
        for console in instance.consoles:
            _carry(connection, instance.uuid, console)


def settle_all(connection: Connection, found: Sequence[Instance], driver: str) -> list[Instance]:
    """As :func:`settle` for each.

    :returns: the same.
    """
    for instance in found:
        settle(connection, instance, driver)
    return list(found)


def _carry(connection: Connection, uuid: str, console: Console) -> None:
    key = {"of": uuid, "type": console.type, "index": console.index}
    old = connection.execute(_PLACE, key).one_or_none()
    # A console that nobody has asked for yet has no tokens.
    if old is None or (old.host, old.port) == (console.host, console.port):
        return
    generation = ports.claim(connection, uuid, console, console.port)
    connection.execute(
        _CARRY,
        {
            **key,
            "old_host": old.host,
            "old_port": old.port or 0,
            "old_generation": old.generation,
            "new_host": console.host,
            "new_port": console.port,
            "new_generation": generation,
        },
    )

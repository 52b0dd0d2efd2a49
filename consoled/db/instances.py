"""The rows of instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, and_, bindparam, delete, insert, select, update

from consoled.db.tables import instances
from consoled.model import Instance

NAME_LENGTH = 255
"""What the column holds of a name; names are for people, so a longer one is cut."""

_SELECT = select(instances).where(instances.c.uuid == bindparam("of"))
_UPDATE = update(instances).where(instances.c.uuid == bindparam("of"))
_DELETE = delete(instances).where(instances.c.uuid == bindparam("of"))
_HOMES = select(instances.c.uuid, instances.c.host).where(
    instances.c.uuid.in_(bindparam("some", expanding=True))
)
_DELETE_OF_HOST = delete(instances).where(
    and_(
        instances.c.uuid == bindparam("of"),
        instances.c.host == bindparam("at_host"),
        instances.c.driver == bindparam("by_driver"),
    )
)


def upsert(connection: Connection, instance: Instance, driver: str) -> None:
    """Keeps the instance's row in step with what its driver says now.

    :param driver: the word of ``[DEFAULT] driver``.
    """
    wanted = row(instance, driver)
    found = connection.execute(_SELECT, {"of": instance.uuid}).mappings().one_or_none()
    if found is None:
        connection.execute(insert(instances), wanted)
    elif dict(found) != wanted:
        connection.execute(_UPDATE, {"of": instance.uuid, **wanted})


def remove(connection: Connection, uuid: str) -> bool:
    """Deletes an instance, and by the foreign key its consoles and tokens.

    :returns: whether there was one.
    """
    return connection.execute(_DELETE, {"of": uuid}).rowcount == 1


def rows(connection: Connection, uuid: str | None = None) -> dict[str, dict[str, Any]]:
    """The rows of all compute hosts by their uuid, as :func:`row` makes them.

    :param uuid: of this instance only.
    """
    found = connection.execute(select(instances)) if uuid is None else _one(connection, uuid)
    return {one["uuid"]: dict(one) for one in found.mappings()}


def homes(connection: Connection, uuids: Sequence[str]) -> dict[str, str]:
    """The compute hosts that the rows of these instances name."""
    found = connection.execute(_HOMES, {"some": list(uuids)})
    return {one.uuid: one.host for one in found}


def remove_from(connection: Connection, host: str, driver: str, uuids: Iterable[str]) -> list[str]:
    """Deletes instances as far as they still belong to that compute host.

    :returns: those that did.
    """
    places = [{"of": uuid, "at_host": host, "by_driver": driver} for uuid in uuids]
    return [
        place["of"] for place in places if connection.execute(_DELETE_OF_HOST, place).rowcount == 1
    ]


def _one(connection: Connection, uuid: str) -> CursorResult[Any]:
    return connection.execute(_SELECT, {"of": uuid})


def row(instance: Instance, driver: str) -> dict[str, Any]:
    """The row that the instance has or should have.

    :param driver: the word of ``[DEFAULT] driver``.
    """
    return {
        "uuid": instance.uuid,
        "project_id": instance.project_id,
        "name": instance.name[:NAME_LENGTH],
        "host": instance.host,
        "driver": driver,
        "state": instance.state.value,
        "metadata": dict(instance.metadata),
    }

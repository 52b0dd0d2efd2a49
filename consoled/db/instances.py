"""The rows of instances."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from consoled.db.tables import instances
from consoled.model import Instance

NAME_LENGTH = 255
"""What the column holds of a name; names are for people, so a longer one is cut."""

_SELECT = select(instances).where(instances.c.uuid == bindparam("of"))
_UPDATE = update(instances).where(instances.c.uuid == bindparam("of"))
_DELETE = delete(instances).where(instances.c.uuid == bindparam("of"))


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

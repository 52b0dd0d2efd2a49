"""Which consoles of an instance somebody has, by the cell's own books."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from consoled.db.tables import console_leases as leases
from consoled.model import SERIAL

_CLAIMED = select(leases.c.port_index).where(
    leases.c.instance_uuid == bindparam("uuid"),
    leases.c.console_type == SERIAL,
    leases.c.replica_id.is_not(None),
)


def claimed_ports(connection: Connection, instance_uuid: str) -> frozenset[int]:
    """The indexes of the serial consoles that a replica has taken and not given back.

    A dead replica's count too: its client may still be in the guest's port, and whoever
    takes the console from it throws that out.
    """
    return frozenset(connection.scalars(_CLAIMED, {"uuid": instance_uuid}))

"""Shells on an instance, as consoles: which there are, and what stands for their place.

A serial port is one wire, and whoever has it has it alone. Of shells an instance can have many:
each session has one of its own, under an index of its own, so that leases, lists, disconnects
and limits are those of any console. All tokens for shells of an instance are for its first one;
which one a session gets is decided when it opens.
"""

from __future__ import annotations

from consoled.model import SHELL, Console, Instance

MOST = 64
"""Shells that an instance can have at a time in its cell: rows of the database are kept for them,
and an SSH server that is reached by one connection has a bound of its own."""


def shell_of(instance: Instance, index: int = 0) -> Console:
    """The shell of that index.

    Nothing listens at its place: host and port only name it, once in the cell. Where it is dialled
    is found out when it is (:meth:`consoled.interfaces.Routes.shells`).

    :param index: from 0 on, less than :data:`MOST`.
    """
    return Console(index, instance.uuid, index + 1, type=SHELL)

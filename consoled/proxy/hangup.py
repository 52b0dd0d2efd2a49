"""Why a console's port closed the connection, in a close code and a sentence."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import deferLater

from consoled.errors import BackendUnreachable, ConsoledError, InstanceNotRunning, NotFound
from consoled.interfaces import Driver

NORMAL = 1000
PORT_CLOSED = "The console's port closed the connection."
DRIVER_PATIENCE = 3.0
SECOND_LOOK = 0.5
"""Seconds after which the driver is asked again: QEMU's socket closes a little
before libvirt knows that the domain stopped."""


async def why_hung_up(
    driver: Driver, instance_uuid: str, clock: Any, fault: str = "", ended: str = PORT_CLOSED
) -> tuple[int, str]:
    """``(close code, reason)`` for a session whose console hung up.

    :param fault: what its transport says of that, for an instance that still runs.
    :param ended: what is said where nothing is wrong with either.
    """
    for wait in (0.0, SECOND_LOOK):
        if wait:
            await deferLater(clock, wait)
        try:
            instance = await driver.instance(instance_uuid).addTimeout(DRIVER_PATIENCE, clock)
        except NotFound:
            return InstanceNotRunning.close_code, "The instance has been deleted."
        except (ConsoledError, TimedOut):
            break
        if not instance.state.live:
            return InstanceNotRunning.close_code, f"{instance.name} has stopped."
    if fault:
        return BackendUnreachable.close_code, fault
    return NORMAL, ended

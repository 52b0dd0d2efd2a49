"""A domain's start, or its migration, that gets the next port once where libvirt could not
bind the first: somebody took it between the test and the start, or no test from here sees him.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from twisted.internet.defer import Deferred

from consoled.compute.libvirt.bind_error import taken_port
from consoled.compute.libvirt.client import ClientError, StartRefused
from consoled.compute.ports import PortAllocator

T = TypeVar("T")

Ports = Mapping[int, int]
"""The port of each serial port, by its index."""


async def start_with_ports(
    attempt: Callable[[Ports], Deferred[T]],
    ports: Ports,
    allocator: PortAllocator,
    instance_uuid: str,
) -> T:
    """What the attempt comes to; where one of the ports was taken, what the second one does.

    :param attempt: writes the ports into the domain's XML and starts it.
    :param ports: those that the allocator has given to the instance.
    :raises consoled.compute.libvirt.client.ClientError: libvirt's error, of another kind or of
        the second attempt; ``StartRefused`` where the attempt raises that.
    :raises consoled.errors.ConsoledError: there is no next port.
    """
    try:
        return await attempt(ports)
    except (ClientError, StartRefused) as error:
        taken = taken_port(str(error))
        if taken is None or taken.port not in ports.values():
            raise
    [index] = [index for index, port in ports.items() if port == taken.port]
    following = await allocator.next_after(instance_uuid, index, taken.port)
    return await attempt({**ports, index: following})

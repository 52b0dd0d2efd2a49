"""Starts a domain whose serial ports are consoled's; where somebody took one of their TCP
ports meanwhile, it gets the next one, once.

Whether a port is free is known for sure at a domain's start only, from libvirt's own error: it
was tested when it was given out, and from another machine not all of its listeners are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred

from consoled.compute.libvirt.client import (
    Definition,
    DefinitionRefused,
    LibvirtClient,
    StartRefused,
)
from consoled.compute.libvirt.configuring import Asking, port_view
from consoled.compute.libvirt.second_try import Ports, start_with_ports
from consoled.compute.libvirt.serial_devices import Listening, listening
from consoled.compute.libvirt.xml import DomainXMLError
from consoled.compute.migration.destination import relocated
from consoled.compute.ports import PortAllocator
from consoled.errors import Conflict, ConsoledError, NotFound


@frozen
class Started:
    """A domain that runs now.

    :ivar ports: its serial ports that listen on TCP.
    :ivar moved: of the serial port that got another TCP port, the one that it had before.
    """

    uuid: str
    domain: str
    ports: tuple[Listening, ...]
    moved: Mapping[int, int]


@define(eq=False)
class DomainStarter:
    """Starts the domains of one hypervisor.

    :ivar client: used where ``asking`` asks only.
    :ivar ports: gives out the next port.
    :ivar address: where the ports listen.
    :ivar noted: has the books of ports look at a domain again.
    """

    client: LibvirtClient
    asking: Asking
    ports: PortAllocator
    address: str
    noted: Callable[[str], Deferred[Any]]

    def start(self, domain: str) -> Deferred[Started]:
        """Powers a domain on.

        Only a serial port that consoled has made gets another TCP port; the domain's persistent
        XML is changed for it.

        :param domain: its uuid, or libvirt's name of it.
        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.Conflict: it runs already, its XML cannot be read, or libvirt
            does not start it, with libvirt's own words.
        :raises consoled.errors.SocketPortRangeExhausted: there is no next port.
        :raises consoled.errors.Unavailable: libvirt or the database does not answer.
        """
        return Deferred.fromCoroutine(self._start(domain))

    async def _start(self, domain: str) -> Started:
        found = await self.asking.ask(lambda: self.client.definition(domain))
        if found is None:
            raise NotFound(f"There is no domain {domain} on this hypervisor.")
        if found.active:
            raise Conflict(f"{found.name} runs already.")
        try:
            own = {one.index: one.port for one in listening(found.xml) if one.own and one.port}
        except DomainXMLError as error:
            raise Conflict(f"The XML of {found.name} cannot be read: {error}.") from None
        tried: list[tuple[Ports, str]] = []

        def attempt(ports: Ports) -> Deferred[None]:
            moved = {index: port for index, port in ports.items() if port != own[index]}
            places = {index: (self.address, port) for index, port in moved.items()}
            tried.append((moved, relocated(found.xml, places)))
            return self.asking.ask(lambda: self._power_on(found, tried[-1][1]))

        try:
            await start_with_ports(attempt, own, self.ports, found.uuid)
        except StartRefused as error:
            raise Conflict(f"libvirt does not start {found.name}: {error}") from None
        except DefinitionRefused as error:
            raise Conflict(
                f"libvirt does not take another port for {found.name}, which stays as it was: "
                f"{error}"
            ) from None
        finally:
            await self._note(found.uuid)
        moved, xml = tried[-1]
        return Started(
            found.uuid, found.name, listening(xml), {index: own[index] for index in moved}
        )

    def _power_on(self, found: Definition, xml: str) -> None:
        if xml != found.xml:
            self.client.define(xml)
        self.client.power_on(found.uuid)

    async def _note(self, uuid: str) -> None:
        """Brings the books in step; what fails here is made good by their next round."""
        with suppress(ConsoledError):
            await self.noted(uuid)


def started(found: Started) -> Mapping[str, Any]:
    """It as JSON, for scripts."""
    return {
        "server_id": found.uuid,
        "domain": found.domain,
        "ports": [
            {**port_view(port), "moved_from": found.moved.get(port.index)} for port in found.ports
        ],
    }

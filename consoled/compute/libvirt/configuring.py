"""Gives domains serial ports that consoled can reach, in what libvirt keeps of them.

Only a domain's persistent XML is changed: a running one goes on as it is until it is powered
off. Its passwords are read with it and written back. The rules for the XML are
:mod:`consoled.compute.libvirt.serial_devices`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import define, evolve, field, frozen
from lxml import etree
from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from consoled.compute.image_source import ImageQuestion, Said
from consoled.compute.libvirt.client import Definition, DefinitionRefused, LibvirtClient
from consoled.compute.libvirt.editing import difference, parse_document
from consoled.compute.libvirt.nova_metadata import NovaFacts, nova_facts
from consoled.compute.libvirt.serial_devices import (
    Listening,
    disable,
    enable,
    follows_image,
    lacking,
    listening,
)
from consoled.compute.libvirt.xml import DomainXMLError
from consoled.compute.port_count import IMAGE_PROPERTIES, Values, port_count
from consoled.errors import BadRequest, Conflict, ConsoledError, NotFound, Unavailable

T = TypeVar("T")

LOG_FILE = "/var/log/libvirt/qemu/{name}-serial{index}.log"
"""Where a serial port is logged: a folder that security drivers let QEMU's log daemon write."""

TLS = (
    "[libvirt] chardev_tls_ca is not set: consoled cannot open serial ports that speak TLS before "
    "it names the authority of the hypervisor's certificate (chardev_tls_x509_cert_dir in "
    "qemu.conf)."
)
"""What whoever asks for TLS should know where consoled itself is not set up for it."""

# The test driver is libvirt's own, in the process that asks.
_TYPES = frozenset({"kvm", "qemu", "hvf", "test"})


class Asking(Protocol):
    """Where libvirt is asked (:class:`consoled.compute.libvirt.asking.Asker`)."""

    def ask(self, question: Callable[[], T]) -> Deferred[T]:
        """The answer to a question that blocks."""


class PortSource(Protocol):
    """Gives out ports (:class:`consoled.compute.ports.PortAllocator`)."""

    def allocate(self, instance_uuid: str, indexes: Sequence[int]) -> Deferred[list[int]]:
        """A port for each of an instance's serial ports, reserved for a while.

        :raises consoled.errors.SocketPortRangeExhausted: too few are free.
        """

    def give_back(self, instance_uuid: str, unused: Sequence[int]) -> Deferred[list[int]]:
        """Ends reservations; a port that an XML was seen to name stays."""


@frozen
class Wish:
    """What somebody wants of a domain's serial ports.

    :ivar ports: how many; None for as many as image and flavor say.
    :ivar image: properties of the image, where the domain's own metadata has none.
    :ivar log: whether what the guest writes is logged to files on the hypervisor.
    :ivar tls: whether QEMU is to speak TLS on the ports.
    :ivar force: whether a domain that nova manages is changed, too.
    :ivar dry_run: whether nothing is to be changed.
    """

    ports: int | None = None
    image: Values = field(factory=dict)
    log: bool = False
    tls: bool = False
    force: bool = False
    dry_run: bool = False


@frozen
class Change:
    """What became of a wish.

    :ivar domain: libvirt's name of it.
    :ivar ports: its serial ports that listen on TCP now (in its persistent XML).
    :ivar changed: whether its persistent XML is another one than before.
    :ivar power_cycle: whether it runs, and so has the change after the next start only.
    :ivar diff: how its XML differs, without passwords.
    :ivar warnings: what else the one who asked should know, in sentences.
    """

    uuid: str
    domain: str
    ports: tuple[Listening, ...]
    changed: bool
    power_cycle: bool
    diff: str
    warnings: tuple[str, ...]


@define(eq=False)
class DomainConfigurator:
    """Changes the persistent XML of one hypervisor's domains.

    :ivar client: used where ``asking`` asks only.
    :ivar address: where the ports listen, ``[serial_console] proxyclient_address``.
    :ivar noted: has the books of ports look at a domain again
        (:meth:`consoled.compute.port_keeper.PortKeeper.reconcile`).
    :ivar opens_tls: whether consoled can open ports that speak TLS.
    """

    client: LibvirtClient
    asking: Asking
    ports: PortSource
    address: str
    noted: Callable[[str], Deferred[Any]]
    opens_tls: bool = False
    _one_at_a_time: DeferredLock = field(factory=DeferredLock, init=False)

    def enable(self, domain: str, wish: Wish, ask: ImageQuestion | None = None) -> Deferred[Change]:
        """Gives a domain serial ports that listen on TCP.

        :param domain: its uuid, or libvirt's name of it.
        :param ask: asks what its image says, where neither the wish nor its metadata does.
        :raises consoled.errors.NotFound: there is none.
        :raises consoled.errors.BadRequest: no such number of ports, another hypervisor's
            domain, or no port is left.
        :raises consoled.errors.Conflict: the domain is transient or nova's, or libvirt refuses.
        :raises consoled.errors.Unavailable: libvirt, the database, or who is asked does not
            answer.
        :raises consoled.errors.TokenRefused: who is asked does not take the user's token.
        """
        return Deferred.fromCoroutine(self._asked_and_enabled(domain, wish, ask))

    def replan(self, domain: str, ask: ImageQuestion) -> Deferred[Change | None]:
        """Gives a domain the serial ports that its image asks for by now, if it follows that.

        :returns: None where it does not, as somebody has asked for a number, or libvirt keeps
            nothing of it.
        :raises consoled.errors.ConsoledError: as of :meth:`enable`; the domain is as it was.
        """
        return Deferred.fromCoroutine(self._replan(domain, ask))

    def disable(self, domain: str, *, dry_run: bool = False) -> Deferred[Change]:
        """Undoes what :meth:`enable` did to a domain, whenever that was.

        :raises consoled.errors.ConsoledError: as of :meth:`enable`.
        """
        return self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._disable(domain, dry_run))
        )

    async def _asked_and_enabled(
        self, domain: str, wish: Wish, ask: ImageQuestion | None
    ) -> Change:
        # Whoever else has domains configured does not wait for an answer from elsewhere.
        said = Said() if ask is None or _decided(wish) else await self._said(domain, wish, ask)
        change = await self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._enable(domain, wish, said))
        )
        if said.warning is None:
            return change
        return evolve(change, warnings=(*change.warnings, said.warning))

    async def _said(self, domain: str, wish: Wish, ask: ImageQuestion) -> Said:
        found = await self._definition(domain)
        nova = _allowed(found, wish)
        return Said() if _known(nova) else await ask(found.uuid, nova.image_id)

    async def _replan(self, domain: str, ask: ImageQuestion) -> Change | None:
        found = await self._definition(domain)
        if not found.persistent:
            return None
        _judged(found)
        if not follows_image(found.xml) or not any(port.own for port in listening(found.xml)):
            return None
        own = [port for port in listening(found.xml) if port.own]
        log, tls = all(port.log for port in own), all(port.tls for port in own)
        wish = Wish(log=log, tls=tls, force=True)
        return await self._asked_and_enabled(found.uuid, wish, ask)

    async def _enable(self, domain: str, wish: Wish, said: Said) -> Change:
        found = await self._definition(domain)
        nova = _allowed(found, wish)
        asked = wish.image if _decided(wish) else said.properties
        count = port_count(nova.image if _known(nova) else asked, nova.flavor, wish.ports)
        missing = lacking(found.xml, count)
        given = await self.ports.allocate(found.uuid, missing) if missing else []
        places = {index: (self.address, port) for index, port in zip(missing, given, strict=True)}
        try:
            log = (lambda index: _log_file(found, index)) if wish.log else None
            after = enable(
                found.xml, count, places, log=log, tls=wish.tls, follows=not _decided(wish)
            )
            change = _change(found, after, _warnings(found, count, nova_managed=nova.managed))
            if wish.tls and not self.opens_tls:
                change = evolve(change, warnings=(*change.warnings, TLS))
            await self._take(change, after, wish.dry_run)
        except (Unavailable, CancelledError):
            # It may still be defined: if it is not, the reservations end by themselves.
            given = []
            raise
        finally:
            # Its XML names them now, or they come back.
            await self._settle(found.uuid, given)
        return change

    async def _disable(self, domain: str, dry_run: bool) -> Change:
        found = await self._definition(domain)
        nova = nova_facts(_judged(found))
        after = disable(found.xml)
        change = _change(found, after, _warnings(found, 0, nova_managed=nova.managed))
        await self._take(change, after, dry_run)
        await self._settle(found.uuid, ())
        return change

    async def _definition(self, domain: str) -> Definition:
        found = await self.asking.ask(lambda: self.client.definition(domain))
        if found is None:
            raise NotFound(f"There is no domain {domain} on this hypervisor.")
        return found

    async def _take(self, change: Change, xml: str, dry_run: bool) -> None:
        if not change.changed or dry_run:
            return
        try:
            await self.asking.ask(lambda: self.client.define(xml))
        except DefinitionRefused as error:
            raise Conflict(
                f"libvirt does not take the new definition of {change.domain}, which stays as it "
                f"was: {error}"
            ) from None

    async def _settle(self, uuid: str, given: Sequence[int]) -> None:
        """Brings the books in step; what fails here is made good by their next round."""
        try:
            await self.noted(uuid)
            if given:
                await self.ports.give_back(uuid, given)
        except ConsoledError:
            pass


def _judged(found: Definition) -> etree._Element:
    """The domain, if its XML is one that can be changed."""
    try:
        root = parse_document(found.xml)
        listening(found.xml)
    except DomainXMLError as error:
        raise Conflict(f"The XML of {found.name} cannot be read: {error}.") from None
    kind = root.get("type", "")
    if kind not in _TYPES:
        raise BadRequest(
            f"{found.name} is a domain of type {kind}; consoled configures those of QEMU only "
            "(qemu, kvm)."
        )
    if not found.persistent:
        raise Conflict(
            f"{found.name} is transient: libvirt forgets it when it ends, so nothing can be "
            "configured; define it with serial ports, or make it persistent."
        )
    return root


def _allowed(found: Definition, wish: Wish) -> NovaFacts:
    """What nova says of the domain, if it may be changed."""
    nova = nova_facts(_judged(found))
    if nova.managed and not (wish.force or wish.dry_run):
        raise Conflict(f"{_nova_says(found)} Use force to change it nonetheless.")
    return nova


def _known(nova: NovaFacts) -> bool:
    """Whether the metadata itself says what the image asks for."""
    return any(name in nova.image for name in IMAGE_PROPERTIES)


def _decided(wish: Wish) -> bool:
    """Whether somebody asks for a number, whatever the image says."""
    return wish.ports is not None or any(name in wish.image for name in IMAGE_PROPERTIES)


def _change(found: Definition, after: str, warnings: tuple[str, ...]) -> Change:
    diff = difference(found.xml, after, found.name)
    return Change(
        uuid=found.uuid,
        domain=found.name,
        ports=listening(after),
        changed=bool(diff),
        power_cycle=bool(diff) and found.active,
        diff=diff,
        warnings=warnings if diff else (),
    )


def _warnings(found: Definition, count: int, *, nova_managed: bool) -> tuple[str, ...]:
    """What is to be known of a change.

    :param count: ports that are wanted.
    """
    said = [
        f"Serial port {port.index} listens on TCP already and is not consoled's: it stays as it is."
        for port in listening(found.xml)
        if port.index < count and not port.own
    ]
    if nova_managed:
        said.append(_nova_says(found))
    if found.active:
        said.append(
            f"{found.name} runs: the change is there when it has been powered off and started "
            "again; a reboot is not enough."
        )
    if found.saved:
        said.append(
            f"{found.name} has a saved state and resumes with the devices of that; it has the "
            "change at the start after that, or when the saved state is removed."
        )
    return tuple(said)


def _nova_says(found: Definition) -> str:
    return (
        f"{found.name} is managed by nova, which makes its XML anew at each hard reboot, resize "
        "and migration, and the change is lost then; set hw:serial_port_count of its flavor, or "
        "hw_serial_port_count of its image, and [serial_console] enabled in nova.conf."
    )


def _log_file(found: Definition, index: int) -> str:
    return LOG_FILE.format(name=found.name, index=index)


def configuration(change: Change) -> Mapping[str, Any]:
    """A change as JSON, for REST and for scripts."""
    return {
        "server_id": change.uuid,
        "domain": change.domain,
        "changed": change.changed,
        "power_cycle": change.power_cycle,
        "ports": [port_view(port) for port in change.ports],
        "warnings": list(change.warnings),
        "diff": change.diff,
    }


def port_view(port: Listening) -> Mapping[str, Any]:
    """A serial port as JSON."""
    return {
        "index": port.index,
        "host": port.host,
        "port": port.port,
        "tls": port.tls,
        "log": port.log,
        "configured": port.own,
    }

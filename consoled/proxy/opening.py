"""Opening a console: from a checked token to a connected line, or a reason why not."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NoReturn

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectingCancelledError, UserError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from consoled.errors import (
    BackendUnreachable,
    InstanceNotRunning,
    NotFound,
    TokenInvalid,
    Unavailable,
)
from consoled.interfaces import (
    Driver,
    Lease,
    Leases,
    PortControl,
    Registrar,
    Transport,
)
from consoled.leasing.values import Holder
from consoled.model import NO_GENERATION, Console, ConsoleAuthToken, Instance
from consoled.proxy.leg import Leg, LegFactory, OpenConsole
from consoled.transports.connect import ConnectEndpoint

log = Logger()

OUT_OF_DESCRIPTORS = (
    "no file descriptor is left for a console: raise LimitNOFILE (ulimit -Hn), or lower "
    "[proxy] max_sessions"
)

OCCUPANCY_LOOKS = 2
"""QEMU needs a moment to see that the client before has hung up."""


def console_of(token: ConsoleAuthToken, instance: Instance) -> Console:
    """The console that a token opens now (design.md, invariant 3).

    nova validates a token without a look at the instance, so that a stopped
    instance's token reaches whoever got its port next.

    :param instance: as its driver sees it at this moment.
    :raises consoled.errors.InstanceNotRunning: it has no live serial ports.
    :raises consoled.errors.TokenInvalid: the console is gone, or is not where it was.
    """
    if not instance.state.live:
        raise InstanceNotRunning(f"{instance.name} is not running. Start it and connect again.")
    console = instance.console(token.index)
    if (
        console is None
        or (console.host, console.port) != (token.host, token.port)
        # Nobody who was promised TLS is connected without.
        or (token.options.get("usetls") and not console.tls)
    ):
        raise TokenInvalid("This console has changed since its URL was made. Get a new URL.")
    return console


def _timed_out(_outcome: object, timeout: float) -> NoReturn:
    raise TimedOut(timeout)


@frozen
class Opener:
    """Opens consoles.

    :ivar registrar: makes the cell database know a console that a foreign token names.
    :ivar ports: throws a dead replica's client off the guest's port, where it can.
    :ivar connect_timeout: seconds from the lease to a connected port.
    """

    driver: Driver
    leases: Leases
    registrar: Registrar
    ports: PortControl
    transport: Transport
    clock: IReactorTime
    connect_timeout: float

    async def open(
        self,
        token: ConsoleAuthToken,
        session_id: str,
        holder: Holder,
        admit: Callable[[], Deferred[None]],
    ) -> OpenConsole:
        """A connected console. Cancelling gives up a dial and leaves nothing behind.

        :param session_id: the session that it is opened for.
        :param holder: whose session that is.
        :param admit: asked when the lease is held, and before anything is dialled.
        :raises consoled.errors.ConsoledError: why the console does not open.
        """
        try:
            instance = await self.driver.instance(token.instance_uuid)
        except NotFound:
            raise TokenInvalid("The instance of this URL does not exist any more.") from None
        console = console_of(token, instance)
        if token.generation == NO_GENERATION:
            await self.registrar.register(instance, console)
        lease = await self.leases.take(instance.uuid, console.index, session_id, holder=holder)
        try:
            await admit()
            unproven = await self._occupied(instance, console, lease)
            leg = await self._dial(instance, console, token)
        except BaseException:
            await self.leases.release(lease)
            raise
        return OpenConsole(instance, console, leg, lease, self.leases, unproven)

    async def _occupied(self, instance: Instance, console: Console, lease: Lease) -> bool:
        """Whether somebody else's client may have the guest's port, as far as can be known.

        TCP alone does not tell: QEMU lets a second client wait without a word.
        """
        if lease.seized:
            return not await self.ports.free_port(instance.uuid, console.index)
        for _ in range(OCCUPANCY_LOOKS):
            if console.index not in await self.ports.held_ports(instance.uuid):
                return False
        log.warn("{place}: somebody else has this port", place=console.place)
        return True

    async def _dial(self, instance: Instance, console: Console, token: ConsoleAuthToken) -> Leg:
        what = f"The serial port {console.index} of {instance.name}"
        endpoint = self.transport.endpoint(instance, console)
        path = token.options.get("internal_access_path")
        if path:
            endpoint = ConnectEndpoint(endpoint, str(path), self.clock, self.connect_timeout)
        dial = endpoint.connect(LegFactory())
        dial.addTimeout(self.connect_timeout, self.clock, _timed_out)
        try:
            leg = await dial
        except ConnectingCancelledError as error:
            # The endpoints' own word for a cancelled dial.
            raise CancelledError from error
        except (TimedOut, UserError) as error:
            log.warn("{place}: {reason}", place=console.place, reason=error)
            raise BackendUnreachable(f"{what} did not answer in time.") from error
        except (ConnectError, OSError) as error:
            number = error.osError if isinstance(error, ConnectError) else error.errno
            if number in (errno.EMFILE, errno.ENFILE):
                log.error(OUT_OF_DESCRIPTORS, event="out_of_descriptors")
                raise Unavailable("The console server is full. Try again in a moment.") from error
            log.warn("{place}: {reason}", place=console.place, reason=error)
            raise BackendUnreachable(f"{what} refused the connection.") from error
        assert isinstance(leg, Leg)
        return leg

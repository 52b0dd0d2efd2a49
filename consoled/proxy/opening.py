"""Opening a console: from a checked token to a connected line, or a reason why not."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NoReturn

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectError, ConnectingCancelledError, UserError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from consoled.errors import (
    BackendUnreachable,
    ConsoledError,
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
from consoled.leasing.values import ConsoleKey, Holder
from consoled.model import NO_GENERATION, PTY, SHELL, Console, ConsoleAuthToken, Instance
from consoled.openstack.values import UserToken
from consoled.proxy.leg import SSH, Leg, LegFactory, OpenConsole
from consoled.reaching.behalf import Behalf
from consoled.shells import shell_of
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
    if token.console_type == SHELL:
        if token.generation == NO_GENERATION:
            raise TokenInvalid("This console link is not valid, or has expired; ask for a new one.")
        return shell_of(instance, token.index)
    console = instance.console(token.index)
    if (
        console is None
        or console.type != token.console_type
        or (console.host, console.port) != (token.host, token.port)
        # Nobody who was promised TLS is connected without.
        or (token.options.get("usetls") and not console.tls)
    ):
        raise TokenInvalid("This console has changed since its URL was made. Get a new URL.")
    return console


def _timed_out(_outcome: object, timeout: float) -> NoReturn:
    raise TimedOut(timeout)


def _nobody(_token: ConsoleAuthToken) -> Deferred[UserToken | None]:
    return succeed(None)


def _told(failure: Failure, name: str) -> None:
    log.warn("where {name} is now is noted later: {cause}", name=name, cause=str(failure.value))


@frozen
class Opener:
    """Opens consoles.

    :ivar registrar: makes the cell database know a console that a foreign token names.
    :ivar ports: throws a dead replica's client off the guest's port, where it can.
    :ivar connect_timeout: seconds from the lease to a connected port.
    :ivar follows: whether guests may go on at another compute host.
    :ivar users: the own token of the user to whom a console token was issued, where the way to
        the console may need it.
    :ivar cut_off: consoles whose proxy node was lost while they were open: the guest's port may
        have that node's connection still.
    """

    driver: Driver
    leases: Leases
    registrar: Registrar
    ports: PortControl
    transport: Transport
    clock: IReactorTime
    connect_timeout: float
    follows: bool = False
    users: Callable[[ConsoleAuthToken], Deferred[UserToken | None]] = _nobody
    cut_off: set[ConsoleKey] = field(factory=set, init=False, eq=False)

    async def open(
        self,
        token: ConsoleAuthToken,
        session_id: str,
        holder: Holder,
        admit: Callable[[], Deferred[None]],
        *,
        force: bool = False,
        user: UserToken | None = None,
    ) -> OpenConsole:
        """A connected console. Cancelling gives up a dial and leaves nothing behind.

        :param session_id: the session that it is opened for.
        :param holder: whose session that is.
        :param admit: asked when the lease is held, and before anything is dialled.
        :param force: whether somebody whom the cell knows nothing of is thrown off.
        :param user: whose rights count on the way; None is whom the token was issued to.
        :raises consoled.errors.ConsoledError: why the console does not open.
        """
        try:
            instance = await self.driver.instance(token.instance_uuid)
        except NotFound:
            raise TokenInvalid("The instance of this URL does not exist any more.") from None
        console = console_of(token, instance)
        shell = console.type == SHELL
        if shell or token.generation == NO_GENERATION:
            await self.registrar.register(instance, console)
        lease = await self.leases.take(
            instance.uuid, console.index, session_id, holder=holder, console_type=console.type
        )
        try:
            await admit()
            unproven = not shell and await self._occupied(instance, console, lease, force)
            user = user or await self.users(token)
            leg = await self._dial(instance, console, token, Behalf(user))
        except BaseException:
            await self.leases.release(lease)
            raise
        return OpenConsole(instance, console, leg, lease, self.leases, unproven, user)

    def _note_loss(self, instance: Instance, console: Console, leg: Leg) -> None:
        if leg.carrier == SSH and leg.fault:
            self.cut_off.add(ConsoleKey(instance.uuid, console.index, console.type))

    async def ahead(
        self,
        instance: Instance,
        console: Console,
        token: ConsoleAuthToken,
        user: UserToken | None = None,
    ) -> Leg | None:
        """A connection to a console whose guest is on its way there; None where there is none.

        Asked for a console whose lease is held, wherever its guest is.

        :param user: as of the console that is open.
        """
        try:
            return await self._dial(instance, console, token, Behalf(user, anew=True))
        except ConsoledError:
            return None

    async def follow(
        self, former: OpenConsole, instance: Instance, token: ConsoleAuthToken, leg: Leg | None
    ) -> OpenConsole:
        """The console where its guest goes on, by the same lease.

        :param instance: as the guest's new host sees it.
        :param leg: a connection that leads there, where there is one.
        :raises consoled.errors.ConsoledError: it cannot be reached there.
        """
        console = instance.console(former.console.index)
        if console is None:
            raise BackendUnreachable(
                f"{instance.name} runs on another host now, where this console cannot be reached."
            )
        if leg is None:
            leg = await self._dial(instance, console, token, Behalf(former.user, anew=True))
        # Its tokens go with it, in one transaction; the new host's own look does the same.
        known = self.registrar.register(instance, console)
        known.addErrback(_told, instance.name)
        return evolve(former, instance=instance, console=console, leg=leg)

    async def _occupied(
        self, instance: Instance, console: Console, lease: Lease, force: bool
    ) -> bool:
        """Whether somebody else's client may have the guest's port, as far as can be known.

        TCP alone does not tell: QEMU lets a second client wait without a word. A pty that
        somebody else has does not open.
        """
        key = ConsoleKey(instance.uuid, console.index, console.type)
        ours = lease.seized or key in self.cut_off
        self.cut_off.discard(key)
        freed = (ours or force) and await self.ports.free_port(instance.uuid, console.index)
        if freed or console.kind == PTY:
            return False
        if ours:
            return True
        for _ in range(OCCUPANCY_LOOKS):
            if console.index not in await self.ports.held_ports(instance.uuid):
                return False
        log.warn("{place}: somebody else has this port", place=console.place)
        return True

    async def _dial(
        self, instance: Instance, console: Console, token: ConsoleAuthToken, behalf: Behalf
    ) -> Leg:
        what = (
            f"The shell of {instance.name}"
            if console.type == SHELL
            else f"The serial port {console.index} of {instance.name}"
        )
        endpoint = self.transport.endpoint(instance, console, behalf)
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
        if console.type != SHELL:
            leg.lost.addCallback(lambda _: self._note_loss(instance, console, leg))
        return leg

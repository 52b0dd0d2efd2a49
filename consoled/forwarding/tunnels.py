"""All tunnels of this daemon: who may have one, and their ends."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.task import deferLater
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.errors import BadRequest
from consoled.forwarding.http import check_live
from consoled.forwarding.idle import IdleWatch
from consoled.forwarding.places import Places
from consoled.forwarding.targets import Targets
from consoled.forwarding.tunnel import InstanceSide, TunnelSocket, TunnelSocketFactory
from consoled.forwarding.way import Dialler, quiet
from consoled.interfaces import Addresses
from consoled.issuing import ConsoleIssuer
from consoled.model import Caller, Instance
from consoled.openstack.values import UserToken
from consoled.proxy.upgrade import adopt
from consoled.proxy.websocket import Handshake
from consoled.reaching.behalf import Behalf

log = Logger()

GOING_AWAY = 1001
IDLE = 4411
STOP_LIMIT = 2.0
"""Seconds that clients have to take the close when the daemon stops."""


@frozen
class TunnelWish:
    """What a caller asks for.

    :ivar port: as it stands in the path.
    :ivar src: the client's address.
    """

    caller: Caller
    request_id: str
    server_id: str
    port: str
    src: str


@define(eq=False)
class Tunnels:
    """Opens tunnels.

    :ivar issuer: says which instances a caller may reach.
    :ivar idle_timeout: seconds without a byte until a tunnel ends; 0 is without end.
    """

    issuer: ConsoleIssuer
    addresses: Addresses
    dialler: Dialler
    targets: Targets
    places: Places
    sockets: TunnelSocketFactory
    idle_timeout: float = 0.0
    _open: set[TunnelSocket] = field(factory=set, init=False)
    _emptied: list[Deferred[None]] = field(factory=list, init=False)

    def __len__(self) -> int:
        return len(self._open)

    async def permitted(self, wish: TunnelWish) -> tuple[Instance, int]:
        """The instance and the port, if the caller may have a tunnel there.

        :raises consoled.errors.ConsoledError: why not.
        """
        instance = await self.issuer.visible(wish.caller, wish.server_id, Rule.SERVERS_FORWARD)
        port = self.targets.port(wish.port)
        check_live(instance)
        return instance, port

    async def open(self, request: Any, handshake: Handshake, wish: TunnelWish) -> None:
        """Connects to the instance, then gives the request's connection to the tunnel.

        So the answer to the handshake says whether the port takes connections.

        :raises consoled.errors.ConsoledError: there is no tunnel; the request has no answer yet.
        """
        instance, port = await self.permitted(wish)
        behalf = Behalf(UserToken.of(wish.caller))
        known = await self.addresses.of(instance, behalf)
        allowed = self.targets.addresses(instance.uuid, known)
        self.places.take()
        side = InstanceSide()
        try:
            await self.dialler.dial(instance, allowed, port, quiet(side), behalf)
            # The hand-over must not happen inside the request's own parsing.
            await deferLater(self.dialler.clock, 0)
            if request.channel._dataBuffer:
                # RFC 6455, section 4.1: a client waits for the answer before it sends more.
                raise BadRequest("Data was sent before the handshake was answered.")
        except BaseException:
            self.places.free()
            if side.transport is not None:
                side.leave(self.dialler.clock)
            raise
        self._begin(request, handshake, wish, side, instance=instance, port=port)

    def _begin(
        self,
        request: Any,
        handshake: Handshake,
        wish: TunnelWish,
        side: InstanceSide,
        *,
        instance: Instance,
        port: int,
    ) -> None:
        socket = self.sockets.tunnel(side, handshake.chosen)
        watch = IdleWatch(
            self.dialler.clock,
            self.idle_timeout,
            partial(socket.finish, IDLE, "Nothing went through the tunnel for too long."),
        )
        began = self.dialler.clock.seconds()
        facts = {
            "user_id": wish.caller.user_id,
            "project_id": wish.caller.project_id,
            "instance_uuid": instance.uuid,
            "port": port,
            "request_id": wish.request_id,
            "src": wish.src,
        }

        def over() -> None:
            watch.stop()
            self.places.free()
            self._open.discard(socket)
            log.info(
                "the tunnel of {user_id} to {instance_uuid} port {port} has ended",
                event="tunnel_ended",
                bytes_in=socket.bytes_in,
                bytes_out=socket.bytes_out,
                duration_s=round(self.dialler.clock.seconds() - began, 6),
                **facts,
            )
            if not self._open:
                waiting, self._emptied = self._emptied, []
                for deferred in waiting:
                    deferred.callback(None)

        socket.on_end = over
        socket.touched = watch.touch
        self._open.add(socket)
        log.info(
            "{user_id} has a tunnel to {instance_uuid} port {port}", event="tunnel_opened", **facts
        )
        watch.start()
        adopt(request, socket)
        socket.accept(handshake)

    def end_all(self) -> Deferred[None]:
        """Ends every tunnel; fires when the last one is gone, or its client takes too long."""
        if not self._open:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        for socket in list(self._open):
            socket.finish(GOING_AWAY, "The console server is restarting. Reconnect in a moment.")
        emptied.addTimeout(STOP_LIMIT, self.dialler.clock)
        return emptied.addErrback(lambda failure: failure.trap(TimedOut) and None)

"""The SSH connections of a daemon, and what goes over them, put together from the settings."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.interfaces import Routes
from consoled.metrics.meters import Meters
from consoled.model import Instance
from consoled.reaching.behalf import Behalf
from consoled.reaching.reach import Reach
from consoled.service import Part
from consoled.settings import Settings, SSHProxy
from consoled.transports.over_ssh import ShellTransport, SSHTransport
from consoled.transports.ssh.limits import PoolLimits
from consoled.transports.ssh.pool import SSHPool
from consoled.transports.tcp import TCPTransport
from consoled.workers import ThreadWorker


def limits(group: SSHProxy) -> PoolLimits:
    """What ``[ssh_proxy]`` says of connections."""
    return PoolLimits(
        connect_timeout=group.connect_timeout,
        linger=group.linger,
        keepalive=group.keepalive_interval,
        patience=group.keepalive_interval * group.keepalive_count,
        channels=group.max_channels,
        dead_for=group.retry_after,
    )


@frozen
class SSHParts:
    """What the composition needs of them.

    :ivar pool: the connections through SSH servers.
    :ivar reach: connections to instances, for whoever needs one.
    :ivar serial: the transport of serial ports on TCP.
    :ivar shells: the transport of shells.
    :ivar parts: to be started before, and so stopped after, what uses them.
    """

    routes: Routes
    pool: SSHPool
    reach: Reach
    serial: SSHTransport
    shells: ShellTransport
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, settings: Settings, reactor: Any, routes: Routes, meters: Meters) -> Self:
        """All of them; nothing is started, and nothing is dialled before somebody asks for it."""
        worker = ThreadWorker(reactor, "ssh-keys", 1)
        pool = SSHPool(reactor, worker, limits(settings.ssh_proxy))
        meters.watch_ssh(pool.health)
        timeout = settings.proxy.connect_timeout
        reach = Reach(routes, pool, TCPTransport(reactor, timeout).to, reactor, timeout)
        return cls(
            routes,
            pool,
            reach,
            SSHTransport(reach),
            ShellTransport(reach),
            (Part(worker.start, worker.stop), Part(pool.start, pool.stop)),
        )

    def can_log_in(self, instance: Instance, behalf: Behalf) -> Deferred[bool]:
        """Whether something says how to log in at the instance for a shell."""
        return self.routes.shells(instance, behalf).addCallback(bool)

"""The parts that follow the domains of a libvirt host through their life, put together."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.libvirt.events import EventConnection, EventLoop
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.libvirt.watcher import DomainWatcher
from consoled.compute.port_keeper import PortKeeper
from consoled.compute.rounds import Rounds
from consoled.interfaces import Database, DomainDriver
from consoled.service import Part
from consoled.settings import Settings

NAME = "libvirt"
"""The hypervisor's name in the figures: that of its section in the configuration."""


@frozen
class WatchParts:
    """The domains of the daemon's own libvirt host.

    :ivar parts: what starts and stops, after the database and the ports, and before them.
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        driver: DomainDriver,
        ports: PortKeeper,
        database: Database,
    ) -> Self:
        """For ``[libvirt] uri``; no thread runs yet.

        :param ports: the books of the domains' ports.
        """
        uri, loop = settings.libvirt.uri, EventLoop()
        keeper = InstanceKeeper(driver, database)
        watcher = DomainWatcher(
            name=NAME,
            uri=uri,
            source=EventConnection(uri),
            worker=DaemonThread(reactor, "libvirt-watch"),
            rounds=Rounds([keeper.reconcile, ports.reconcile], reactor),
            reactor=reactor,
        )
        return cls(
            (
                Part(loop.start, lambda: None),
                Part(watcher.start, lambda: Deferred.fromCoroutine(watcher.stop())),
            )
        )

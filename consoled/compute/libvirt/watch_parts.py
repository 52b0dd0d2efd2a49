"""The parts that follow the domains of a libvirt host through their life, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.compute.instance_keeper import InstanceKeeper
from consoled.compute.libvirt.events import EventConnection
from consoled.compute.libvirt.thread import DaemonThread
from consoled.compute.libvirt.watcher import DomainWatcher
from consoled.compute.rounds import Look, Rounds
from consoled.service import Part
from consoled.settings import LibvirtHost


@frozen
class WatchParts:
    """The domains of one libvirt host.

    :ivar keeper: of the rows of its instances.
    :ivar rounds: have its domains looked at.
    :ivar parts: what starts and stops, after the database, the ports and libvirt's event loop,
        and before them.
    """

    keeper: InstanceKeeper
    rounds: Rounds
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        host: LibvirtHost,
        reactor: Any,
        keeper: InstanceKeeper,
        looks: Sequence[Look],
    ) -> Self:
        """For that host; no thread runs yet.

        :param looks: what is done at each look at its domains, that of the keeper among it.
        """
        rounds = Rounds(looks, reactor)
        watcher = DomainWatcher(
            name=host.label,
            uri=host.uri,
            source=EventConnection(host.uri),
            worker=DaemonThread(reactor, f"{host.label}-watch"),
            rounds=rounds,
            reactor=reactor,
        )
        part = Part(watcher.start, lambda: Deferred.fromCoroutine(watcher.stop()))
        return cls(keeper, rounds, (part,))

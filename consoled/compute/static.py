"""The static driver: consoles that are plain TCP endpoints, from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed

from consoled.compute.inventory import read_inventory
from consoled.errors import NotFound
from consoled.interfaces import Worker
from consoled.model import Instance

_SHOWN = 64


@define
class StaticDriver:
    """Answers from the inventory that was last read (an interfaces.Driver and PortControl).

    :ivar path: ``[static] inventory``.
    :ivar worker: where a reload reads and parses.
    """

    path: Path
    worker: Worker
    _instances: Mapping[str, Instance] = field(factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path, worker: Worker) -> StaticDriver:
        """A driver with its first inventory read; it blocks, before the reactor runs.

        :raises consoled.errors.ConfigError: the file cannot be used.
        """
        return cls(path, worker, _read(path))

    @property
    def name(self) -> str:
        """The word of ``[DEFAULT] driver``."""
        return "static"

    def instances(self) -> Deferred[Sequence[Instance]]:
        """All instances, in the order of the file."""
        return succeed(tuple(self._instances.values()))

    def instance(self, uuid: str) -> Deferred[Instance]:
        """One instance.

        :raises consoled.errors.NotFound: the inventory does not hold it.
        """
        found = self._instances.get(uuid.lower())
        if found is None:
            return fail(NotFound(f"Instance {uuid[:_SHOWN]} could not be found."))
        return succeed(found)

    def free_port(self, instance_uuid: str, index: int) -> Deferred[bool]:
        """False: nothing is known of an endpoint but its address."""
        return succeed(False)

    def held_ports(self, instance_uuid: str) -> Deferred[frozenset[int]]:
        """None: nobody can be asked who is connected."""
        return succeed(frozenset())

    @property
    def breaks(self) -> None:
        """None: TCP carries bytes only, and nobody else can be asked."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> Deferred[None]:
        """Nothing to end."""
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Reads the file again; a bad one leaves the old inventory in force.

        :raises consoled.errors.ConfigError: why the old one stays.
        """
        return self.worker.run(_read, self.path).addCallback(self._swap)

    def _swap(self, instances: Mapping[str, Instance]) -> None:
        self._instances = instances


def _read(path: Path) -> Mapping[str, Instance]:
    return {instance.uuid: instance for instance in read_inventory(path)}

"""How long a run is."""

from __future__ import annotations

import resource

from attrs import frozen

from bench.openstack import FULL as OPENSTACK_FULL
from bench.openstack import QUICK as OPENSTACK_QUICK
from bench.openstack import OpenStackScale
from bench.ports import FULL as PORTS_FULL
from bench.ports import QUICK as PORTS_QUICK
from bench.ports import PortScale
from bench.ssh import FULL as SSH_FULL
from bench.ssh import QUICK as SSH_QUICK
from bench.ssh import SshScale
from bench.tokens import FULL as LOAD_FULL
from bench.tokens import QUICK as LOAD_QUICK
from bench.tokens import TokenScale

SPARE = 500
"""Descriptors of a process besides those of its sessions."""


@frozen
class Scale:
    """How long a run is; every loop is bounded in count and time.

    :ivar rounds: of each measurement, unless it says otherwise.
    :ivar keystrokes: a round.
    :ivar seconds: that the keystrokes or the flood of a round may take.
    :ivar typists: sessions that type at once.
    :ivar keys: of each of them in a round, one every ``PERIOD``.
    :ivar opens: sessions that are opened in a round.
    :ivar warm: sessions that are open before idle ones are counted.
    :ivar idle: numbers of idle sessions, ascending.
    :ivar idle_tls: the same over TLS.
    :ivar idle_forks: the largest of them for a peer with a process per session.
    :ivar tokens: console URLs that are issued in a round.
    :ivar load: of the measurements of tokens.
    :ivar ports: of the measurements of ports.
    :ivar ssh: of the measurements of SSH.
    :ivar openstack: of those with Keystone and Glance.
    """

    rounds: int = 5
    keystrokes: int = 4000
    seconds: float = 1.0
    typists: int = 200
    keys: int = 20
    opens: int = 300
    warm: int = 50
    idle: tuple[int, ...] = (100, 1000, 5000)
    idle_tls: tuple[int, ...] = (100, 1000)
    idle_forks: int = 100
    tokens: int = 400
    load: TokenScale = LOAD_FULL
    ports: PortScale = PORTS_FULL
    ssh: SshScale = SSH_FULL
    openstack: OpenStackScale = OPENSTACK_FULL

    @property
    def consoles(self) -> int:
        """Quiet consoles that the backend needs."""
        idle = affordable((*self.idle, *self.idle_tls))
        return max(self.opens, self.tokens, self.warm + max(idle, default=0))


FULL = Scale()
QUICK = Scale(
    rounds=1,
    keystrokes=200,
    seconds=0.2,
    typists=20,
    keys=2,
    opens=20,
    warm=5,
    idle=(20, 40),
    idle_tls=(20,),
    idle_forks=20,
    tokens=20,
    load=LOAD_QUICK,
    ports=PORTS_QUICK,
    ssh=SSH_QUICK,
    openstack=OPENSTACK_QUICK,
)


def affordable(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Those numbers of sessions that the hard limit of descriptors allows: two for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return tuple(count for count in counts if 2 * count + SPARE <= hard)

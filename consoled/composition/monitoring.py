"""What looks at the running daemon: monitoring systems, and the rechecks of rights."""

from __future__ import annotations

from collections.abc import Callable

from consoled.composition.core import Core
from consoled.http.listen import bind
from consoled.metrics.health import Readiness
from consoled.metrics.meters import MonitoringListener
from consoled.rechecking import Rechecker
from consoled.service import Part


def monitoring(core: Core, draining: Callable[[], bool]) -> list[Part]:
    """What starts first and stops last: the drain is looked at too.

    :param draining: whether the daemon is on its way down.
    """
    settings, reactor = core.inputs.settings, core.inputs.reactor
    group, meters = settings.metrics, core.store.meters
    if group.port is None:
        return meters.parts
    readiness = Readiness(
        database=core.store.database,
        clock=reactor,
        draining=draining,
        registered=lambda: core.replicas.leases.replica_id is not None,
        full=lambda: core.store.sessions.full(settings.proxy.max_sessions),
        lag=lambda: meters.lag.worst,
    )
    site, sock = meters.site(readiness), bind(group.listen, group.port)
    return [MonitoringListener(reactor, sock, site).part, *meters.parts]


def rechecks(core: Core) -> list[Part]:
    """What ends sessions whose users lost their right, where somebody can tell."""
    inputs = core.inputs
    if inputs.callers.roles is None:
        return []
    rechecker = Rechecker(
        core.store.sessions.all,
        inputs.callers.roles,
        inputs.policy,
        inputs.reactor,
        inputs.settings.proxy.recheck_interval,
    )
    return [Part(rechecker.start, rechecker.stop)]

"""One cell's service: all of its parts, in the order of their start."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger

from consoled.composition.api import api_listener, api_parts
from consoled.composition.certificates import Certificates
from consoled.composition.core import Core
from consoled.composition.inputs import Inputs
from consoled.composition.monitoring import monitoring, rechecks
from consoled.composition.relay import Relay
from consoled.descriptors import hard_limit, refuse_too_few
from consoled.errors import ConsoledError
from consoled.interfaces import Driver
from consoled.reaper import Reaper
from consoled.service import Cell, Part, Reload, settle_memory
from consoled.settings import Settings

log = Logger()


def compose(
    settings: Settings,
    reactor: Any,
    read_settings: Callable[[], Settings],
    observer: ILogObserver,
) -> Cell:
    """One cell's service, its sockets bound.

    No thread is started and no connection stays open: twistd may fork after it.

    :param read_settings: reads the files again, for SIGHUP.
    :param observer: writes the log.
    :raises consoled.errors.ConfigError: one line for the operator.
    """
    refuse_too_few(
        settings.proxy.max_sessions,
        recorded=settings.serial_console.record,
        hard=hard_limit(),
    )
    core, certificates = Core.of(settings, reactor), Certificates()
    inputs, replicas, access = core.inputs, core.replicas, core.access
    relay, api = Relay.of(core), api_parts(core)
    listeners = [api_listener(core, api, certificates)]
    if settings.serial_console.enabled:
        listeners.append(relay.listener(core, certificates))
    keeper = core.cloud.openstack.keeper
    reaper = Reaper(
        core.store.database,
        _console_hosts(inputs.driver),
        reactor,
        further=[] if keeper is None else [keeper.reap],
    )
    leases, reaching = replicas.leases, access.reaching
    cell = Cell(
        name=settings.cell,
        reactor=reactor,
        observer=observer,
        listeners=listeners,
        driver=inputs.driver,
        parts=[
            *monitoring(core, draining=lambda: not cell.running),
            core.store.part,
            *core.cloud.openstack.parts,
            *core.hosts.parts,
            *inputs.tokens.parts,
            *replicas.recordings.parts,
            reaching.part,
            *access.ssh.parts,
            Part(leases.start, leases.stop),
            Part(settle_memory, lambda: None),
            Part(lambda: None, replicas.hops.end_all),
            *([] if api.forwarding is None else [api.forwarding.part]),
            *inputs.workers,
            *inputs.callers.parts,
            *([] if api.cells is None else api.cells.parts),
            Part(reaper.startService, reaper.stopService),
            *rechecks(core),
        ],
        sessions=core.store.sessions,
        reloads=[
            Reload("[console] origins and hosts", lambda: relay.reload(read_settings())),
            Reload(f"the {inputs.driver.name} driver", inputs.driver.reload),
            *inputs.callers.reloads,
            Reload("the policy", inputs.policy.reload),
            *inputs.tokens.reloads(read_settings),
            *_console_credentials(inputs),
            Reload("[ssh_proxy] keys", lambda: reaching.reload(settings.ssh_proxy)),
            *certificates.reloads,
        ],
    )
    if inputs.callers.keys_made:
        log.info(
            "made {path} with one admin key", event="keys_file_made", path=settings.api.keys_file
        )
    return cell


def _console_credentials(inputs: Inputs) -> list[Reload]:
    if inputs.credentials is None:
        return []
    return [Reload("the certificates for TLS to consoles", inputs.credentials.reload)]


def _console_hosts(driver: Driver) -> Callable[[], Deferred[Iterable[str]]]:
    """Where this cell's consoles are now; nothing while the driver is away."""

    async def find() -> Iterable[str]:
        try:
            found = await driver.instances()
        except ConsoledError:
            return ()
        return {console.host for instance in found for console in instance.consoles}

    return lambda: Deferred.fromCoroutine(find())

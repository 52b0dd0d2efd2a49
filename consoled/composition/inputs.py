"""What a start reads. Where something of it is refused, nothing has been written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from attrs import frozen

from consoled.auth.parts import IdentityParts
from consoled.auth.policy import PolicyEnforcer
from consoled.composition.checking import check_secrets
from consoled.composition.store import Store
from consoled.compute.hosts import host_drivers, over_all
from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.compute.static import StaticDriver
from consoled.db import instances
from consoled.db.foreign import refuse_readable_nova
from consoled.interfaces import ConsoleDriver
from consoled.openstack import parts as openstack_parts
from consoled.proxy.paths import Layout
from consoled.reaching.parts import RouteFiles
from consoled.recording.parts import recording_key
from consoled.service import Part
from consoled.settings import Libvirt, Settings
from consoled.tokens.backends import TokenBackend
from consoled.transports.credentials import CredentialFiles, Credentials
from consoled.workers import ThreadWorker


@frozen(eq=False)
class Inputs:
    """The configuration, and the files and services that it names.

    :ivar layout: where the page and its WebSockets are.
    :ivar files: the worker that reads files again.
    :ivar drivers: of each compute host; none with another driver than libvirt.
    :ivar tokens: where tokens are kept.
    :ivar credentials: what speaks TLS with consoles; None where nobody is trusted.
    :ivar recording_key: of the recordings' chains, or None.
    :ivar routes: what ``[ssh_proxy]`` names.
    :ivar callers: who knows them.
    """

    settings: Settings
    reactor: Any
    layout: Layout
    files: ThreadWorker
    drivers: Sequence[LibvirtDriver]
    tokens: TokenBackend
    credentials: Credentials | None
    policy: PolicyEnforcer
    recording_key: bytes | None
    routes: RouteFiles
    callers: IdentityParts
    _policy_worker: ThreadWorker

    @classmethod
    def read(cls, settings: Settings, reactor: Any, store: Store) -> Self:
        """Reads them; a keys file that is missing is made last.

        :param store: not opened yet; the driver asks it later.
        :raises consoled.errors.ConfigError: what cannot be used.
        """
        layout = Layout.of(settings.serial_console.base_url)
        files, policy_worker = ThreadWorker(reactor, "files", 1), ThreadWorker(reactor, "policy", 1)
        drivers: Sequence[LibvirtDriver] = ()
        compute: ConsoleDriver
        if settings.default.driver == "libvirt":
            drivers = host_drivers(settings, reactor)
            compute = over_all(drivers, lambda uuids: store.database.read(instances.homes, uuids))
        else:
            compute = StaticDriver.open(settings.static.inventory, files)
        tokens = TokenBackend.open(settings, reactor, compute)
        credentials = _credentials(settings.libvirt)
        policy = PolicyEnforcer(policy_worker, settings.oslo_policy.policy_file)
        key = recording_key(settings)
        routes = RouteFiles.read(settings.ssh_proxy)
        openstack_parts.check(settings)
        check_secrets(settings)
        refuse_readable_nova(store.engine)
        return cls(
            settings=settings,
            reactor=reactor,
            layout=layout,
            files=files,
            drivers=drivers,
            tokens=tokens,
            credentials=credentials,
            policy=policy,
            recording_key=key,
            routes=routes,
            callers=IdentityParts.of(settings, reactor, files),
            policy_worker=policy_worker,
        )

    @property
    def driver(self) -> ConsoleDriver:
        """The cell's."""
        return self.tokens.driver

    @property
    def workers(self) -> list[Part]:
        """What reads files, and what evaluates policy."""
        return [
            Part(self.files.start, self.files.stop),
            Part(self._policy_worker.start, self._policy_worker.stop),
        ]


def _credentials(group: Libvirt) -> Credentials | None:
    if group.chardev_tls_ca is None:
        return None
    return Credentials(
        CredentialFiles(
            group.chardev_tls_ca,
            group.chardev_tls_cert,
            group.chardev_tls_key,
            group.chardev_tls_verify_name,
        )
    )

"""Puts one cell together: the one module that knows every class."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import ILogObserver, Logger, globalLogPublisher

from consoled.api.app import make_api
from consoled.api.compute import ComputeApi, address_of
from consoled.api.faults import fault
from consoled.api.forwarding import streams
from consoled.auth import parts as auth_parts
from consoled.auth.parts import IdentityParts
from consoled.auth.policy import PolicyEnforcer
from consoled.breaking import ConsoleBreaker
from consoled.compute.hosts import ComputeHosts, host_drivers, over_all
from consoled.compute.libvirt.address_parts import AddressParts
from consoled.compute.libvirt.stream_parts import StreamParts
from consoled.compute.migration.parts import HostMigrations
from consoled.compute.occupancy import Occupancy
from consoled.compute.static import StaticDriver
from consoled.db import instances, schema
from consoled.db.engine import make_engine
from consoled.db.foreign import refuse_readable_nova
from consoled.db.registration import ConsoleRegistrar
from consoled.db.threads import DatabaseThreads
from consoled.descriptors import hard_limit, refuse_too_few
from consoled.errors import ConfigError, ConsoledError
from consoled.forwarding.parts import ForwardingParts
from consoled.http.channel import BoundedSite, Refusal
from consoled.http.listen import EitherFactory, bind
from consoled.http.tls import SwappableContext, TLSSettings
from consoled.interfaces import Addresses, ConsoleDriver, Transport
from consoled.issuing import ConsoleIssuer
from consoled.leasing.cell import CellLeases
from consoled.metrics.health import Readiness
from consoled.metrics.meters import Meters, MonitoringListener
from consoled.metrics.reading import reader
from consoled.model import PTY, SHELL, TCP, TLS
from consoled.proxy.book import SessionBook
from consoled.proxy.forwarded import TrustedProxies
from consoled.proxy.limits import SessionLimits
from consoled.proxy.opening import Opener
from consoled.proxy.origin import OriginRules
from consoled.proxy.paths import PAGE, Layout
from consoled.proxy.reception import Reception
from consoled.proxy.scout import Scout
from consoled.proxy.upgrade import Upgrades, client_address
from consoled.proxy.website import (
    ProxyResource,
    Public,
    Website,
    built_in_website,
    security_headers,
)
from consoled.proxy.websocket import ConsoleSocketFactory, PingRules
from consoled.reaching.finding import ListedAddresses
from consoled.reaching.parts import RouteFiles, RouteParts
from consoled.reaching.ssh_parts import SSHParts
from consoled.reaper import Reaper
from consoled.rechecking import Rechecker
from consoled.recording.parts import RecordingParts, recording_key
from consoled.replicas.borrowing import Borrower
from consoled.replicas.dialling import replica_endpoints
from consoled.replicas.hops import Hops
from consoled.replicas.lending import Lender
from consoled.replicas.tickets import TicketOffice
from consoled.revoking import TokenRegister
from consoled.service import Cell, Listener, Part, Reload, settle_memory
from consoled.settings import Libvirt, Settings
from consoled.tokens.backends import TokenBackend, check_backend
from consoled.tokens.database import DatabaseAuthority
from consoled.transports.by_kind import KindTransport
from consoled.transports.credentials import CredentialFiles, Credentials
from consoled.transports.tls import TLSTransport
from consoled.workers import InlineWorker, ThreadWorker

log = Logger()


def check(settings: Settings) -> None:
    """Reads everything that a start reads, and writes nothing (``--check-config``).

    :raises consoled.errors.ConfigError: what cannot be used.
    """
    if settings.default.driver == "static":
        StaticDriver.open(settings.static.inventory, InlineWorker())
    auth_parts.check(settings)
    PolicyEnforcer(InlineWorker(), settings.oslo_policy.policy_file)
    refuse_readable_nova(make_engine(settings.database.connection))
    check_backend(settings)
    recording_key(settings)
    RouteFiles.read(settings.ssh_proxy)
    Layout.of(settings.serial_console.base_url)


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
    composer = _Composer(settings, reactor, read_settings)
    cell = composer.compose(observer)
    if composer.callers.keys_made:
        log.info(
            "made {path} with one admin key", event="keys_file_made", path=settings.api.keys_file
        )
    return cell


class _Composer:
    """Holds the parts while they are put together.

    What only reads comes first: where that is refused, nothing has been written.
    """

    def __init__(
        self, settings: Settings, reactor: Any, read_settings: Callable[[], Settings]
    ) -> None:
        self.settings = settings
        self.reactor = reactor
        self.read_settings = read_settings
        self.layout = Layout.of(settings.serial_console.base_url)
        self.files_worker = ThreadWorker(reactor, "files", 1)
        libvirt = settings.default.driver == "libvirt"
        drivers = host_drivers(settings, reactor) if libvirt else ()
        compute: ConsoleDriver = (
            over_all(drivers, lambda uuids: self.database.read(instances.homes, uuids))
            if libvirt
            else StaticDriver.open(settings.static.inventory, self.files_worker)
        )
        self.tokens = TokenBackend.open(settings, reactor, compute)
        self.driver = self.tokens.driver
        self.credentials = _credentials(settings.libvirt)
        self.policy_worker = ThreadWorker(reactor, "policy", 1)
        self.policy = PolicyEnforcer(self.policy_worker, settings.oslo_policy.policy_file)
        self.recording_key = recording_key(settings)
        route_files = RouteFiles.read(settings.ssh_proxy)
        engine = make_engine(settings.database.connection)
        refuse_readable_nova(engine)
        self.callers = IdentityParts.of(settings, reactor, self.files_worker)
        schema.prepare(engine)
        engine.dispose()
        self.database_threads = DatabaseThreads.of(engine, reactor)
        self.sessions = SessionBook()
        self.meters = Meters(reactor, reader(self.sessions.find), globalLogPublisher)
        self.database = self.meters.timed(self.database_threads.database)
        self.streams = StreamParts.of(reactor, self._uri_of) if libvirt else None
        asked = AddressParts.of(settings.compute_hosts, reactor, self._uri_of) if libvirt else None
        self.addresses: Addresses = ListedAddresses() if asked is None else asked.addresses
        self.libvirt_parts = [one.part for one in (self.streams, asked) if one is not None]
        self.hosts = (
            ComputeHosts.of(
                settings,
                reactor,
                drivers,
                self.database,
                count=self.meters.count_ports,
                scout=lambda driver: Scout(driver, self.sessions).look,
            )
            if libvirt
            else None
        )
        kept = DatabaseAuthority(
            self.database,
            settings.consoleauth.token_ttl,
            self.driver.name,
            settings.consoleauth.single_use,
        )
        self.authority = self.meters.counted(self.tokens.authority(kept))
        office = TicketOffice(self.database, lambda: self.leases.replica_id)
        dial_replica = replica_endpoints(reactor, settings.proxy.replica_ca)
        self.recordings = RecordingParts.of(
            settings,
            reactor,
            self.database,
            self.policy,
            self.recording_key,
            borrow=lambda files: Borrower(self.database, office, files, reactor, dial_replica),
        )
        self.lender = Lender(office, self.recordings.store.files)
        self.reaching = RouteParts.of(
            settings.ssh_proxy,
            route_files,
            reactor=reactor,
            database=self.database,
            policy=self.policy,
            driver=self.driver,
            addresses=self.addresses,
            worker=self.files_worker,
        )
        self.ssh = SSHParts.of(settings, reactor, self.reaching.routes, self.meters)
        own = settings.default.console_tokens_backend == "database"
        self.register = TokenRegister(self.policy, kept if own else None)
        self.registrar = ConsoleRegistrar(self.database, self.driver.name)
        self.trusted = TrustedProxies(settings.proxy.trusted_proxies)
        self.leases = CellLeases(
            database=self.database,
            beats=self.meters.timed(self.database_threads.database.urgent),
            cell=settings.cell,
            url=settings.proxy.replica_url or "",
            clock=reactor,
            end=self.sessions.end,
            lose=self.sessions.lose,
            saw=lambda living: self.hops.keep(living),  # noqa: PLW0108  # hops come later
        )
        self.hops = Hops(
            leases=self.leases,
            tickets=office,
            own_url=settings.proxy.replica_url or "",
            endpoint=dial_replica,
            clock=reactor,
        )
        self.contexts: list[tuple[str, SwappableContext]] = []

    def compose(self, observer: ILogObserver) -> Cell:
        """The cell."""
        group = self.settings.serial_console
        upgrades = self._upgrades()
        public = Public(self._website(), self._headers(self.settings))
        listeners = [self._api_listener()]
        if group.enabled:
            listeners.append(self._proxy_listener(public, upgrades))
        reaper = Reaper(
            self.database, lambda: Deferred.fromCoroutine(self._console_hosts()), self.reactor
        )
        cell = Cell(
            name=self.settings.cell,
            reactor=self.reactor,
            observer=observer,
            listeners=listeners,
            driver=self.driver,
            parts=[
                *self._monitoring(draining=lambda: not cell.running),
                Part(self.database_threads.start, self.database_threads.stop),
                *(self.hosts.parts if self.hosts is not None else ()),
                *self.libvirt_parts,
                *self.tokens.parts,
                *self.recordings.parts,
                self.reaching.part,
                *self.ssh.parts,
                Part(self.leases.start, self.leases.stop),
                Part(settle_memory, lambda: None),
                Part(lambda: None, self.hops.end_all),
                self.forwarding.part,
                Part(self.files_worker.start, self.files_worker.stop),
                Part(self.policy_worker.start, self.policy_worker.stop),
                *self.callers.parts,
                Part(reaper.startService, reaper.stopService),
                *self._rechecks(),
            ],
            sessions=self.sessions,
            reloads=self._reloads(public, upgrades),
        )
        return cell

    def _rechecks(self) -> list[Part]:
        """What ends sessions whose users lost their right, where somebody can tell."""
        if self.callers.roles is None:
            return []
        rechecker = Rechecker(
            self.sessions.all,
            self.callers.roles,
            self.policy,
            self.reactor,
            self.settings.proxy.recheck_interval,
        )
        return [Part(rechecker.start, rechecker.stop)]

    def _monitoring(self, draining: Callable[[], bool]) -> list[Part]:
        """What starts first and stops last: the drain is looked at too."""
        group, most = self.settings.metrics, self.settings.proxy.max_sessions
        if group.port is None:
            return self.meters.parts
        readiness = Readiness(
            database=self.database,
            clock=self.reactor,
            draining=draining,
            registered=lambda: self.leases.replica_id is not None,
            full=lambda: self.sessions.full(most),
            lag=lambda: self.meters.lag.worst,
        )
        site, sock = self.meters.site(readiness), bind(group.listen, group.port)
        return [MonitoringListener(self.reactor, sock, site).part, *self.meters.parts]

    async def _console_hosts(self) -> Iterable[str]:
        """Where this cell's consoles are now; nothing while the driver is away."""
        try:
            found = await self.driver.instances()
        except ConsoledError:
            return ()
        return {console.host for instance in found for console in instance.consoles}

    def _website(self) -> Website:
        folder = self.settings.serial_console.web
        if folder is not None:
            return Website(folder, built_in=False)
        website = built_in_website()
        if website.find((PAGE,)) is None:
            raise ConfigError(
                f"the built-in page is missing from {website.folder}; in a checkout, build it with "
                "`make setup`"
            )
        return website

    def _headers(self, settings: Settings) -> dict[str, str]:
        built_in = settings.serial_console.web is None
        return security_headers(built_in, settings.console.frame_ancestors)

    def _rules(self, settings: Settings) -> OriginRules:
        # The base_url of the start: tokens were, and are, handed out with it.
        return OriginRules(
            self.settings.serial_console.base_url,
            settings.console.allowed_hosts,
            settings.console.allowed_origins,
            settings.console.allow_missing_origin,
        )

    def _uri_of(self, host: str) -> str | None:
        """libvirt's URI of a compute host."""
        found = None if self.hosts is None else self.hosts.named(host)
        return None if found is None else found.uri

    def _opener(self) -> Opener:
        timeout = self.settings.proxy.connect_timeout
        # Half of it for the handshake: so there is time left to say what went wrong.
        tcp = TLSTransport(self.ssh.serial, self.credentials, self.reactor, timeout / 2)
        by_kind: dict[str, Transport] = {TCP: tcp, TLS: tcp, SHELL: self.ssh.shells}
        if self.streams is not None:
            by_kind[PTY] = self.streams.transport
        transport = KindTransport(by_kind)
        return Opener(
            driver=self.driver,
            leases=self.leases,
            registrar=self.registrar,
            ports=self.driver,
            transport=self.meters.timed_dials(transport),
            clock=self.reactor,
            connect_timeout=timeout,
            follows=self.hosts is not None and len(self.hosts.hosts) > 1,
        )

    def _upgrades(self) -> Upgrades:
        proxy, tokens = self.settings.proxy, self.settings.consoleauth
        reception = Reception(
            opener=self._opener(),
            driver=self.driver,
            authority=self.authority,
            clock=self.reactor,
            sessions=self.sessions,
            limits=SessionLimits(
                tokens.max_session, tokens.idle_timeout, tokens.enforce_session_timeout
            ),
            max_sessions=proxy.max_sessions,
            stall_timeout=proxy.stall_timeout,
            linger=proxy.linger,
            paste_rate=proxy.paste_rate,
            wall=time.time,
            recorder=self.recordings.recorder,
            breaks=self.driver.breaks,
        )
        return Upgrades(
            rules=self._rules(self.settings),
            trusted=self.trusted,
            sockets=ConsoleSocketFactory(
                self.reactor, PingRules(proxy.ping_interval, proxy.ping_timeout)
            ),
            authority=self.authority,
            reception=reception,
            hops=self.hops,
            clock=self.reactor,
            sessions=self.sessions,
            max_handshakes=proxy.max_handshakes,
        )

    def _api_listener(self) -> Listener:
        api, group = self.settings.api, self.settings.serial_console
        issuer = ConsoleIssuer(
            self.driver,
            self.policy,
            self.authority,
            self.leases,
            group.enabled,
            group.base_url,
            Occupancy(self.driver, self.database).held_elsewhere,
            self.ssh.can_log_in if self.register.store is not None else None,
        )
        self.forwarding = ForwardingParts.of(
            self.settings, self.reactor, issuer, self.addresses, self.ssh.reach
        )
        site = BoundedSite(
            make_api(
                self.callers.identity,
                issuer,
                self.register,
                source=lambda request: client_address(self.trusted, request),
                seconds=self.reactor.seconds,
                recordings=self.recordings.store,
                replays=self.recordings.replays,
                groups=self.reaching.groups,
                forwarding=self.forwarding,
                breaker=ConsoleBreaker(
                    issuer, self._opener(), self.driver.breaks, self.reactor, self.sessions
                ),
                domains=None if self.hosts is None else self.hosts.configurator,
                migrations=self._migrations(),
                compute=ComputeApi(
                    evolve(issuer, base_url=group.socket_url), partial(address_of, self.trusted)
                ),
                challenge=self.callers.challenge,
            ),
            self.reactor,
            Refusal(b"application/json", fault),
            streams,
        )
        factory: IProtocolFactory = site
        if api.cert is not None:
            context = self._context("the API's certificate", TLSSettings(api.cert, api.key))
            factory = EitherFactory(site, context, ssl_only=True, reactor=self.reactor)
        return Listener("api", bind(api.listen, api.port), factory)

    def _migrations(self) -> HostMigrations | None:
        if self.hosts is None:
            return None
        tls = self.settings.libvirt.live_migration_with_native_tls
        return HostMigrations.of(self.hosts, self.reactor, tls=tls)

    def _proxy_listener(self, public: Public, upgrades: Upgrades) -> Listener:
        group, console = self.settings.serial_console, self.settings.console
        resource = ProxyResource(
            self.layout, public, upgrades, self.recordings.replays, self.lender
        )
        site = BoundedSite(resource, self.reactor)
        factory: IProtocolFactory = site
        if group.cert is not None:
            tls = TLSSettings(
                group.cert, group.key, console.ssl_ciphers, console.ssl_minimum_version
            )
            context = self._context("the proxy's certificate", tls)
            factory = EitherFactory(site, context, group.ssl_only, self.reactor)
        sock = bind(group.listen, group.port, v6_only=group.source_is_ipv6)
        return Listener("proxy", sock, factory)

    def _context(self, what: str, tls: TLSSettings) -> SwappableContext:
        context = SwappableContext(tls)
        self.contexts.append((what, context))
        return context

    def _tls_reloads(self) -> list[Reload]:
        if self.credentials is None:
            return []
        return [Reload("the certificates for TLS to consoles", self.credentials.reload)]

    def _reloads(self, public: Public, upgrades: Upgrades) -> list[Reload]:
        def reload_settings() -> None:
            settings = self.read_settings()
            upgrades.rules = self._rules(settings)
            public.headers = self._headers(settings)

        return [
            Reload("[console] origins and hosts", reload_settings),
            Reload(f"the {self.driver.name} driver", self.driver.reload),
            *self.callers.reloads,
            Reload("the policy", self.policy.reload),
            *self.tokens.reloads(self.read_settings),
            *self._tls_reloads(),
            Reload("[ssh_proxy] keys", lambda: self.reaching.reload(self.settings.ssh_proxy)),
            *(Reload(what, context.reload) for what, context in self.contexts),
        ]


def _credentials(group: Libvirt) -> Credentials | None:
    """What speaks TLS with consoles; None where nobody is trusted."""
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


def make_state_folder(path: Path) -> None:
    """Makes the folder for everything that the daemon writes, where it is missing.

    :raises consoled.errors.ConfigError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] state_path {path} cannot be made: {error.strerror}; "
            "name a folder that this user may write"
        ) from error

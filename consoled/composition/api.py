"""The API listener, and what its routes ask."""

from __future__ import annotations

from functools import partial

from attrs import evolve
from twisted.internet.interfaces import IProtocolFactory

from consoled.api.app import ApiParts, make_api
from consoled.api.compute import ComputeApi, address_of
from consoled.api.faults import fault
from consoled.api.forwarding import streams
from consoled.breaking import ConsoleBreaker
from consoled.cells.parts import CellParts
from consoled.composition.certificates import Certificates
from consoled.composition.core import Core
from consoled.compute.occupancy import Occupancy
from consoled.forwarding.parts import ForwardingParts
from consoled.http.channel import BoundedSite, Refusal
from consoled.http.listen import EitherFactory, bind
from consoled.http.tls import TLSSettings
from consoled.issuing import ConsoleIssuer
from consoled.proxy.upgrade import client_address
from consoled.reaching.finding import Destinations
from consoled.service import Listener


def api_parts(core: Core) -> ApiParts:
    """What the routes ask."""
    inputs, access, recordings = core.inputs, core.access, core.replicas.recordings
    settings, reactor, driver = inputs.settings, inputs.reactor, inputs.driver
    group, hosts = settings.serial_console, core.hosts.hosts
    issuer = ConsoleIssuer(
        driver,
        inputs.policy,
        core.tokens.authority,
        core.replicas.leases,
        group.enabled,
        group.base_url,
        Occupancy(driver, core.store.database).held_elsewhere,
        access.ssh.can_log_in if core.tokens.register.store is not None else None,
        core.cloud.console_tokens.keep_for,
    )
    base = partial(address_of, core.trusted)
    by_keystone = settings.api.auth_strategy == "keystone"
    cells = CellParts.of(
        settings,
        reactor,
        identity=inputs.callers.identity,
        policy=inputs.policy,
        base=base,
        service_token=core.cloud.openstack.service_token if by_keystone else None,
    )
    return ApiParts(
        identity=cells.identity,
        challenge=inputs.callers.challenge,
        issuer=issuer,
        register=core.tokens.register,
        recordings=recordings.store,
        replays=recordings.replays,
        breaker=ConsoleBreaker(
            issuer,
            access.opener,
            driver.breaks,
            reactor,
            core.store.sessions,
            core.replicas.breaks,
        ),
        groups=access.reaching.groups,
        domains=None if hosts is None else hosts.configurator,
        images=core.hosts.images,
        migrations=core.hosts.migrations,
        forwarding=ForwardingParts.of(
            settings, reactor, issuer, Destinations(access.reaching.routes), access.ssh.reach
        ),
        compute=ComputeApi(evolve(issuer, base_url=group.socket_url), base),
        cells=cells,
    )


def api_listener(core: Core, parts: ApiParts, certificates: Certificates) -> Listener:
    """The listener, bound.

    :raises consoled.errors.ConfigError: its certificate or its address cannot be used.
    """
    api, reactor = core.inputs.settings.api, core.inputs.reactor
    resource = make_api(parts, partial(client_address, core.trusted), reactor.seconds)
    site = BoundedSite(resource, reactor, Refusal(b"application/json", fault), streams)
    factory: IProtocolFactory = site
    if api.cert is not None:
        context = certificates.context("the API's certificate", TLSSettings(api.cert, api.key))
        factory = EitherFactory(site, context, ssl_only=True, reactor=reactor)
    return Listener("api", bind(api.listen, api.port), factory)

"""The proxy listener: the page, the handshakes and the sessions behind them."""

from __future__ import annotations

import time
from typing import Self

from attrs import frozen
from twisted.internet.interfaces import IProtocolFactory

from consoled.composition.certificates import Certificates
from consoled.composition.core import Core
from consoled.errors import ConfigError
from consoled.http.channel import BoundedSite
from consoled.http.listen import EitherFactory, bind
from consoled.http.tls import TLSSettings
from consoled.proxy.limits import SessionLimits
from consoled.proxy.origin import OriginRules
from consoled.proxy.paths import PAGE
from consoled.proxy.reception import Reception
from consoled.proxy.upgrade import Upgrades
from consoled.proxy.website import (
    ProxyResource,
    Public,
    Website,
    built_in_website,
    security_headers,
)
from consoled.proxy.websocket import ConsoleSocketFactory, PingRules
from consoled.service import Listener
from consoled.settings import Settings


@frozen(eq=False)
class Relay:
    """What viewers meet."""

    public: Public
    upgrades: Upgrades
    _base_url: str

    @classmethod
    def of(cls, core: Core) -> Self:
        """Nobody is let in before somebody listens.

        :raises consoled.errors.ConfigError: there is no page to serve.
        """
        settings, reactor = core.inputs.settings, core.inputs.reactor
        proxy, base_url = settings.proxy, settings.serial_console.base_url
        pings = PingRules(proxy.ping_interval, proxy.ping_timeout)
        upgrades = Upgrades(
            rules=_rules(settings, base_url),
            trusted=core.trusted,
            sockets=ConsoleSocketFactory(reactor, pings),
            authority=core.tokens.authority,
            reception=_reception(core),
            hops=core.replicas.hops,
            clock=reactor,
            sessions=core.store.sessions,
            max_handshakes=proxy.max_handshakes,
        )
        return cls(Public(_website(settings), _headers(settings)), upgrades, base_url)

    def listener(self, core: Core, certificates: Certificates) -> Listener:
        """The listener, bound.

        :raises consoled.errors.ConfigError: its certificate or its address cannot be used.
        """
        inputs, replicas = core.inputs, core.replicas
        group, console = inputs.settings.serial_console, inputs.settings.console
        resource = ProxyResource(
            inputs.layout,
            self.public,
            self.upgrades,
            replicas.recordings.replays,
            replicas.doors,
        )
        site = BoundedSite(resource, inputs.reactor)
        factory: IProtocolFactory = site
        if group.cert is not None:
            tls = TLSSettings(
                group.cert, group.key, console.ssl_ciphers, console.ssl_minimum_version
            )
            context = certificates.context("the proxy's certificate", tls)
            factory = EitherFactory(site, context, group.ssl_only, inputs.reactor)
        sock = bind(group.listen, group.port, v6_only=group.source_is_ipv6)
        return Listener("proxy", sock, factory)

    def reload(self, settings: Settings) -> None:
        """Takes ``[console]`` anew (SIGHUP)."""
        # The base_url of the start: tokens were, and are, handed out with it.
        self.upgrades.rules = _rules(settings, self._base_url)
        self.public.headers = _headers(settings)


def _reception(core: Core) -> Reception:
    inputs = core.inputs
    proxy, group = inputs.settings.proxy, inputs.settings.consoleauth
    return Reception(
        opener=core.access.opener,
        driver=inputs.driver,
        authority=core.tokens.authority,
        clock=inputs.reactor,
        sessions=core.store.sessions,
        limits=SessionLimits(group.max_session, group.idle_timeout, group.enforce_session_timeout),
        max_sessions=proxy.max_sessions,
        stall_timeout=proxy.stall_timeout,
        linger=proxy.linger,
        paste_rate=proxy.paste_rate,
        wall=time.time,
        recorder=core.replicas.recordings.recorder,
        breaks=inputs.driver.breaks,
    )


def _website(settings: Settings) -> Website:
    folder = settings.serial_console.web
    if folder is not None:
        return Website(folder, built_in=False)
    website = built_in_website()
    if website.find((PAGE,)) is None:
        raise ConfigError(
            f"the built-in page is missing from {website.folder}; in a checkout, build it with "
            "`make setup`"
        )
    return website


def _headers(settings: Settings) -> dict[str, str]:
    built_in = settings.serial_console.web is None
    return security_headers(built_in, settings.console.frame_ancestors)


def _rules(settings: Settings, base_url: str) -> OriginRules:
    return OriginRules(
        base_url,
        settings.console.allowed_hosts,
        settings.console.allowed_origins,
        settings.console.allow_missing_origin,
    )

"""The parts of forwarding, made of the configuration."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from consoled.forwarding.http import HttpForwarder
from consoled.forwarding.places import Places
from consoled.forwarding.targets import Targets
from consoled.forwarding.tunnel import TunnelSocketFactory
from consoled.forwarding.tunnels import Tunnels
from consoled.forwarding.way import Dialler, Way, own_address
from consoled.interfaces import Addresses
from consoled.issuing import ConsoleIssuer
from consoled.proxy.websocket import PingRules
from consoled.service import Part
from consoled.settings import Settings


@frozen
class ForwardingParts:
    """What the API needs for its two routes."""

    http: HttpForwarder
    tunnels: Tunnels

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        issuer: ConsoleIssuer,
        addresses: Addresses,
        way: Way,
    ) -> ForwardingParts:
        """The parts of one daemon.

        :param way: leads to instances.
        """
        http, forward, proxy = settings.http_proxy, settings.forward, settings.proxy
        return cls(
            HttpForwarder(
                issuer,
                addresses,
                Dialler(way, reactor, http.connect_timeout),
                Targets("http_proxy", http.allowed_ports, http.allowed_networks, own_address),
                Places(http.max_connections),
                http.idle_timeout,
            ),
            Tunnels(
                issuer,
                addresses,
                Dialler(way, reactor, forward.connect_timeout),
                Targets("forward", forward.allowed_ports, forward.allowed_networks, own_address),
                Places(forward.max_connections),
                # No time-out: while the instance takes nothing, no answer to a ping is read.
                TunnelSocketFactory(reactor, PingRules(proxy.ping_interval, 0.0)),
                forward.idle_timeout,
            ),
        )

    @property
    def part(self) -> Part:
        """Ends the tunnels when the daemon stops."""
        return Part(lambda: None, self.tunnels.end_all)

"""How consoles and instances are reached: node groups, SSH, and one opener for all."""

from __future__ import annotations

from functools import partial
from typing import Self

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from consoled.composition.hosts import Hosts
from consoled.composition.inputs import Inputs
from consoled.composition.openstack import Cloud
from consoled.composition.replicas import Replicas
from consoled.composition.store import Store
from consoled.db.registration import ConsoleRegistrar
from consoled.interfaces import Transport
from consoled.model import PTY, SHELL, TCP, TLS, ConsoleAuthToken
from consoled.openstack.console_tokens import ConsoleTokens, Use
from consoled.openstack.values import UserToken
from consoled.proxy.opening import Opener
from consoled.reaching.addresses import AllAddresses
from consoled.reaching.parts import RouteParts
from consoled.reaching.ssh_parts import SSHParts
from consoled.transports.by_kind import KindTransport
from consoled.transports.tls import TLSTransport


@frozen(eq=False)
class Access:
    """The ways.

    :ivar reaching: which of them leads where, by node groups.
    :ivar ssh: connections through proxy nodes.
    :ivar opener: opens consoles, of whichever kind.
    """

    reaching: RouteParts
    ssh: SSHParts
    opener: Opener

    @classmethod
    def of(
        cls, inputs: Inputs, store: Store, cloud: Cloud, hosts: Hosts, replicas: Replicas
    ) -> Self:
        """Nothing is dialled before somebody asks for it."""
        settings, reactor, users = inputs.settings, inputs.reactor, cloud.console_tokens
        reaching = RouteParts.of(
            settings.ssh_proxy,
            inputs.routes,
            reactor=reactor,
            database=store.database,
            policy=inputs.policy,
            driver=inputs.driver,
            addresses=AllAddresses(hosts.addresses, cloud.networks),
            worker=inputs.files,
            networks=cloud.networks,
            stands=lambda host, port: ssh.pool.stands(host, port),  # noqa: PLW0108  # made below
        )
        users.uses.append(reaching.routes.needs_user)
        ssh = SSHParts.of(settings, reactor, reaching.routes, store.meters)
        opener = Opener(
            driver=inputs.driver,
            leases=replicas.leases,
            registrar=ConsoleRegistrar(store.database, inputs.driver.name),
            ports=inputs.driver,
            transport=store.meters.timed_dials(_transport(inputs, hosts, ssh)),
            clock=reactor,
            connect_timeout=settings.proxy.connect_timeout,
            follows=hosts.several,
            users=partial(_user, users, reaching.routes.needs_user),
        )
        return cls(reaching, ssh, opener)


def _user(users: ConsoleTokens, needed: Use, token: ConsoleAuthToken) -> Deferred[UserToken | None]:
    return users.find(token.token_hash) if needed(token) else succeed(None)


def _transport(inputs: Inputs, hosts: Hosts, ssh: SSHParts) -> Transport:
    # Half of the time for the handshake: so there is time left to say what went wrong.
    handshake = inputs.settings.proxy.connect_timeout / 2
    tcp = TLSTransport(ssh.serial, inputs.credentials, inputs.reactor, handshake)
    by_kind: dict[str, Transport] = {TCP: tcp, TLS: tcp, SHELL: ssh.shells}
    if hosts.ptys is not None:
        by_kind[PTY] = hosts.ptys
    return KindTransport(by_kind)

"""Everything that a cell has without a listener."""

from __future__ import annotations

from typing import Any, Self

from attrs import frozen

from consoled.composition.access import Access
from consoled.composition.hosts import Hosts
from consoled.composition.inputs import Inputs
from consoled.composition.openstack import Cloud
from consoled.composition.replicas import Replicas
from consoled.composition.store import Store
from consoled.composition.tokens import Tokens
from consoled.proxy.forwarded import TrustedProxies
from consoled.settings import Settings


@frozen(eq=False)
class Core:
    """What the listeners stand on.

    :ivar trusted: whose word about a client's address counts.
    """

    inputs: Inputs
    store: Store
    cloud: Cloud
    hosts: Hosts
    replicas: Replicas
    access: Access
    tokens: Tokens
    trusted: TrustedProxies

    @classmethod
    def of(cls, settings: Settings, reactor: Any) -> Self:
        """All of it. What only reads comes first: where that is refused, nothing was written.

        :raises consoled.errors.ConfigError: what cannot be used.
        """
        store = Store.of(settings, reactor)
        inputs = Inputs.read(settings, reactor, store)
        store.prepare()
        cloud = Cloud.of(inputs, store)
        hosts = Hosts.of(inputs, store, cloud)
        replicas = Replicas.of(inputs, store, cloud)
        return cls(
            inputs,
            store,
            cloud,
            hosts,
            replicas,
            Access.of(inputs, store, cloud, hosts, replicas),
            Tokens.of(inputs, store, cloud),
            TrustedProxies(settings.proxy.trusted_proxies),
        )

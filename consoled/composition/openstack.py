"""What is asked of OpenStack's other services, and users' own tokens for that."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from consoled.composition.inputs import Inputs
from consoled.composition.store import Store
from consoled.openstack.console_tokens import ConsoleTokens
from consoled.openstack.networks import SHARE, Networks
from consoled.openstack.parts import OpenStackParts


@frozen(eq=False)
class Cloud:
    """The services around this one.

    :ivar openstack: asks them, and keeps tokens for operations that outlast them.
    :ivar console_tokens: the own tokens of the users to whom consoles' URLs were issued.
    :ivar networks: what Neutron knows of instances; None without Keystone.
    """

    openstack: OpenStackParts
    console_tokens: ConsoleTokens
    networks: Networks | None

    @classmethod
    def of(cls, inputs: Inputs, store: Store) -> Self:
        """Nobody is asked yet.

        :raises consoled.errors.ConfigError: ``[service_user] token_secret_file`` cannot be used.
        """
        settings, reactor = inputs.settings, inputs.reactor
        openstack = OpenStackParts.of(settings, reactor, store.database)
        patience = settings.proxy.connect_timeout * SHARE
        return cls(
            openstack,
            ConsoleTokens(openstack.keeper, settings.consoleauth.token_ttl),
            None if openstack.calls is None else Networks(openstack.calls, reactor, patience),
        )

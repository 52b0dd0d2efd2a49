"""What issues and checks the cell's tokens, and what takes them back."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from consoled.composition.inputs import Inputs
from consoled.composition.openstack import Cloud
from consoled.composition.store import Store
from consoled.interfaces import TokenAuthority
from consoled.revoking import TokenRegister
from consoled.tokens.database import DatabaseAuthority


@frozen(eq=False)
class Tokens:
    """The tokens.

    :ivar authority: its checks are counted.
    :ivar register: has those that were issued, where they are in the cell database.
    """

    authority: TokenAuthority
    register: TokenRegister

    @classmethod
    def of(cls, inputs: Inputs, store: Store, cloud: Cloud) -> Self:
        """As ``[DEFAULT] console_tokens_backend`` says."""
        group = inputs.settings.consoleauth
        kept = DatabaseAuthority(
            store.database, group.token_ttl, inputs.driver.name, group.single_use
        )
        own = inputs.settings.default.console_tokens_backend == "database"
        return cls(
            store.meters.counted(inputs.tokens.authority(kept)),
            TokenRegister(inputs.policy, kept if own else None, cloud.console_tokens.release),
        )

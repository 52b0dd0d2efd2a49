"""What calls to OpenStack's services are about; pure."""

from __future__ import annotations

from typing import Self

from attrs import field, frozen

from consoled.model import Caller


@frozen
class UserToken:
    """A user's own token, with which other services are asked on the user's behalf.

    :ivar value: what stands in ``X-Auth-Token``; it is not part of ``repr``.
    :ivar project_id: the project that it is for, or None.
    """

    value: str = field(repr=False)
    project_id: str | None
    user_id: str | None

    @classmethod
    def of(cls, caller: Caller) -> Self | None:
        """The caller's; None where the caller came without one, as with an API key."""
        if caller.token is None:
            return None
        return cls(caller.token, caller.project_id, caller.user_id)

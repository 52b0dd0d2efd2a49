"""On whose behalf a way is looked for; pure."""

from __future__ import annotations

from attrs import frozen

from consoled.openstack.values import UserToken


@frozen
class Behalf:
    """Who needs a connection, and how new what is known of the way has to be.

    :ivar user: the user's own token, for what Neutron is asked; None where there is none.
    :ivar anew: whether nothing counts that was found out for an earlier connection, as after a
        migration.
    """

    user: UserToken | None = None
    anew: bool = False


NOBODY = Behalf()
"""Nobody in particular: consoled asks for itself."""

"""Who there is. Keystone's roles hold one another: admin > manager > member > reader.

A service is none of these: it has a role of its own, and acts for no project.
"""

from __future__ import annotations

from collections.abc import Iterable

from oslo_policy import policy

from consoled.auth.policy.names import ADMIN, PROJECT_MEMBER, PROJECT_READER, SERVICE

RULES = (
    policy.RuleDefault(ADMIN, "role:admin", "An operator: acts on every project."),
    policy.RuleDefault(
        SERVICE, "role:service", "Another service of the cloud, with a token of its own."
    ),
    policy.RuleDefault(
        PROJECT_MEMBER,
        "role:member and project_id:%(project_id)s",
        "Somebody who works in the instance's project.",
    ),
    policy.RuleDefault(
        PROJECT_READER,
        "role:reader and project_id:%(project_id)s",
        "Somebody who may look at the instance's project.",
    ),
)

_LADDER = ("admin", "manager", "member", "reader")


def implied_roles(roles: Iterable[str]) -> frozenset[str]:
    """The roles and those that they hold: admin > manager > member > reader.

    Keystone does the same before consoled sees its roles; static keys rely on it.

    :param roles: role names, in any case.
    """
    lowered = {role.lower() for role in roles}
    highest = min((_LADDER.index(role) for role in lowered if role in _LADDER), default=None)
    return frozenset(lowered if highest is None else lowered.union(_LADDER[highest:]))

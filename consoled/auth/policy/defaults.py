"""All rules with their defaults, in the order of the sample."""

from __future__ import annotations

from oslo_policy import policy

from consoled.auth.policy import (
    cells,
    consoles,
    node_groups,
    people,
    recordings,
    servers,
    sessions,
)

DEFAULTS: tuple[policy.RuleDefault, ...] = (
    *people.RULES,
    *servers.RULES,
    *consoles.RULES,
    *sessions.RULES,
    *recordings.RULES,
    *cells.RULES,
    *node_groups.RULES,
)

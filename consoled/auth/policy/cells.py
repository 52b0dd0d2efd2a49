"""The rule about cells."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, rule
from consoled.auth.policy.names import Rule

RULES = (
    rule(
        Rule.CELLS_LIST,
        ADMINS,
        "See the cells of the deployment: their names, where their APIs are, whether they answer. "
        "Judged by the caller's own project.",
        "GET /v1/cells",
    ),
)

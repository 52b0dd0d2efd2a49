"""Rules about node groups and their templates."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, rule
from consoled.auth.policy.names import Rule

_GROUPS, _GROUP = "/v1/node-groups", "/v1/node-groups/{group_id}"
_TEMPLATES, _TEMPLATE = "/v1/node-group-templates", "/v1/node-group-templates/{template_id}"

RULES = (
    rule(
        Rule.NODE_GROUPS_SHOW,
        ADMINS,
        "See node groups: which SSH servers lead to instances and compute hosts, and who logs in "
        "there. Judged by the group's own project. Keys are shown to nobody.",
        f"GET {_GROUPS}",
        f"GET {_GROUP}",
    ),
    rule(
        Rule.NODE_GROUPS_CHANGE,
        ADMINS,
        "Make, change and delete node groups. Judged by the group's own project. Who may not do it "
        "with groups of no project cannot name compute hosts, key files and addresses either: "
        "these are the operator's.",
        f"POST {_GROUPS}",
        f"PATCH {_GROUP}",
        f"DELETE {_GROUP}",
    ),
    rule(
        Rule.NODE_GROUP_TEMPLATES_SHOW,
        ADMINS,
        "See node group templates, and make groups with them, which have the template's key.",
        f"GET {_TEMPLATES}",
        f"GET {_TEMPLATE}",
    ),
    rule(
        Rule.NODE_GROUP_TEMPLATES_CHANGE,
        ADMINS,
        "Make, change and delete node group templates.",
        f"POST {_TEMPLATES}",
        f"PATCH {_TEMPLATE}",
        f"DELETE {_TEMPLATE}",
    ),
)

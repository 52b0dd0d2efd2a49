"""Rules about instances."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, MEMBERS, NOBODY, READERS, rule
from consoled.auth.policy.names import Rule
from consoled.auth.policy.routes import (
    CONSOLES,
    HTTP,
    LIST,
    LIST_COMPUTE,
    MIGRATE,
    OF_INSTANCES,
    SHOW,
    SHOW_COMPUTE,
    TCP,
)

RULES = (
    rule(
        Rule.SERVERS_LIST,
        READERS,
        "List instances; each is judged by its own project, and only those that pass are listed.",
        LIST,
        *LIST_COMPUTE,
    ),
    rule(Rule.SERVERS_SHOW, READERS, "Show one instance.", SHOW, SHOW_COMPUTE),
    rule(
        Rule.SERVERS_SHOW_PLACE,
        ADMINS,
        "See the compute host of an instance, and the address and port of its consoles.",
        LIST,
        SHOW,
        CONSOLES,
        "GET /v1/recordings",
        "GET /v1/recordings/{recording_id}",
    ),
    rule(
        Rule.SERVERS_REVEAL,
        NOBODY,
        "Be told 403 instead of 404 for an instance that exists and is not the caller's. "
        "By default nobody: to others an instance of another project does not exist.",
        *OF_INSTANCES,
    ),
    rule(
        Rule.SERVERS_HTTP,
        MEMBERS,
        "Reach web services on an instance through consoled, where [http_proxy] allows any port.",
        *HTTP,
    ),
    rule(
        Rule.SERVERS_FORWARD,
        MEMBERS,
        "Reach TCP ports of an instance through consoled, where [forward] allows any port.",
        TCP,
    ),
    rule(
        Rule.SERVERS_MIGRATE,
        ADMINS,
        "Migrate an instance's domain to another compute host of the configuration, see how far "
        "that is, and cancel it. By default not for its project: it loads hosts and networks that "
        "belong to others, too, and its answers name compute hosts.",
        *MIGRATE,
    ),
)

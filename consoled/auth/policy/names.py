"""The names of the rules: those that the code asks for, and those that others are made of."""

from __future__ import annotations

import enum

ADMIN = "consoled:admin"
SERVICE = "consoled:service"
PROJECT_MEMBER = "consoled:project-member"
PROJECT_READER = "consoled:project-reader"


class Rule(enum.StrEnum):
    """The rules that the code asks for."""

    SERVERS_LIST = "consoled:servers:list"
    SERVERS_SHOW = "consoled:servers:show"
    SERVERS_SHOW_PLACE = "consoled:servers:show-place"
    SERVERS_REVEAL = "consoled:servers:reveal"
    SERVERS_HTTP = "consoled:servers:http"
    SERVERS_FORWARD = "consoled:servers:forward"
    SERVERS_MIGRATE = "consoled:servers:migrate"
    CONSOLES_LIST = "consoled:consoles:list"
    CONSOLES_BREAK = "consoled:consoles:break"
    CONSOLES_CONFIGURE = "consoled:consoles:configure"
    TOKENS_CREATE = "consoled:tokens:create"
    TOKENS_OBSERVE = "consoled:tokens:observe"
    SHELLS_CREATE = "consoled:shells:create"
    TOKENS_SHOW = "consoled:tokens:show"
    TOKENS_RESOLVE = "consoled:tokens:resolve"
    TOKENS_DELETE = "consoled:tokens:delete"
    SESSIONS_LIST = "consoled:sessions:list"
    SESSIONS_DELETE = "consoled:sessions:delete"
    SESSIONS_TAKE = "consoled:sessions:take"
    SESSIONS_FORCE = "consoled:sessions:force"
    RECORDINGS_LIST = "consoled:recordings:list"
    RECORDINGS_SHOW = "consoled:recordings:show"
    RECORDINGS_REPLAY = "consoled:recordings:replay"
    RECORDINGS_DELETE = "consoled:recordings:delete"
    CELLS_LIST = "consoled:cells:list"
    NODE_GROUPS_SHOW = "consoled:node-groups:show"
    NODE_GROUPS_CHANGE = "consoled:node-groups:change"
    NODE_GROUP_TEMPLATES_SHOW = "consoled:node-group-templates:show"
    NODE_GROUP_TEMPLATES_CHANGE = "consoled:node-group-templates:change"

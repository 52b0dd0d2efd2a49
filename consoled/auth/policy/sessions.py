"""Rules about the sessions on consoles."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, MEMBERS, READERS, rule
from consoled.auth.policy.names import Rule
from consoled.auth.policy.routes import END_SESSIONS, TOKENS

RULES = (
    rule(
        Rule.SESSIONS_LIST,
        READERS,
        "See the sessions on an instance's consoles: who holds which, and since when. Judged "
        "when a URL is given out, too: its page then names the holder of a busy console.",
        "GET /v1/sessions",
        *TOKENS,
    ),
    rule(
        Rule.SESSIONS_DELETE,
        MEMBERS,
        "Disconnect a session, or all of an instance.",
        *END_SESSIONS,
    ),
    rule(
        Rule.SESSIONS_TAKE,
        f"rule:{Rule.TOKENS_CREATE}",
        "Ask for a console that another user has, and get it ten seconds later. Judged when a "
        "URL is given out. By default whoever gets a URL to type with.",
        *TOKENS,
    ),
    rule(
        Rule.SESSIONS_FORCE,
        ADMINS,
        "Take a console from the user who has it at once. Judged when a URL is given out.",
        *TOKENS,
    ),
)

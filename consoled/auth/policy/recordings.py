"""Rules about recordings."""

from __future__ import annotations

from consoled.auth.policy.declaring import ADMINS, MEMBERS, READERS, rule
from consoled.auth.policy.names import Rule

_ONE = "/v1/recordings/{recording_id}"

RULES = (
    rule(
        Rule.RECORDINGS_LIST,
        READERS,
        "See which sessions were recorded: whose, on which instance, when. A recording belongs "
        "to the project that its instance belonged to.",
        "GET /v1/recordings",
        f"GET {_ONE}",
    ),
    rule(
        Rule.RECORDINGS_SHOW,
        MEMBERS,
        "Read a recording: everything that its session showed.",
        f"GET {_ONE}/content",
    ),
    rule(
        Rule.RECORDINGS_REPLAY,
        f"rule:{Rule.RECORDINGS_SHOW}",
        "Get a URL that plays a recording in the page. By default whoever may read it.",
        f"POST {_ONE}/tokens",
    ),
    rule(
        Rule.RECORDINGS_DELETE,
        ADMINS,
        "Delete a recording. By default not for those whom it may show.",
        f"DELETE {_ONE}",
    ),
)

"""Who has a busy console, in the words that policy lets another user read."""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import frozen

from consoled.model import ConsoleAuthToken

SEE_HOLDER = "see_holder"
"""The right of a token to be told who has a busy console."""

TAKE = "take"
"""The right of a token to ask for another user's console, and to get it after a while."""

FORCE = "force"
"""The right of a token to get another user's console at once."""

BREAK = "break"
"""The right of a token to send BREAK and SysRq to the console that it writes to."""


@frozen
class Busy:
    """A console that somebody else has.

    :ivar text: the reason for people.
    :ivar user_id: who has it, where that may be told.
    :ivar since: since when, seconds since the epoch, where that may be told.
    :ivar takeover: whether the token's user may take it over at once: it is the own one.
    :ivar ask: whether they may ask for it, and get it after a while.
    :ivar force: whether they may take it from its holder at once.
    """

    text: str
    user_id: str | None
    since: int | None
    takeover: bool = False
    ask: bool = False
    force: bool = False


def belongs(token: ConsoleAuthToken, user_id: str | None, project_id: str | None) -> bool:
    """Whether the token's user is that one; nobody's is nobody's own."""
    if token.user_id is None:
        return False
    return (token.user_id, token.project_id) == (user_id, project_id)


def held_outside(token: ConsoleAuthToken, text: str) -> Busy:
    """What somebody with that token is told of a holder whom the cell knows nothing of."""
    return Busy(text, None, None, force=FORCE in token.rights)


def busy(
    token: ConsoleAuthToken,
    *,
    user_id: str | None,
    project_id: str | None,
    since: int | None,
    here: bool,
    same_token: bool = False,
) -> Busy:
    """What somebody with that token is told of the console's holder.

    :param here: whether the holder's session is in this replica, where it can be taken over.
    :param same_token: whether it was opened with the very same token.
    """
    if same_token or belongs(token, user_id, project_id):
        return Busy("You have this console open in another window.", user_id, since, takeover=here)
    ask, force = here and TAKE in token.rights, here and FORCE in token.rights
    if SEE_HOLDER not in token.rights or user_id is None:
        text = "This console is in use. Try again later."
        return Busy(text, None, None, ask=ask, force=force)
    when = ""
    if since is not None:
        when = datetime.fromtimestamp(since, UTC).strftime(" since %Y-%m-%d %H:%M UTC")
    return Busy(f"{user_id} has this console{when}.", user_id, since, ask=ask, force=force)

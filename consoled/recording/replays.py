"""Links that play a recording in the page: who gets one, and what it opens.

As with consoles (design: the way of a request) the clear token leaves the process once, in
the answer to whoever asked for it, and the database has its SHA-256 only. It is a token of
its own kind: it opens no console, and a console's token plays no recording.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from urllib.parse import urljoin

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.db import replays as rows
from consoled.db.replays import Replay
from consoled.errors import ConsoleDisabled, TokenInvalid
from consoled.interfaces import Database
from consoled.model import Caller, hash_token
from consoled.recording.files import Content
from consoled.recording.store import RecordingStore
from consoled.recording.values import RecordingRow

log = Logger()

PAGE = "replay.html"
"""The page's name, beside the console's."""

TOKEN_BYTES = 32
"""Random bytes in a token: 256 bits, in 43 characters that a URL takes as they are."""

_POSSIBLE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@frozen
class IssuedReplay:
    """A recording that its caller may now play.

    :ivar url: holds the clear token, and so is not part of ``repr``.
    :ivar token_id: the prefix of the token's hash, by which logs name it.
    :ivar expires: seconds since the epoch, in the database's time.
    """

    url: str = field(repr=False)
    token_id: str
    expires: int
    recording: RecordingRow


@frozen
class ReplayLinks:
    """Gives out links, and opens what they lead to.

    :ivar ttl: seconds that a link is valid (``[consoleauth] token_ttl``).
    :ivar single_use: whether it loads its recording once only (``[consoleauth] single_use``).
    :ivar enabled: ``[serial_console] enabled``: whether there is a page at all.
    :ivar base_url: ``[serial_console] base_url``; the page is beside it.
    """

    database: Database
    store: RecordingStore
    ttl: int
    single_use: bool
    enabled: bool
    base_url: str

    def issue(self, caller: Caller, session_id: str, request_id: str) -> Deferred[IssuedReplay]:
        """A link that plays one recording.

        :param session_id: the recording's id.
        :param request_id: for the audit line.
        :raises consoled.errors.ConsoleDisabled: this cell has no page.
        :raises consoled.errors.ConsoledError: as of
            :meth:`consoled.recording.store.RecordingStore.find`.
        """
        return Deferred.fromCoroutine(self._issue(caller, session_id, request_id))

    def open(self, clear: str, request_id: str, src: str) -> Deferred[OpenedReplay]:
        """The file that a link plays.

        :param clear: the token, as it came.
        :param request_id: for the audit line.
        :param src: the client's address, for the same.
        :raises consoled.errors.TokenInvalid: it is unknown, used up or expired, or its
            recording was deleted; one text for all of them.
        :raises consoled.errors.Conflict: another host has the file.
        :raises consoled.errors.NotFound: this host had the file, and it is gone.
        :raises consoled.errors.Unavailable: the database is away.
        """
        return Deferred.fromCoroutine(self._open(clear, request_id, src))

    async def _issue(self, caller: Caller, session_id: str, request_id: str) -> IssuedReplay:
        found = await self.store.find(caller, session_id, Rule.RECORDINGS_REPLAY)
        if not self.enabled:
            raise ConsoleDisabled(
                "Serial consoles are disabled in this cell, and the page with them; "
                "download the recording instead."
            )
        clear = secrets.token_urlsafe(TOKEN_BYTES)
        hashed = hash_token(clear)
        expires = await self.database.run(rows.add, hashed, session_id, caller, self.ttl)
        url = f"{urljoin(self.base_url, PAGE)}?token={clear}"
        issued = IssuedReplay(url, hashed[:12], expires, found)
        log.info(
            "a link to replay {session_id} goes to {user_id}",
            event="replay_issued",
            token_id=issued.token_id,
            request_id=request_id,
            **_about(found, caller.user_id, caller.project_id),
        )
        return issued

    async def _open(self, clear: str, request_id: str, src: str) -> OpenedReplay:
        found: Replay | None = None
        if _POSSIBLE.fullmatch(clear):
            found = await self.database.read(rows.find, hash_token(clear))
        if found is None:
            raise _invalid()
        opened = OpenedReplay(self.store, await self.store.open(found.recording))
        # When the file is there, so that a link is not used up in vain; but before a byte of
        # it leaves.
        if self.single_use and not await self._spend(found, opened):
            raise _invalid()
        log.info(
            "recording {session_id} is replayed by {user_id}",
            event="recording_read",
            token_id=found.token_id,
            request_id=request_id,
            src=src,
            **_about(found.recording, found.user_id, found.project_id),
        )
        return opened

    async def _spend(self, found: Replay, opened: OpenedReplay) -> bool:
        spent = False
        try:
            spent = await self.database.run(rows.spend, found.token_hash)
        finally:
            if not spent:
                opened.close()
        return spent


@define
class OpenedReplay:
    """A recording's file on its way to the page.

    :ivar store: whose worker reads it.
    :ivar content: whoever gets it sends it, or calls :meth:`close`.
    """

    store: RecordingStore
    content: Content

    def close(self) -> None:
        """Closes the file unread."""
        self.store.files.close(self.content)


def _about(
    found: RecordingRow, user_id: str | None, project_id: str | None
) -> Mapping[str, object]:
    return {
        "session_id": found.facts.session_id,
        "instance_uuid": found.facts.instance_uuid,
        "index": found.facts.console_index,
        "user_id": user_id,
        "project_id": project_id,
    }


def _invalid() -> TokenInvalid:
    return TokenInvalid(
        "This replay link is not valid, was used, or has expired; ask for a new one."
    )

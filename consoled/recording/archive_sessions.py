"""What a session's recording needs of its user, put aside for the time after the session.

An upload is done on behalf of the user, whose token of Keystone's is there only when a console
URL is asked for. From there on it is kept beside the console token
(:mod:`consoled.openstack.console_tokens`); a recorded session that begins takes it for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from consoled.db import archives as rows
from consoled.errors import ConsoledError
from consoled.interfaces import Database, Worker
from consoled.model import ConsoleAuthToken
from consoled.openstack.console_tokens import ConsoleTokens, Keeper
from consoled.recording.archive_folder import ArchiveFolder
from consoled.recording.archive_values import ArchiveState
from consoled.recording.values import Facts

log = Logger()

NOBODY = (
    "No token of its user's was kept when the console URL was given out: that was before this "
    "cell archived, or not by this cell's API."
)


class SessionArchive(Protocol):
    """Hears of recordings. Its Deferreds never fail."""

    def begun(self, facts: Facts, token: ConsoleAuthToken) -> Deferred[None]:
        """A recording has begun, and is noted."""

    def ended(self, session_id: str, *, kept: bool) -> Deferred[None]:
        """It has ended, and that is noted.

        :param kept: whether there is a recording at all.
        """


class NoArchive:
    """Recordings stay where they are: ``[recording] archive`` is none."""

    def begun(self, facts: Facts, token: ConsoleAuthToken) -> Deferred[None]:
        """Nothing."""
        return succeed(None)

    def ended(self, session_id: str, *, kept: bool) -> Deferred[None]:
        """Nothing."""
        return succeed(None)


@frozen
class ArchivedSessions:
    """Implements :class:`SessionArchive`.

    :ivar tokens: has users' tokens by the console token.
    :ivar keeper: keeps them for as long as the upload may take.
    :ivar folder: has the files.
    :ivar worker: where the folder is looked at.
    :ivar window: seconds that a token is kept, from the beginning of the session.
    :ivar wake: there is something to upload.
    """

    database: Database
    tokens: ConsoleTokens
    keeper: Keeper
    folder: ArchiveFolder
    worker: Worker
    window: float
    wake: Callable[[], None]

    def begun(self, facts: Facts, token: ConsoleAuthToken) -> Deferred[None]:
        """Keeps its user's token, and notes that it is to be archived."""
        return Deferred.fromCoroutine(self._begin(facts.session_id, token.token_hash))

    def ended(self, session_id: str, *, kept: bool) -> Deferred[None]:
        """Has it uploaded; where there is nothing to upload, forgets it."""
        if kept:
            self.wake()
            return succeed(None)
        return Deferred.fromCoroutine(self._drop(session_id))

    async def _begin(self, session_id: str, token_hash: str) -> None:
        try:
            await self._note(session_id, token_hash)
        except ConsoledError as error:
            tell_failure(session_id, f"That it is to be archived cannot be noted: {error}")
        except OSError as error:
            tell_failure(session_id, f"The folder of recordings has no id: {error.strerror}.")
        except Exception:
            log.failure("that a recording is to be archived cannot be noted")

    async def _note(self, session_id: str, token_hash: str) -> None:
        folder_id = await self.worker.run(self.folder.identity)
        user = await self.tokens.find(token_hash)
        if user is None:
            state, reason = ArchiveState.FAILED, NOBODY
            tell_failure(session_id, reason)
        else:
            state, reason = ArchiveState.PENDING, ""
            await self.keeper.keep(operation_of(session_id), user, self.window)
        await self.database.run(rows.add, session_id, folder_id, state, reason)

    async def _drop(self, session_id: str) -> None:
        try:
            await self.database.run(rows.forget, session_id)
            await self.keeper.forget(operation_of(session_id))
        except ConsoledError as error:
            log.warn("a user's token is kept longer than it is of use: {cause}", cause=error)
        except Exception:
            log.failure("that a recording is not to be archived cannot be noted")


def operation_of(session_id: str) -> str:
    """The name under which the keeper has the token of a session's user."""
    return f"archive:{session_id}"


def tell_failure(session_id: str, reason: str) -> None:
    """Says in the log why a recording is not in the archive."""
    log.error(
        "recording {session_id} is not archived: {reason}",
        event="recording_archive_failed",
        session_id=session_id,
        reason=reason,
    )

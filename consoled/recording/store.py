"""What the REST API does with recordings: list, show, read, delete.

A recording belongs to the project that its instance belonged to; it needs no driver, and
outlives its instance.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.auth.policy import Rule
from consoled.db import recordings as rows
from consoled.errors import Conflict, ConsoledError, Forbidden, NotFound, NotInThisCell
from consoled.interfaces import Database, Policy, Worker
from consoled.model import Caller
from consoled.recording.files import Content, Elsewhere, RecordingFiles
from consoled.recording.folder import RecordingFolder
from consoled.recording.values import RecordingRow, is_session_id

log = Logger()

ABSENT = "There is no such recording."


@frozen
class RecordingStore:
    """The recordings of a cell, and their files.

    :ivar worker: where files are opened and deleted.
    :ivar host: this host's name, as the rows of its recordings have it.
    :ivar elsewhere: the files of other hosts; None where they cannot be asked.
    """

    database: Database
    policy: Policy
    folder: RecordingFolder
    worker: Worker
    host: str
    elsewhere: Elsewhere | None = None

    @property
    def files(self) -> RecordingFiles:
        """Those of this host."""
        return RecordingFiles(self.folder, self.worker)

    def search(self, caller: Caller, wanted: rows.Wanted) -> Deferred[list[RecordingRow]]:
        """The recordings that the caller may see, the newest first.

        :param wanted: which; its projects are not looked at.
        :raises consoled.errors.Forbidden: policy lists none for the caller.
        :raises consoled.errors.Unavailable: policy or database are away.
        """
        return Deferred.fromCoroutine(self._search(caller, wanted))

    def find(
        self, caller: Caller, session_id: str, rule: Rule = Rule.RECORDINGS_LIST
    ) -> Deferred[RecordingRow]:
        """One recording, if the rule lets the caller do that with it.

        :raises consoled.errors.NotFound: there is none, or it is another project's, in the
            same words.
        :raises consoled.errors.Forbidden: it is the own project's, and policy says no.
        :raises consoled.errors.Unavailable: policy or database are away.
        """
        return Deferred.fromCoroutine(self._find(caller, session_id, rule))

    def read(self, caller: Caller, session_id: str, request_id: str) -> Deferred[Content]:
        """The file of one recording, for the caller.

        :param request_id: for the audit line.
        :raises consoled.errors.Conflict: another host has it, and does not answer.
        :raises consoled.errors.ConsoledError: as of :meth:`find`.
        """
        return Deferred.fromCoroutine(self._read(caller, session_id, request_id))

    def open(self, row: RecordingRow) -> Deferred[Content]:
        """The file of one recording, for whoever has the right to it.

        :raises consoled.errors.Conflict: another host has it, and does not answer.
        :raises consoled.errors.NotFound: it was this host, and it is gone.
        :raises consoled.errors.Unavailable: it could not be brought from there.
        """
        return Deferred.fromCoroutine(self._open(row))

    def delete(self, caller: Caller, session_id: str, request_id: str) -> Deferred[None]:
        """Deletes one recording, file and row.

        :param request_id: for the audit line.
        :raises consoled.errors.Conflict: another host has it and does not answer, or it is not
            over.
        :raises consoled.errors.ConsoledError: as of :meth:`find`.
        """
        return Deferred.fromCoroutine(self._delete(caller, session_id, request_id))

    def placed(self, caller: Caller, found: RecordingRow) -> Deferred[bool]:
        """Whether the caller may see which host has the file."""
        return self.policy.allows(Rule.SERVERS_SHOW_PLACE, caller, found.facts.project_id)

    async def _search(self, caller: Caller, wanted: rows.Wanted) -> list[RecordingRow]:
        rule = Rule.RECORDINGS_LIST
        every = await self.database.read(rows.projects)
        allowed = [name for name in every if await self.policy.allows(rule, caller, name)]
        if not allowed and not await self.policy.allows(rule, caller, caller.project_id):
            raise Forbidden(
                f"Policy does not allow {rule}; "
                "ask an administrator of the project for a role that does."
            )
        return await self.database.read(rows.wanted, evolve(wanted, projects=allowed))

    async def _find(self, caller: Caller, session_id: str, rule: Rule) -> RecordingRow:
        found = None
        if is_session_id(session_id):
            found = await self.database.read(rows.find, session_id)
        if found is None:
            raise NotInThisCell(ABSENT)
        owner = found.facts.project_id
        if await self.policy.allows(rule, caller, owner):
            return found
        if owner is not None and owner == caller.project_id:
            raise Forbidden(
                f"Policy does not allow {rule} on this recording; "
                "ask an administrator of the project for a role that does."
            )
        raise NotInThisCell(ABSENT)

    async def _read(self, caller: Caller, session_id: str, request_id: str) -> Content:
        found = await self._find(caller, session_id, Rule.RECORDINGS_SHOW)
        content = await self._open(found)
        self._audit("recording_read", "is read by", found, caller, request_id)
        return content

    async def _open(self, found: RecordingRow) -> Content:
        session_id = found.facts.session_id
        try:
            return await self.files.open(session_id)
        except FileNotFoundError:
            content = None
        if self.elsewhere is not None:
            content = await self.elsewhere.fetch(session_id)
        if content is None:
            raise self._missing(found)
        return content

    async def _delete(self, caller: Caller, session_id: str, request_id: str) -> None:
        found = await self._find(caller, session_id, Rule.RECORDINGS_DELETE)
        deleted: bool | None
        try:
            deleted = await self.files.delete(session_id)
        except FileNotFoundError:
            deleted = None if self.elsewhere is None else await self.elsewhere.delete(session_id)
            if deleted is None:
                if found.facts.host != self.host:
                    raise self._missing(found) from None
                deleted = True
        if not deleted:
            raise Conflict(
                "This recording is not over: its session goes on. Disconnect the session first."
            )
        await self.database.run(rows.forget, session_id)
        self._audit("recording_deleted", "is deleted by", found, caller, request_id)

    def _missing(self, found: RecordingRow) -> ConsoledError:
        if found.facts.host == self.host:
            return NotFound("The file of this recording is gone.")
        return Conflict(
            "The file of this recording is on another host, whose replica of consoled does not "
            "answer now. Try again, or ask there."
        )

    def _audit(
        self, event: str, what: str, found: RecordingRow, caller: Caller, request_id: str
    ) -> None:
        about: Mapping[str, object] = {
            "session_id": found.facts.session_id,
            "instance_uuid": found.facts.instance_uuid,
            "index": found.facts.console_index,
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "request_id": request_id,
        }
        log.info("recording {session_id} " + what + " {user_id}", event=event, **about)

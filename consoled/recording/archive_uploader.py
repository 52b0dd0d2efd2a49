"""Brings recordings into the archive: images in Glance, made on behalf of their users.

One at a time, and again after a crash: the id of an image is written down before the image is
made, so a next try knows what an earlier one has left, finds that it is whole, or deletes it. The
user's token has long expired by then; ``[service_user]`` vouches for it (docs: service-tokens).
What can pass is tried again with growing pauses for as long as the token is kept; what cannot is
the end, with a reason and with nothing half-done in Glance. The file stays in any case.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from consoled.compute.backoff import Backoff
from consoled.db import archives as rows
from consoled.db.archives import ArchiveRow
from consoled.errors import (
    ConsoledError,
    Forbidden,
    NotFound,
    ServiceRefused,
    TokenRefused,
    Unavailable,
)
from consoled.interfaces import Calls, Database, Worker
from consoled.openstack import glance
from consoled.openstack.console_tokens import Keeper
from consoled.openstack.values import UserToken
from consoled.recording.archive_folder import ArchiveFolder, CutShort, Stopped
from consoled.recording.archive_image import image_of
from consoled.recording.archive_sessions import operation_of, tell_failure
from consoled.recording.archive_values import ArchiveState

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter

log = Logger()

SERVICE = "image"
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 1800.0
"""Seconds between a try that may succeed later and the next one."""

TOO_LATE = (
    "Its user's token is not kept any longer ([recording] archive_window), and nothing is "
    "uploaded without."
)
GONE = "Its file is gone."
DAMAGED = "What Glance has is not what was sent."

_FINAL = (TokenRefused, Forbidden, NotFound, ServiceRefused)
"""What another try would not change."""

T = TypeVar("T")


class _GivenUp(Exception):
    """There is no use in another try.

    :ivar image_id: what has to be removed; None where nothing is there.
    :ivar made: whether that was made for certain.
    """

    def __init__(self, reason: str, image_id: str | None, *, made: bool) -> None:
        super().__init__(reason)
        self.image_id = image_id
        self.made = made


@define
class _Pause:
    """How long a recording waits for its next try.

    :ivar until: by the clock.
    """

    backoff: Backoff = field(factory=lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE))
    until: float = 0.0


@define(eq=False)
class ArchiveUploader:
    """The loop.

    :ivar keeper: has the users' tokens.
    :ivar folder: has the files.
    :ivar worker: where the folder is looked at.
    :ivar interval: seconds between two looks for what is to be done.
    """

    database: Database
    calls: Calls
    keeper: Keeper
    folder: ArchiveFolder
    worker: Worker
    clock: IReactorTime
    interval: float = 5.0
    _loop: LoopingCall | None = field(default=None, init=False)
    _working: bool = field(default=False, init=False)
    _ended: Deferred[None] = field(factory=lambda: succeed(None), init=False)
    _again: bool = field(default=False, init=False)
    _troubled: bool = field(default=False, init=False)
    _stopped: Event = field(factory=Event, init=False)
    _pauses: dict[str, _Pause] = field(factory=dict, init=False)

    def start(self) -> None:
        """Begins with what an earlier daemon has left."""
        self._loop = LoopingCall(self.wake)
        self._loop.clock = self.clock
        self._loop.start(self.interval)

    def stop(self) -> Deferred[None]:
        """Breaks off; fires when nothing is sent any more."""
        self._stopped.set()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._ended.cancel()
        return self._ended.addCallback(lambda _: self.worker.run(self.folder.leave))

    def wake(self) -> None:
        """There may be something to upload."""
        self._again = True
        if not self._working and not self._stopped.is_set():
            self._working = True
            self._ended = Deferred.fromCoroutine(self._rounds())

    async def _rounds(self) -> None:
        while self._again and not self._stopped.is_set():
            self._again = False
            try:
                await self._round()
                self._troubled = False
            except CancelledError:
                break
            except ConsoledError as error:
                self._trouble(str(error))
            except OSError as error:
                self._trouble(f"the folder of recordings: {error.strerror}")
            except Exception:
                log.failure("looking for recordings to archive failed; it is tried again")
        self._working = False

    def _trouble(self, cause: str) -> None:
        """Said once, until it has passed."""
        if not self._troubled:
            log.warn("no recording is archived for now: {cause}", cause=cause)
        self._troubled = True

    async def _round(self) -> None:
        if not await self.worker.run(self.folder.take):
            return  # Another daemon that shares the folder does it.
        folder_id = await self.worker.run(self.folder.identity)
        for row in await self.database.read(rows.due, folder_id):
            if self._stopped.is_set():
                return
            pause = self._pauses.get(row.session_id)
            if pause is None or pause.until <= self.clock.seconds():
                await self._try(row)

    async def _try(self, row: ArchiveRow) -> None:
        try:
            await self._take_on(row)
        except (Stopped, CancelledError):
            return
        except ConsoledError as error:
            await self._delay(row, str(error))
        except CutShort:
            await self._delay(row, "Its file became shorter while it was sent.")
        except OSError as error:
            await self._delay(row, f"Its file cannot be read: {error.strerror}.")
        except Exception:
            log.failure("archiving {session_id} failed", session_id=row.session_id)
            await self._delay(row, "Something went wrong that the log tells of.")
        else:
            self._pauses.pop(row.session_id, None)

    async def _take_on(self, row: ArchiveRow) -> None:
        user = await self.keeper.find(operation_of(row.session_id))
        reason, image_id, made = row.reason, row.image_id, True
        if row.state is not ArchiveState.REMOVING:
            try:
                await self._archive(row, user)
                return
            except _GivenUp as error:
                reason, image_id, made = str(error), error.image_id, error.made
        remains, left = "", None
        if image_id is not None:
            await self.database.run(rows.begin_removal, row.session_id, image_id, reason)
            remains, left = await self._remove(image_id, user, made)
        await self._fail(row, reason + remains, left)

    async def _archive(self, row: ArchiveRow, user: UserToken | None) -> None:
        """
        :raises _GivenUp: it will never be.
        :raises consoled.errors.ConsoledError: it may be later.
        """
        there, left = await self._has_file(row), row.image_id
        made = row.state is ArchiveState.UPLOADING
        if left is not None and await self._is_whole(row, left, user, made=made):
            await self._end(row, left)
            return
        if not there:
            raise _GivenUp(GONE, left, made=made)
        if user is None:
            raise _GivenUp(TOO_LATE, left, made=made)
        if row.recording is None or await self.worker.run(
            self.folder.folder.is_open, row.session_id
        ):
            return  # It goes on, or its row is made by the next look at the folder.
        if left is not None:
            await self._ask(user, partial(glance.delete_image, image_id=left), left, made=made)
        image_id = str(uuid.uuid4())
        await self.database.run(rows.plan_image, row.session_id, image_id)
        image = image_of(row.recording, image_id)
        # What refuses to make an image has made none.
        await self._ask(user, partial(glance.create_image, image=image), None, repeat=False)
        await self.database.run(rows.begin_upload, row.session_id, image_id)
        await self._upload(row.session_id, image_id, user)
        if not await self._is_whole(row, image_id, user):
            raise Unavailable(DAMAGED)
        await self._end(row, image_id)

    async def _upload(self, session_id: str, image_id: str, user: UserToken) -> None:
        send = partial(self._send, session_id, image_id)
        # After a refusal there is a new service token.
        try:
            await self._ask(user, send, image_id, repeat=False)
        except _GivenUp as error:
            if not isinstance(error.__cause__, TokenRefused):
                raise
            await self._ask(user, send, image_id, repeat=False)

    async def _has_file(self, row: ArchiveRow) -> bool:
        try:
            await self.worker.run(self.folder.folder.is_open, row.session_id)
        except FileNotFoundError:
            return False
        return True

    async def _is_whole(
        self, row: ArchiveRow, image_id: str, user: UserToken | None, *, made: bool = True
    ) -> bool:
        """Whether Glance has all of it."""
        compare = partial(self._compare, row.session_id, image_id)
        if user is not None:
            # What is whole is kept, though the user's token is no longer taken.
            with suppress(TokenRefused):
                return await self.calls.ask(SERVICE, user, compare)
        return await self._ask(None, compare, image_id, made=made)

    async def _ask(
        self,
        user: UserToken | None,
        fn: Callable[[Adapter], T],
        image_id: str | None,
        *,
        repeat: bool = True,
        made: bool = True,
    ) -> T:
        """What Glance says.

        :param image_id: what has to be removed if it refuses.
        :param made: whether that is there for certain.
        """
        try:
            return await self.calls.ask(SERVICE, user, fn, repeat=repeat)
        except _FINAL as error:
            raise _GivenUp(str(error), image_id, made=made) from error

    def _send(self, session_id: str, image_id: str, adapter: Adapter) -> None:
        with self.folder.opened(session_id, self._stopped) as body:
            glance.upload(adapter, image_id, body)

    def _compare(self, session_id: str, image_id: str, adapter: Adapter) -> bool:
        stored = glance.look(adapter, image_id)
        if stored is None or stored.status != glance.ACTIVE:
            return False
        try:
            with self.folder.opened(session_id, self._stopped) as body:
                return stored.size == len(body) and (
                    stored.algorithm is None or body.digest(stored.algorithm) == stored.digest
                )
        except FileNotFoundError:
            # Nothing is left to compare it with, or to send once more.
            return True

    async def _end(self, row: ArchiveRow, image_id: str) -> None:
        await self.database.run(rows.end, row.session_id, ArchiveState.DONE, image_id)
        log.info(
            "recording {session_id} is archived as image {image_id}",
            event="recording_archived",
            session_id=row.session_id,
            image_id=image_id,
        )
        await self.keeper.forget(operation_of(row.session_id))

    async def _fail(self, row: ArchiveRow, reason: str, left: str | None) -> None:
        await self.database.run(rows.end, row.session_id, ArchiveState.FAILED, left, reason)
        tell_failure(row.session_id, reason)
        await self.keeper.forget(operation_of(row.session_id))

    async def _remove(
        self, image_id: str, user: UserToken | None, made: bool
    ) -> tuple[str, str | None]:
        """Removes an image that is not whole.

        :returns: what else to tell, and the image that may be left.
        :raises consoled.errors.ConsoledError: it may go later.
        """
        delete = partial(glance.delete_image, image_id=image_id)
        if user is not None:
            with suppress(*_FINAL):
                await self.calls.ask(SERVICE, user, delete)
                return "", None
        # Whose token is no longer taken deletes nothing; consoled's own user may.
        try:
            # An image that may not be seen is as one that is not there.
            if await self.calls.ask(SERVICE, None, delete) or not made:
                return "", None
            cause = "consoled's own user sees none of that id."
        except ConsoledError as error:
            if user is not None and not isinstance(error, _FINAL):
                raise
            cause = str(error)
        return f" The image {image_id} may be left in Glance: {cause}", image_id

    async def _delay(self, row: ArchiveRow, cause: str) -> None:
        pause = self._pauses.setdefault(row.session_id, _Pause())
        seconds = pause.backoff.pause()
        pause.until = self.clock.seconds() + seconds
        log.warn(
            "recording {session_id} is archived later, in {seconds} s or so: {reason}",
            event="recording_archive_delayed",
            session_id=row.session_id,
            seconds=round(seconds),
            reason=cause,
        )
        # Where the database is away, there is nobody to tell.
        with suppress(ConsoledError):
            await self.database.run(rows.note, row.session_id, cause)

"""Recordings whose files are on other hosts of the cell: asked of the replicas there.

Every living replica is asked in turn, until one has the file. It is brought here whole, into
a file without a name, before any of it goes on: so a range of it, or its end while the
session goes on, is what it would be there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from consoled.db import replicas as rows
from consoled.errors import Conflict, Unavailable
from consoled.interfaces import Database, Worker
from consoled.leasing.values import Neighbour
from consoled.recording.files import Content, RecordingFiles
from consoled.replicas.hops import ANSWER_LIMIT, TICKET
from consoled.replicas.lending import PATH, papers
from consoled.replicas.tickets import TicketOffice

log = Logger()

LARGEST = 256 * 1024 * 1024
"""Bytes of a recording that another replica brings; whoever wants a larger one asks there."""

TRANSFER_LIMIT = 60.0
"""Seconds until it is here."""


@implementer(IAgentEndpointFactory)
@frozen
class Dialling:
    """An agent's connections, by where a replica's url is dialled."""

    endpoint: Callable[[str], IStreamClientEndpoint]

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Where that address is dialled."""
        return self.endpoint(uri.toBytes().decode("ascii"))


@define(eq=False)
class Borrower:
    """Implements :class:`consoled.recording.files.Elsewhere`.

    :ivar files: those of this host; where others are kept while they pass.
    :ivar endpoint: where a replica's url is dialled.
    """

    database: Database
    tickets: TicketOffice
    files: RecordingFiles
    reactor: Any
    endpoint: Callable[[str], IStreamClientEndpoint]
    _agent: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        dialling = Dialling(self.endpoint)
        self._agent = Agent.usingEndpointFactory(self.reactor, dialling)

    def fetch(self, session_id: str) -> Deferred[Content | None]:
        """A copy of the file; None where no replica that answers has it.

        :raises consoled.errors.Conflict: it is larger than :data:`LARGEST`.
        :raises consoled.errors.Unavailable: it could not be brought here whole.
        """
        return Deferred.fromCoroutine(self._fetch(session_id))

    def delete(self, session_id: str) -> Deferred[bool | None]:
        """Deletes the file where it is.

        :returns: False while its session goes on, None where no replica that answers has it.
        """
        return Deferred.fromCoroutine(self._delete(session_id))

    async def _fetch(self, session_id: str) -> Content | None:
        for neighbour in await self._neighbours():
            answer = await self._ask(neighbour, "GET", session_id)
            if answer is not None and answer.code == HTTPStatus.OK:
                return await self._bring(neighbour, answer)
        return None

    async def _delete(self, session_id: str) -> bool | None:
        for neighbour in await self._neighbours():
            answer = await self._ask(neighbour, "DELETE", session_id)
            if answer is not None and answer.code in (HTTPStatus.NO_CONTENT, HTTPStatus.CONFLICT):
                return bool(answer.code == HTTPStatus.NO_CONTENT)
        return None

    async def _neighbours(self) -> list[Neighbour]:
        found = await self.database.read(rows.neighbours)
        own_id = self.tickets.own_id()
        return [one for one in found if one.replica_id != own_id]

    async def _ask(self, neighbour: Neighbour, method: str, session_id: str) -> IResponse | None:
        """Its answer; None where it gives none."""
        what = papers(method, session_id)
        ticket = await self.tickets.make(neighbour.replica_id, what)
        address = f"{neighbour.url}{PATH}{session_id}".encode()
        asked = self._agent.request(method.encode(), address, Headers({TICKET: [ticket.encode()]}))
        try:
            answer: IResponse = await asked.addTimeout(ANSWER_LIMIT, self.reactor)
        except Exception as error:  # whatever a network, TLS or HTTP has
            log.warn(
                "replica {replica_id} was asked for a recording, and did not answer at {url}: "
                "{reason}",
                event="replica_unreachable",
                replica_id=neighbour.replica_id,
                url=neighbour.url,
                reason=str(error) or type(error).__name__,
            )
            return None
        if answer.code != HTTPStatus.OK:
            # Whoever is not asked for its body keeps the connection.
            answer.deliverBody(_Refused())
        return answer

    async def _bring(self, neighbour: Neighbour, answer: Any) -> Content:
        size = answer.length
        if not isinstance(size, int) or size > LARGEST:
            answer.deliverBody(_Refused())
            raise Conflict(
                "The file of this recording is on another host, and too large to be brought here. "
                "Ask the replica of consoled there."
            )
        worker = self.files.worker
        arriving = _Arriving(worker, await worker.run(_nameless, self.files.folder.path))
        answer.deliverBody(arriving)
        try:
            await arriving.here.addTimeout(TRANSFER_LIMIT, self.reactor)
        except Exception as error:  # as above, or a disk that is full
            arriving.stop()
            # In the worker, after the last piece.
            worker.run(os.close, arriving.descriptor)
            log.warn(
                "a recording could not be brought from replica {replica_id}: {reason}",
                replica_id=neighbour.replica_id,
                reason=str(error) or type(error).__name__,
            )
            raise Unavailable(
                "The recording could not be brought from the host that has it. Try again."
            ) from error
        return Content(arriving.descriptor, size)


def _nameless(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


class _Refused(Protocol):
    """Wants nothing of a body."""

    def connectionMade(self) -> None:
        """Ends it."""
        transport: Any = self.transport
        transport.loseConnection()


class _Arriving(Protocol):
    """Writes a body into a file, as fast as the disk takes it.

    :ivar here: fires when all of it is written.
    """

    def __init__(self, worker: Worker, descriptor: int) -> None:
        self.here: Deferred[None] = Deferred()
        self.descriptor = descriptor
        self._worker = worker

    def dataReceived(self, data: bytes) -> None:
        """One piece; the next one waits for the disk."""
        transport: Any = self.transport
        transport.pauseProducing()
        written = self._worker.run(_write, self.descriptor, data)
        written.addCallbacks(lambda _: transport.resumeProducing(), self._fail)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """All has come, or no more will."""
        if reason is not None and not reason.check(ResponseDone):
            self._fail(reason)
            return
        # The worker has one thread: what was given to it before is done before.
        self._worker.run(os.fstat, self.descriptor).addCallbacks(self._done, self._fail)

    def stop(self) -> None:
        """Takes no more."""
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()

    def _done(self, _: object) -> None:
        if not self.here.called:
            self.here.callback(None)

    def _fail(self, failure: Failure) -> None:
        if not self.here.called:
            self.here.errback(failure)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

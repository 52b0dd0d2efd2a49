"""Recordings on their way to Glance: whole, or with a reason and nothing half-done."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import MIA, Archive
from attrs import define, evolve, field
from cells import memory_database, outcome
from image_server import CUT, ImageServer, InlineCalls, image_server
from recordings import INSTANCE, SESSION, START, facts, session_id
from twisted.internet.defer import Deferred, fail

from consoled.db import archives as rows
from consoled.db import recordings, tables
from consoled.db.database import CellDatabase
from consoled.errors import ConfigError, ServiceAbsent, Unavailable
from consoled.openstack import glance
from consoled.recording import archive_folder
from consoled.recording.archive_folder import PIECE, CutShort, RecordingBody, Stopped
from consoled.recording.archive_image import image_name, image_of
from consoled.recording.archive_uploader import GONE, LONGEST_PAUSE, TOO_LATE
from consoled.recording.archive_values import Archived, ArchiveState

OLD = "5a7b0f5e-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def running() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture(scope="module")
def database() -> CellDatabase:
    return memory_database()


@pytest.fixture
def archive(running: ImageServer, database: CellDatabase, tmp_path: Path) -> Archive:
    url = running.url
    running.__init__(url=url)  # type: ignore[misc]  # as new, for each test
    with database.engine.begin() as connection:
        for table in (tables.recordings, tables.recording_archives):
            connection.execute(table.delete())
    return Archive(tmp_path, running, database)


def only_image(archive: Archive) -> dict[str, Any]:
    """The one image that there is."""
    [image] = archive.server.images.values()
    return image


def test_whole(archive: Archive) -> None:
    """An ended recording becomes an image, byte for byte, that says what it is of; the token
    is kept no longer, and the file stays."""
    content = archive.record()
    archive.one_round()
    image = only_image(archive)
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])
    assert archive.server.data[image["id"]] == content
    assert archive.studio.file().read_bytes() == content
    assert archive.keeper.kept == {}
    assert image["name"].startswith("web-1 2")
    assert image["name"].endswith(f"Z {SESSION}")
    assert (image["visibility"], image["disk_format"]) == ("private", "raw")
    assert image["tags"] == ["consoled-recording"]
    row = outcome(archive.database.run(recordings.find, SESSION))
    assert row is not None
    assert {
        "consoled_session_id": SESSION,
        "consoled_instance_uuid": INSTANCE,
        "consoled_console": "serial 0",
        "consoled_state": "complete",
        "consoled_format": "asciicast-v3",
        "consoled_digest": row.digest,
    }.items() <= image.items()
    assert isinstance(archive.calls, InlineCalls)
    assert {token for token, _ in archive.calls.asked} == {MIA.value}
    # What is sent is never sent again by whoever carries the question.
    assert [repeat for _, repeat in archive.calls.asked] == [False, False, True]


def test_a_name_that_fits(archive: Archive) -> None:
    """However long an instance's name is, time and session are in the image's."""
    archive.record()
    row = outcome(archive.database.run(recordings.find, SESSION))
    assert row is not None
    named = evolve(
        row,
        facts=evolve(row.facts, instance_name="n" * 255),
        started=START,
        ended=None,
        digest="",
    )
    assert len(image_name(named)) == 255
    assert image_name(named).endswith(f"n 2026-01-01T00:00:00Z {SESSION}")
    assert {"consoled_digest", "consoled_ended_at"}.isdisjoint(image_of(named, OLD))


def test_what_goes_on_waits(archive: Archive) -> None:
    """A session that goes on is not uploaded, nor one whose row the keeper has yet to end."""
    archive.record(over=False)
    archive.one_round()
    assert archive.server.asked == []
    # As the keeper of another daemon might take it for over.
    outcome(archive.database.run(recordings.adopt, facts(), 1, START))
    archive.one_round()
    assert archive.server.asked == []
    assert archive.state() == Archived(ArchiveState.PENDING)


@pytest.mark.parametrize("trouble", [{"POST": [503]}, {"PUT": [503]}, {"PUT": [CUT]}])
def test_what_passes_is_tried_again(archive: Archive, trouble: dict[str, list[int]]) -> None:
    """A server error, or a connection that breaks: again after a pause, with one image."""
    content = archive.record()
    archive.server.trouble |= trouble
    uploader = archive.uploader()
    uploader.start()
    waits = archive.state()
    assert waits.state in {ArchiveState.PENDING, ArchiveState.UPLOADING}
    assert "Glance" in waits.reason
    asked = len(archive.server.asked)
    archive.clock.advance(uploader.interval - 1)
    assert len(archive.server.asked) == asked
    archive.clock.pump([uploader.interval] * 3)
    image = only_image(archive)
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])
    assert archive.server.data[image["id"]] == content
    outcome(uploader.stop())


def test_pauses_are_bounded(archive: Archive) -> None:
    """While Glance is away it is asked ever more rarely, and not after the token's time."""
    archive.record()
    archive.server.trouble["POST"] = [503] * 1000
    uploader = archive.uploader()
    uploader.start()
    archive.clock.pump([900.0] * 96)
    tries = sum(line.startswith("POST") for line in archive.server.asked)
    assert 48 <= tries <= 110, "in a day"
    archive.keeper.kept.clear()
    archive.clock.advance(LONGEST_PAUSE)
    assert archive.state() == Archived(ArchiveState.FAILED, None, TOO_LATE)
    archive.clock.advance(LONGEST_PAUSE)
    assert archive.server.images == {}
    outcome(uploader.stop())


def test_a_token_that_is_refused_at_once(archive: Archive) -> None:
    """Without a service's word an expired token makes no image, and there is none to remove."""
    archive.record()
    archive.server.refused.add(MIA.value)
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, None)
    assert "does not take the user's token" in found.reason
    assert {line.split()[0] for line in archive.server.asked} == {"POST"}
    assert archive.keeper.kept == {}


def test_a_token_that_is_refused_later(archive: Archive) -> None:
    """Refused while it was sent, and once more: consoled's own user removes the part."""
    archive.record()
    refused = archive.server.refused
    archive.server.sent = lambda size: refused.add(MIA.value) if size > 65536 else None
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, None)
    assert archive.server.images == {}
    assert isinstance(archive.calls, InlineCalls)
    assert archive.calls.asked[-1][0] is None


def test_one_refusal_is_not_the_end(archive: Archive) -> None:
    """After one 401 there is a new service token, and what was refused is sent again."""
    content = archive.record()
    archive.server.trouble["PUT"] = [401]
    archive.one_round()
    image = only_image(archive)
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])
    assert archive.server.data[image["id"]] == content


def test_nobody_can_remove_it(archive: Archive) -> None:
    """Where consoled's own user sees no image either, the reason names the one that is left."""
    archive.record()
    archive.server.trouble["PUT"] = [401, 401]
    archive.server.trouble["DELETE"] = [401, 404]
    archive.one_round()
    found = archive.state()
    image = only_image(archive)
    assert (found.state, found.image_id) == (ArchiveState.FAILED, image["id"])
    assert f"The image {image['id']} may be left in Glance" in found.reason


def test_a_removal_that_waits(archive: Archive) -> None:
    """Glance is away when a part has to go: it goes later, and the reason stays."""
    archive.record()
    archive.server.trouble |= {"PUT": [413], "DELETE": [503, 503]}
    uploader = archive.uploader()
    uploader.start()
    assert archive.state().state is ArchiveState.REMOVING
    archive.clock.pump([uploader.interval] * 3)
    assert archive.state().state is ArchiveState.REMOVING
    # A daemon that was killed meanwhile.
    outcome(uploader.stop())
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, None)
    assert "does not take that many bytes" in found.reason
    assert archive.server.images == {}


@pytest.mark.parametrize("status", [404, 403, 413])
def test_glance_refuses(archive: Archive, status: int) -> None:
    """Full, forbidden, or the image deleted: a reason, and no image."""
    archive.record()
    archive.server.trouble["PUT"] = [status]
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, None)
    assert found.reason
    assert archive.server.images == {}
    assert archive.keeper.kept == {}


def test_killed_when_all_was_sent(archive: Archive) -> None:
    """A whole image of an earlier daemon is not sent again."""
    content = archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    archive.server.store(OLD, content)
    archive.server.asked.clear()
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.DONE, OLD)
    assert archive.server.asked == [f"GET /v2/images/{OLD}"]


@pytest.mark.parametrize("stored", [None, b"", b"x"])
def test_killed_in_the_middle(archive: Archive, stored: bytes | None) -> None:
    """A part, or another content, of an earlier daemon goes, and one whole image comes."""
    content = archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    if stored is not None:
        archive.server.store(OLD, stored or content[:-1] + b"x")
    archive.one_round()
    image = only_image(archive)
    assert image["id"] != OLD
    assert archive.server.data[image["id"]] == content
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])


def test_killed_before_anything_was_sent(archive: Archive) -> None:
    """An id that was written down, and no image of it, is no trouble."""
    archive.record()
    archive.left(OLD)
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.DONE, only_image(archive)["id"])


def test_killed_and_refused_afterwards(archive: Archive) -> None:
    """A part of an earlier daemon whose token is no longer taken is removed as our own user."""
    archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    archive.server.refused.add(MIA.value)
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, None)
    assert archive.server.images == {}


def test_killed_when_all_was_sent_and_refused_afterwards(archive: Archive) -> None:
    """What is whole stays, though the token with which it was sent is no longer taken."""
    content = archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    archive.server.store(OLD, content)
    archive.server.refused.add(MIA.value)
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.DONE, OLD)


def test_the_token_s_time_is_over(archive: Archive) -> None:
    """Nothing is uploaded without the user's token; a part of an earlier try goes."""
    archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    archive.keeper.kept.clear()
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.FAILED, None, TOO_LATE)
    assert archive.server.images == {}


def test_the_last_removal(archive: Archive) -> None:
    """When the token's time is over and Glance away, the reason says what may be left."""
    archive.record()
    archive.left(OLD)
    archive.keeper.kept.clear()
    archive.server.trouble |= {"GET": [404], "DELETE": [503]}
    archive.one_round()
    found = archive.state()
    assert (found.state, found.image_id) == (ArchiveState.FAILED, OLD)
    assert found.reason.startswith(TOO_LATE)
    assert OLD in found.reason


def test_the_file_is_gone(archive: Archive) -> None:
    """Deleted by the retention before its turn: a reason; and nothing is left of what was
    deleted with its row."""
    archive.record()
    archive.studio.file().unlink()
    archive.record(session_id(2))
    archive.studio.file(session_id(2)).unlink()
    outcome(archive.database.run(recordings.forget, session_id(2)))
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.FAILED, None, GONE)
    identity = archive.folder.identity()
    assert outcome(archive.database.run(rows.due, identity)) == []
    assert archive.keeper.kept == {}


def test_the_file_is_gone_and_the_image_whole(archive: Archive) -> None:
    """An image that an earlier daemon has sent stays, as nothing else is left."""
    content = archive.record()
    archive.left(OLD)
    glance.create_image(archive.server.adapter(MIA.value), {"id": OLD})
    archive.server.store(OLD, content)
    archive.studio.file().unlink()
    archive.one_round()
    assert archive.state() == Archived(ArchiveState.DONE, OLD)


def test_what_glance_has_is_not_what_was_sent(archive: Archive) -> None:
    """An image that differs is not taken for an archive; it is sent anew."""
    content = archive.record()
    archive.server.damages = 1
    uploader = archive.uploader()
    uploader.start()
    assert archive.state().state is ArchiveState.UPLOADING
    archive.clock.pump([uploader.interval] * 3)
    image = only_image(archive)
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])
    assert archive.server.data[image["id"]] == content
    outcome(uploader.stop())


def test_one_daemon_of_a_folder(archive: Archive) -> None:
    """Of two daemons that share a folder one uploads; the other takes over when it has ended."""
    first, second = archive.uploader(), archive.uploader()
    first.start()
    second.start()
    archive.record()
    second.wake()
    assert archive.server.images == {}
    assert archive.folder.identity() == archive.folder.identity()
    outcome(first.stop())
    second.wake()
    assert archive.state().state is ArchiveState.DONE
    outcome(second.stop())


def test_another_folder_s(archive: Archive, tmp_path: Path) -> None:
    """What another host has to upload is not touched."""
    archive.record()
    other = Archive(tmp_path / "other", archive.server, archive.database)
    other.one_round()
    assert archive.state() == Archived(ArchiveState.PENDING)


@define
class Broken:
    """Asks nobody, and fails.

    :ivar error: with what; None never answers.
    """

    error: Exception | None
    waiting: list[Deferred[Any]] = field(factory=list)

    def ask(self, *args: Any, **options: Any) -> Deferred[Any]:
        """The error."""
        if self.error is not None:
            return fail(self.error)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def has(self, service: str) -> Deferred[bool]:
        """Nobody asks that."""
        raise NotImplementedError


@pytest.mark.parametrize(
    "error",
    [
        ServiceAbsent("Keystone's catalog has no Glance."),
        Unavailable("Keystone is away."),
        ConfigError("A key is missing."),
        OSError(5, "Input/output error"),
        CutShort(),
        ZeroDivisionError(),
    ],
)
def test_other_troubles_wait(archive: Archive, error: Exception) -> None:
    """Whatever may pass waits for its next try, and says why."""
    archive.record()
    archive.calls = Broken(error)
    archive.one_round()
    found = archive.state()
    assert found.state is ArchiveState.PENDING
    assert found.reason
    archive.calls = InlineCalls(archive.server)
    archive.one_round()
    assert archive.state().state is ArchiveState.DONE


def test_a_daemon_that_stops(archive: Archive) -> None:
    """What is asked then is given up, and the next start goes on with it."""
    archive.record()
    broken = archive.calls = Broken(None)
    uploader = archive.uploader()
    uploader.start()
    [waiting] = broken.waiting
    outcome(uploader.stop())
    assert waiting.called
    uploader.wake()
    assert len(broken.waiting) == 1
    archive.calls = InlineCalls(archive.server)
    archive.one_round()
    assert archive.state().state is ArchiveState.DONE


def test_a_daemon_that_stops_while_it_sends(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next piece is not sent, and the next start leaves one whole image."""
    monkeypatch.setattr(archive_folder, "PIECE", 4096)
    content = archive.record()
    uploader = archive.uploader()
    read = os.pread

    def read_and_stop(descriptor: int, size: int, place: int) -> bytes:
        if place > 65536:
            uploader._stopped.set()
        return read(descriptor, size, place)

    monkeypatch.setattr(archive_folder.os, "pread", read_and_stop)
    uploader.start()
    monkeypatch.undo()
    outcome(uploader.stop())
    left = archive.state()
    assert left.state is ArchiveState.UPLOADING
    assert left.image_id not in archive.server.data
    archive.one_round()
    image = only_image(archive)
    assert archive.state() == Archived(ArchiveState.DONE, image["id"])
    assert archive.server.data[image["id"]] == content


def test_the_database_is_away(archive: Archive) -> None:
    """A round without a database is none, and the next one finds everything as it was."""
    archive.record()
    uploader = archive.uploader()
    away = Unavailable("away")

    class Away:
        def run(self, *args: Any) -> Deferred[Any]:
            return fail(away)

        read = run

    uploader.database = Away()
    uploader.start()
    uploader.database = archive.database
    archive.clock.advance(uploader.interval)
    assert archive.state().state is ArchiveState.DONE
    outcome(uploader.stop())


def test_a_folder_that_cannot_be_written(archive: Archive) -> None:
    """The loop outlives a folder that is none."""
    (archive.path / "recordings").touch()
    uploader = archive.uploader()
    uploader.start()
    (archive.path / "recordings").unlink()
    archive.record()
    archive.clock.advance(uploader.interval)
    assert archive.state().state is ArchiveState.DONE
    outcome(uploader.stop())


def test_a_file_is_sent_in_pieces(tmp_path: Path) -> None:
    """No more than one piece is in memory; a stop, or a file cut short, ends it in between."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    size, stopped = path.stat().st_size, threading.Event()
    with path.open("rb") as file:
        body = RecordingBody(file.fileno(), size, stopped)
        pieces = list(body)
        assert len(body) == size == sum(map(len, pieces))
        assert {len(piece) for piece in pieces} == {PIECE}
        assert b"".join(body) == path.read_bytes()
        under_way = iter(body)
        next(under_way)
        stopped.set()
        with pytest.raises(Stopped):
            next(under_way)
        with pytest.raises(CutShort):
            list(RecordingBody(file.fileno(), size + 1, threading.Event()))

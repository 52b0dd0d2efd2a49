"""The routes about recordings: who sees, reads and deletes which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from api_client import BASE_URL, Answer, ApiClient
from cells import memory_database, outcome
from recordings import INSTANCE, SESSION, START, Studio, facts, session_id

from consoled.api.sending import span
from consoled.auth.policy import PolicyEnforcer
from consoled.db import archives
from consoled.db import recordings as rows
from consoled.db.database import CellDatabase
from consoled.recording.archive_values import ArchiveState
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.recording.values import Ending
from consoled.workers import InlineWorker

OTHER = session_id(2)
NOBODY = session_id(3)
ABSENT = session_id(9)
DIGEST = "d" * 64


@pytest.fixture
def database() -> CellDatabase:
    return memory_database()


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.fixture
def store(database: CellDatabase, studio: Studio) -> RecordingStore:
    """Three ended recordings: of project demo with its file, of another's, of nobody's."""
    recording, _ = studio.start()
    recording.output(b"hello")
    recording.close()
    studio.run()
    for about in (
        facts(),
        facts(OTHER, project_id="other", started=START + 1),
        facts(NOBODY, project_id=None, host="node2", started=START + 2),
    ):
        outcome(database.run(rows.end, about, Ending(7, DIGEST, True)))
    policy = PolicyEnforcer(InlineWorker())
    return RecordingStore(database, policy, studio.writer.folder, InlineWorker(), "node1")


def client(store: RecordingStore, key: str | None = "member-key") -> ApiClient:
    """A client whose API has recordings."""
    return ApiClient(key=key, recordings=store)


def with_replays(
    store: RecordingStore, key: str | None = "member-key", enabled: bool = True
) -> ApiClient:
    """A client whose API gives out links to the page as well."""
    links = ReplayLinks(store.database, store, 600, False, enabled, BASE_URL)
    return ApiClient(key=key, recordings=store, replays=links)


def content(
    store: RecordingStore,
    key: str = "member-key",
    name: str = SESSION,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> Answer:
    """The answer of the route that sends a file."""
    path = f"/v1/recordings/{name}/content"
    answer = client(store, key).start(method, path, b"", headers).answer(method)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("reader-key", [SESSION]),
        ("member-key", [SESSION]),
        ("admin-key", [NOBODY, OTHER, SESSION]),
    ],
)
def test_the_list(store: RecordingStore, key: str, ids: list[str]) -> None:
    """A caller sees the recordings of the own project, an admin all, the newest first."""
    found = client(store, key).get("/v1/recordings").json["recordings"]
    assert [one["id"] for one in found] == ids
    assert all(("host" in one) == (key == "admin-key") for one in found)
    mine = dict(found[-1])
    mine.pop("host", None)
    assert mine.pop("ended_at").endswith("Z")
    assert mine == {
        "id": SESSION,
        "server_id": INSTANCE,
        "server_name": "web-1",
        "console_index": 0,
        "console_type": "serial",
        "user_id": "mia",
        "project_id": "demo",
        "started_at": "2026-01-01T00:00:00Z",
        "bytes": 7,
        "digest": DIGEST,
        "state": "complete",
    }


def test_the_query(store: RecordingStore) -> None:
    """It narrows the list by server, user, time and number."""

    def count(query: str) -> int:
        return len(client(store, "admin-key").get(f"/v1/recordings?{query}").json["recordings"])

    assert count(f"server={INSTANCE}&user=mia&since=2026-01-01&limit=2") == 2
    assert count("user=zoe") == 0
    assert count("since=2026-01-01T00:00:02Z") == 1
    assert count("until=2026-01-01T00:00:01Z") == 1
    assert count("until=2026-01-01") == 0


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("colour=red", "unknown"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("server=web-1", "server"),
        ("user=a&user=b", '"user" must stand there once'),
        ("user=%ff", '"user" must stand there once'),
    ],
)
def test_a_query_that_is_wrong(store: RecordingStore, query: str, why: str) -> None:
    """The answer names what is wrong."""
    answer = client(store).get(f"/v1/recordings?{query}")
    assert answer.status == 400
    assert why in answer.message


def test_one(store: RecordingStore) -> None:
    """A recording by its id."""
    assert client(store).get(f"/v1/recordings/{SESSION}").json["recording"]["id"] == SESSION


def test_an_archived_one(store: RecordingStore) -> None:
    """A recording that goes to the archive says how far it is, and why not; no other one does."""

    def shown() -> tuple[object, ...]:
        found = client(store).get(f"/v1/recordings/{SESSION}").json["recording"]
        return tuple(found.get(name) for name in ("archive", "image_id", "archive_reason"))

    def change(fn: Callable[..., None], *args: object) -> None:
        outcome(store.database.run(fn, SESSION, *args))

    assert shown() == (None, None, None)
    change(archives.add, "folder", ArchiveState.PENDING)
    assert shown() == ("pending", None, "")
    change(archives.plan_image, "image")
    change(archives.note, "Glance is away.")
    assert shown() == ("pending", None, "Glance is away.")
    change(archives.begin_upload, "image")
    assert shown() == ("uploading", "image", "")
    change(archives.begin_removal, "image", "Glance is full.")
    change(archives.note, "Glance is away.")
    assert shown() == ("removing", "image", "Glance is full.")
    change(archives.end, ArchiveState.FAILED, None, "Glance is full.")
    assert shown() == ("failed", None, "Glance is full.")


@pytest.mark.parametrize(
    ("key", "method", "path", "status"),
    [
        ("member-key", "GET", OTHER, 404),
        ("member-key", "GET", NOBODY, 404),
        ("member-key", "GET", ABSENT, 404),
        ("member-key", "GET", "nonsense", 404),
        ("member-key", "GET", f"{OTHER}/content", 404),
        ("reader-key", "GET", f"{SESSION}/content", 403),
        ("member-key", "DELETE", SESSION, 403),
        ("member-key", "DELETE", OTHER, 404),
        ("roleless-key", "GET", "", 403),
        (None, "GET", SESSION, 401),
        (None, "GET", f"{SESSION}/content", 401),
    ],
)
def test_refusals(
    store: RecordingStore, studio: Studio, key: str | None, method: str, path: str, status: int
) -> None:
    """Who may not is told nothing of other projects', and changes nothing."""
    target = f"/v1/recordings/{path}".rstrip("/")
    assert client(store, key).ask(method, target).status == status
    assert studio.file().exists()


def test_the_content(store: RecordingStore, studio: Studio) -> None:
    """The file itself, never cached or shown by a browser."""
    answer = content(store)
    assert (answer.status, answer.body) == (200, studio.file().read_bytes())
    assert answer.headers["Content-Type"] == "application/x-asciicast"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{SESSION}.cast"'
    assert answer.headers["Cache-Control"] == "no-store"
    head = content(store, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(answer.body))


def test_a_long_file(store: RecordingStore, studio: Studio) -> None:
    """More than one piece comes whole."""
    data = b"0123456789" * 30_000
    studio.file().write_bytes(data)
    assert content(store).body == data


def test_a_range(store: RecordingStore, studio: Studio) -> None:
    """A piece, with where it stands in the whole; none beyond the end."""
    data = studio.file().read_bytes()
    answer = content(store, headers={"Range": "bytes=2-5"})
    assert (answer.status, answer.body) == (206, data[2:6])
    assert answer.headers["Content-Range"] == f"bytes 2-5/{len(data)}"
    answer = content(store, headers={"Range": f"bytes={len(data)}-"})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, (0, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-4", (3, 5)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-0", None),
        ("bytes=10-", None),
        ("bytes=4-3", (0, 10)),
        ("bytes=1-2,4-5", (0, 10)),
        ("bytes=", (0, 10)),
        ("lines=1-2", (0, 10)),
        ("bytes=" + "9" * 30 + "-", (0, 10)),
    ],
)
def test_ranges(header: str | None, found: tuple[int, int] | None) -> None:
    """RFC 9110: what is no single range of bytes asks for everything."""
    assert span(header, 10) == found


def test_a_file_elsewhere(store: RecordingStore) -> None:
    """Another host's file is 409; one of this host that is gone is 404."""
    answer = content(store, "admin-key", NOBODY)
    assert answer.status == 409
    assert "another host" in answer.message
    assert content(store, "admin-key", OTHER).status == 404
    assert client(store, "admin-key").ask("DELETE", f"/v1/recordings/{NOBODY}").status == 409


def test_deleting(store: RecordingStore, studio: Studio) -> None:
    """An admin deletes file and row; a row of this host whose file is gone goes as well."""
    for name in (SESSION, OTHER):
        assert client(store, "admin-key").ask("DELETE", f"/v1/recordings/{name}").status == 204
        assert client(store, "admin-key").get(f"/v1/recordings/{name}").status == 404
    assert not studio.file().exists()


def test_a_session_that_goes_on(
    store: RecordingStore, studio: Studio, database: CellDatabase
) -> None:
    """What is being recorded can be read, and not deleted."""
    recording, _ = studio.start(about=facts(ABSENT))
    recording.output(b"so far")
    studio.run()
    outcome(database.run(rows.begin, facts(ABSENT)))
    view = client(store).get(f"/v1/recordings/{ABSENT}").json["recording"]
    assert (view["state"], view["ended_at"], view["digest"]) == ("recording", None, "")
    assert b"so far" in content(store, name=ABSENT).body
    answer = client(store, "admin-key").ask("DELETE", f"/v1/recordings/{ABSENT}")
    assert answer.status == 409
    assert studio.file(ABSENT).exists()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": null}', b'{"token": {}}'])
def test_a_link(store: RecordingStore, body: bytes) -> None:
    """A URL that plays the recording in the page, in the form of the other tokens."""
    answer = with_replays(store).post(f"/v1/recordings/{SESSION}/tokens", body)
    assert answer.status == 201
    token = answer.json["token"]
    assert set(token) == {"id", "url", "expires_at", "recording_id"}
    assert token["recording_id"] == SESSION
    assert token["url"].startswith("http://127.0.0.1:6083/replay.html?token=")
    assert len(token["id"]) == 12
    assert token["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    ("key", "name", "body", "status"),
    [
        ("reader-key", SESSION, b"", 403),
        ("member-key", OTHER, b"", 404),
        ("member-key", "nonsense", b"", 404),
        ("member-key", SESSION, b'{"token": {"role": "observer"}}', 400),
        (None, SESSION, b"", 401),
    ],
)
def test_no_link(
    store: RecordingStore, key: str | None, name: str, body: bytes, status: int
) -> None:
    """Who may not read a recording gets no URL for it."""
    answer = with_replays(store, key).post(f"/v1/recordings/{name}/tokens", body)
    assert answer.status == status


def test_links_without_a_proxy(store: RecordingStore) -> None:
    """A cell whose consoles are off has no page: 400, and what to do instead."""
    answer = with_replays(store, enabled=False).post(f"/v1/recordings/{SESSION}/tokens")
    assert answer.status == 400
    assert "download the recording" in answer.message


def test_without_recordings() -> None:
    """An API that was given no recordings does not know the routes."""
    assert ApiClient().get("/v1/recordings").status == 404

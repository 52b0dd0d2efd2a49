"""Links to replay a recording: who gets one, what it opens, for how long, and how often."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cells import memory_database, outcome
from recordings import SESSION, Studio, facts, session_id
from sqlalchemy import Connection, select
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from consoled.auth.policy import PolicyEnforcer
from consoled.db import recordings as rows
from consoled.db import replays as replay_rows
from consoled.db.database import CellDatabase
from consoled.db.tables import replay_tokens
from consoled.errors import (
    Conflict,
    ConsoledError,
    ConsoleDisabled,
    Forbidden,
    NotFound,
    TokenInvalid,
)
from consoled.model import Caller, hash_token
from consoled.recording.replays import ReplayLinks
from consoled.recording.store import Content, RecordingStore
from consoled.recording.values import Ending, RecordingRow
from consoled.workers import InlineWorker

MEMBER = Caller("mia", "demo", frozenset({"member"}))
READER = Caller("rea", "demo", frozenset({"reader"}))
STRANGER = Caller("zoe", "other", frozenset({"member"}))
ADMIN = Caller("ada", None, frozenset({"admin"}))
AWAY = session_id(2)


@pytest.fixture
def database() -> CellDatabase:
    return memory_database()


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Has the file of one recording."""
    studio = Studio(tmp_path)
    recording, _ = studio.start()
    recording.output(b"hello")
    recording.close()
    studio.run()
    return studio


Make = Callable[..., ReplayLinks]


@pytest.fixture
def make(database: CellDatabase, studio: Studio) -> Make:
    """Makes links over two recordings: one of this host, one of another."""
    for about in (facts(), facts(AWAY, host="node2")):
        outcome(database.run(rows.end, about, Ending(7, "", True)))
    store = RecordingStore(
        database, PolicyEnforcer(InlineWorker()), studio.writer.folder, InlineWorker(), "node1"
    )

    def links(
        ttl: int = 600,
        single_use: bool = False,
        enabled: bool = True,
        base_url: str = "http://console.test:6083/serial.html",
    ) -> ReplayLinks:
        return ReplayLinks(database, store, ttl, single_use, enabled, base_url)

    return links


def token(links: ReplayLinks, session: str = SESSION, caller: Caller = MEMBER) -> str:
    """The clear token of a new link."""
    issued = outcome(links.issue(caller, session, "req-1"))
    return parse_qs(urlsplit(issued.url).query)["token"][0]


def content(links: ReplayLinks, clear: str) -> bytes:
    """What a token opens, read and closed."""
    opened = outcome(links.open(clear, "req-2", "192.0.2.7"))
    try:
        return os.pread(opened.content.descriptor, opened.content.size, 0)
    finally:
        opened.close()


def hashes(database: CellDatabase) -> list[str]:
    """What the table has."""

    def read(connection: Connection) -> list[str]:
        return list(connection.scalars(select(replay_tokens.c.token_hash)))

    return outcome(database.read(read))


@pytest.mark.parametrize(
    ("base_url", "page"),
    [
        ("http://console.test:6083/serial.html", "http://console.test:6083/replay.html"),
        ("https://console.test/a/b/serial.html", "https://console.test/a/b/replay.html"),
        ("https://console.test/consoles/", "https://console.test/consoles/replay.html"),
        ("https://console.test", "https://console.test/replay.html"),
    ],
)
def test_the_link(make: Make, base_url: str, page: str) -> None:
    """It is of the page beside the console's, with a token of 256 random bits."""
    links = make(base_url=base_url)
    first, second = (outcome(links.issue(MEMBER, SESSION, "req-1")) for _ in range(2))
    assert first.url.startswith(f"{page}?token=")
    assert len(first.url) == len(page) + len("?token=") + 43
    assert first.url != second.url
    assert first.recording.facts.session_id == SESSION


def test_what_it_opens(make: Make, studio: Studio) -> None:
    """The recording's file, as often as it is asked for while it is valid."""
    links = make()
    clear = token(links)
    for _ in range(2):
        assert content(links, clear) == studio.file().read_bytes()


def test_only_the_hash_is_kept(make: Make, database: CellDatabase) -> None:
    """Database, log and repr have no clear token."""
    with capturedLogs() as logs:
        issued = outcome(make().issue(MEMBER, SESSION, "req-1"))
        clear = issued.url.partition("token=")[2]
        content(make(), clear)
    assert hashes(database) == [hash_token(clear)]
    assert clear not in repr(logs) + repr(issued)
    events = {event["event"]: event for event in logs if "event" in event}
    for name, request in (("replay_issued", "req-1"), ("recording_read", "req-2")):
        event = events[name]
        assert event["token_id"] == issued.token_id == hash_token(clear)[:12]
        assert (event["session_id"], event["user_id"]) == (SESSION, "mia")
        assert event["request_id"] == request


@pytest.mark.parametrize(
    ("caller", "refusal"),
    [(READER, Forbidden), (STRANGER, NotFound), (MEMBER, None), (ADMIN, None)],
)
def test_who_gets_one(
    make: Make, database: CellDatabase, caller: Caller, refusal: type[ConsoledError] | None
) -> None:
    """Whoever may read the recording; a refusal stores nothing."""
    if refusal is None:
        token(make(), caller=caller)
    else:
        with pytest.raises(refusal):
            token(make(), caller=caller)
    assert len(hashes(database)) == (refusal is None)


def test_no_recording(make: Make) -> None:
    """A recording that there is not has no link."""
    for name in (session_id(9), "nonsense"):
        with pytest.raises(NotFound, match="no such recording"):
            token(make(), name)


def test_no_page(make: Make, database: CellDatabase) -> None:
    """A cell without the proxy has no page that could play anything."""
    with pytest.raises(ConsoleDisabled, match="download"):
        token(make(enabled=False))
    assert hashes(database) == []


def test_expiry(make: Make, database: CellDatabase) -> None:
    """What has expired opens nothing, and the next link that is made forgets it."""
    links = make(ttl=0)
    clear = token(links)
    with pytest.raises(TokenInvalid, match="expired"):
        content(links, clear)
    token(make())
    assert len(hashes(database)) == 1
    assert hash_token(clear) not in hashes(database)


@pytest.mark.parametrize("clear", ["", "x", "x" * 43, "x" * 5000, "\udcff" * 43, "ä" * 43])
def test_unknown_tokens(make: Make, clear: str) -> None:
    """Whatever else comes is refused in the same words."""
    with pytest.raises(TokenInvalid, match="not valid, was used, or has expired"):
        content(make(), clear)


def test_deleted(make: Make, database: CellDatabase) -> None:
    """A link does not outlive its recording."""
    links = make()
    clear = token(links)
    outcome(database.run(rows.forget, SESSION))
    with pytest.raises(TokenInvalid):
        content(links, clear)


def test_another_host(make: Make, studio: Studio) -> None:
    """As with a download, the replica on the file's host has to be asked."""
    links = make()
    clear = token(links, AWAY)
    with pytest.raises(Conflict, match="on another host"):
        content(links, clear)
    studio.file().unlink()
    with pytest.raises(NotFound, match="is gone"):
        content(links, token(links))


def test_single_use(make: Make) -> None:
    """With single_use a link loads its recording once."""
    links = make(single_use=True)
    clear = token(links)
    assert b"hello" in content(links, clear)
    with pytest.raises(TokenInvalid, match="was used"):
        content(links, clear)


def test_single_use_in_vain(make: Make) -> None:
    """A link is not used up where there is nothing to send."""
    links = make(single_use=True)
    clear = token(links, AWAY)
    for _ in range(2):
        with pytest.raises(Conflict):
            content(links, clear)


def test_single_use_at_once(
    make: Make, database: CellDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that come with one link at once one gets the file; the other's is closed again."""
    links = make(single_use=True)
    clear = token(links)
    opened: list[Content] = []
    real = RecordingStore.open

    def open_late(self: RecordingStore, row: RecordingRow) -> Deferred[Content]:
        assert outcome(database.run(replay_rows.spend, hash_token(clear)))
        return real(self, row).addCallback(lambda content: opened.append(content) or content)

    monkeypatch.setattr(RecordingStore, "open", open_late)
    with pytest.raises(TokenInvalid):
        content(links, clear)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0].descriptor)

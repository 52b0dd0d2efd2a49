"""The proxy's route that gives a recording to the page that plays it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cells import memory_database, outcome
from proxy_site import Site
from recordings import SESSION, Studio, facts
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from wires import Wire

from consoled.auth.policy import PolicyEnforcer
from consoled.db import recordings as rows
from consoled.errors import Unavailable
from consoled.model import Caller
from consoled.recording.replays import OpenedReplay, ReplayLinks
from consoled.recording.store import RecordingStore
from consoled.recording.values import Ending
from consoled.workers import InlineWorker

MEMBER = Caller("mia", "demo", frozenset({"member"}))
CONTENT = "/replay/content"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Has the file of one recording, larger than one piece of an answer."""
    studio = Studio(tmp_path)
    recording, _ = studio.start()
    for _ in range(20):
        recording.output(b"hello " * 2000)
        studio.run()
    recording.close()
    studio.run()
    return studio


@pytest.fixture
def links(studio: Studio) -> ReplayLinks:
    """Links to that recording."""
    database = memory_database()
    outcome(database.run(rows.end, facts(), Ending(7, "", True)))
    store = RecordingStore(
        database, PolicyEnforcer(InlineWorker()), studio.writer.folder, InlineWorker(), "node1"
    )
    return ReplayLinks(database, store, 600, False, True, "http://console.test:6083/serial.html")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A web folder with both pages."""
    web = tmp_path / "web"
    web.mkdir()
    for name in ("serial.html", "replay.html"):
        (web / name).write_text("<!doctype html>")
    return web


@pytest.fixture
def site(folder: Path, links: ReplayLinks) -> Site:
    return Site(folder, replays=links)


@pytest.fixture
def token(links: ReplayLinks) -> str:
    """A token of that recording."""
    return outcome(links.issue(MEMBER, SESSION, "req-1")).url.partition("token=")[2]


def test_the_content(site: Site, token: str, studio: Studio) -> None:
    """The token in a header gets the file as it is stored, which nobody keeps or guesses."""
    with capturedLogs() as logs:
        answer = site.ask(CONTENT, Authorization=f"Bearer {token}")
    assert answer.status == 200
    assert answer.body == studio.file().read_bytes()
    assert len(answer.body) > 3 * 65536
    assert answer.headers["Content-Type"] == "application/x-asciicast"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert token not in repr(logs)
    events = {event["event"]: event for event in logs if "event" in event}
    assert events["page_request"]["path"] == CONTENT
    assert events["recording_read"]["src"] == "203.0.113.9"


def test_head_and_ranges(site: Site, token: str, studio: Studio) -> None:
    """As with a download over REST."""
    data = studio.file().read_bytes()
    authorization = {"Authorization": f"bearer {token}"}
    answer = site.ask(CONTENT, "HEAD", **authorization)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(data))
    answer = site.ask(CONTENT, Range="bytes=2-5", **authorization)
    assert (answer.status, answer.body) == (206, data[2:6])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer " + "x" * 43},
        {"Authorization": "Basic eDp4"},
        {"Cookie": "token=" + "x" * 43},
    ],
)
def test_no_token(site: Site, headers: dict[str, str]) -> None:
    """Without a good token there is a sentence, and no word of what there is."""
    answer = site.ask(CONTENT, **headers)
    assert answer.status == 401
    assert answer.body == (
        b"This replay link is not valid, was used, or has expired; ask for a new one.\n"
    )
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="consoled"'
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_token_elsewhere(site: Site, token: str) -> None:
    """A token in the address, or twice, is none: addresses end up in logs."""
    assert site.ask(f"{CONTENT}?token={token}").status == 401
    twice = (
        f"GET {CONTENT} HTTP/1.1\r\nHost: console.test:6083\r\n"
        f"Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    assert site.send(twice.encode()).written.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(site: Site, token: str, method: str) -> None:
    """It is only read; another origin's preflight is refused with the rest."""
    answer = site.ask(CONTENT, method, Authorization=f"Bearer {token}")
    assert answer.status == 405
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_a_foreign_host(site: Site, token: str) -> None:
    """A page of a rebound name gets nothing (faults.md H1)."""
    answer = site.ask(CONTENT, Host="evil.test", Authorization=f"Bearer {token}")
    assert answer.status == 403


def test_refusals(
    site: Site, links: ReplayLinks, token: str, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its status and its words; what was not foreseen is in the log alone."""
    authorization = {"Authorization": f"Bearer {token}"}
    studio.file().unlink()
    answer = site.ask(CONTENT, **authorization)
    assert (answer.status, answer.body) == (404, b"The file of this recording is gone.\n")

    async def away(*_: object) -> None:
        raise Unavailable("The database is not available now; try again in a moment.")

    monkeypatch.setattr(ReplayLinks, "_open", away)
    answer = site.ask(CONTENT, **authorization)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr(ReplayLinks, "_open", fail)
    with capturedLogs() as logs:
        answer = site.ask(CONTENT, **authorization)
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert any("log_failure" in event for event in logs)


def test_a_client_that_goes(
    site: Site, links: ReplayLinks, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was opened for a client that is gone is closed again."""
    opened = outcome(links.open(token, "req-2", "192.0.2.7"))
    waiting: Deferred[OpenedReplay] = Deferred()
    monkeypatch.setattr(ReplayLinks, "open", lambda *_: waiting)
    wire: Wire = site.send(
        f"GET {CONTENT} HTTP/1.1\r\nHost: console.test:6083\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    wire.drop()
    waiting.callback(opened)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened.content.descriptor)
    assert wire.written == b""


def test_beside_the_page(folder: Path, links: ReplayLinks, token: str) -> None:
    """It is in the console page's folder, and nowhere where there are no recordings."""
    authorization = {"Authorization": f"Bearer {token}"}
    below = Site(folder, base_url="http://console.test:6083/a/serial.html", replays=links)
    assert below.ask("/a/replay/content", **authorization).status == 200
    assert below.ask(CONTENT, **authorization).status == 404
    assert below.ask("/a/replay.html", "HEAD").status == 200
    assert Site(folder).ask(CONTENT, **authorization).status == 404


def test_webassembly_is_for_that_page_alone(site: Site) -> None:
    """The player may compile WebAssembly, and nothing else is loosened, nor on another page."""
    console = site.ask("/serial.html", "HEAD").headers["Content-Security-Policy"]
    replay = site.ask("/replay.html?token=x", "HEAD").headers["Content-Security-Policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in replay
    assert replay.replace(" 'wasm-unsafe-eval'", "") == console
    assert "unsafe" not in console


def test_an_operator_s_own_page(folder: Path, links: ReplayLinks) -> None:
    """A folder of the operator's has its own rules, for this page too."""
    own = Site(folder, built_in=False, replays=links)
    policy = own.ask("/replay.html", "HEAD").headers["Content-Security-Policy"]
    assert policy == "frame-ancestors 'none'"

"""The website of the proxy port: what is served, how, and what is not."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_site import Answer, Site
from twisted.logger import capturedLogs

import consoled
from consoled.proxy.forwarded import TrustedProxies
from consoled.proxy.website import (
    built_in_website,
    security_headers,
)

PAGE = b"<!doctype html><title>page</title>"
SCRIPT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def immediate_producers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file goes out at once: Twisted's pull adapter would use the global reactor's clock."""

    def push(self: Any) -> None:
        while self._consumer._requestProducer is self:
            self._producer.resumeProducing()

    monkeypatch.setattr("twisted.internet._producer_helpers._PullToPush.startStreaming", push)
    monkeypatch.setattr(
        "twisted.internet._producer_helpers._PullToPush.stopStreaming", lambda self: None
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A web folder with a page and an asset, and a file beside it that is nobody's business."""
    web = tmp_path / "web"
    (web / "assets").mkdir(parents=True)
    (web / "serial.html").write_bytes(PAGE)
    (web / "assets" / "app.js").write_bytes(SCRIPT)
    (tmp_path / "secret.txt").write_text("secret")
    return web


@pytest.fixture
def site(folder: Path) -> Site:
    """The default site."""
    return Site(folder)


def test_page(site: Site) -> None:
    """The page and its assets are served as they are."""
    page = site.ask("/serial.html?token=x")
    assert (page.status, page.body) == (200, PAGE)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    script = site.ask("/assets/app.js")
    assert (script.status, script.body) == (200, SCRIPT)
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert script.headers["Content-Length"] == str(len(SCRIPT))


def test_head(site: Site) -> None:
    """HEAD has the headers of GET and no body, of errors too."""
    for target in ("/serial.html", "/assets/app.js", "/nothing", "/", "/a//b"):
        get, head = site.ask(target), site.ask(target, "HEAD")
        assert head.body == b""
        assert head.status == get.status
        for name in ("Content-Length", "Content-Type", "Content-Security-Policy"):
            assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "X"]
)
def test_other_methods(site: Site, method: str) -> None:
    """Pages are only read."""
    answer = site.ask("/serial.html", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/assets",
        "/assets/",
        "/serial.html/",
        "/serial.html/x",
        "/SERIAL.HTML",
        "/" + "a" * 255,
        "/" + "a" * 300,
        "/" + "a/" * 3000 + "a",
        "/%F0%9F%92%A9",
        "/" + "%F0%9F%92%A9" * 100,
        "/~root",
        "/.hidden",
        "/con",
    ],
    ids=lambda target: target[:20],
)
def test_nothing_there(site: Site, target: str) -> None:
    """What is no file is 404, however long its name is."""
    answer = site.ask(target)
    assert answer.status == 404
    assert answer.body == b"There is no such page.\n"


HOSTILE = [
    "//evil.example/%2F..",
    "//evil.example",
    "/\\evil.example",
    "/%5Cevil.example",
    "/%2F%2Fevil.example",
    "/..",
    "/../secret.txt",
    "/assets/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/assets/%2e%2e/%2e%2e/secret.txt",
    "/..%2fsecret.txt",
    "/..%5csecret.txt",
    "/%00",
    "/serial.html%00.js",
    "/serial.html%0d%0aSet-Cookie:%20a=b",
    "/.%2e/secret.txt",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_paths(site: Site, target: str) -> None:
    """Hostile paths are 400, and nothing leads off the site (faults.md H3)."""
    answer = site.ask(target)
    assert answer.status == 400
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert b"evil" not in answer.body


@pytest.mark.parametrize("target", ["/?redirect=https://evil.example", "/serial.html?redirect=//e"])
def test_redirect_parameter(site: Site, target: str) -> None:
    """No parameter of autobahn's status page, or any other, redirects."""
    answer = site.ask(target)
    assert answer.status in (200, 426)
    assert "Location" not in answer.headers
    assert "Refresh" not in answer.headers


def test_links_out_of_the_folder(site: Site, folder: Path) -> None:
    """A link leads nowhere outside the folder; inside it does."""
    (folder / "out.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "in.html").symlink_to(folder / "serial.html")
    assert site.ask("/out.txt").status == 404
    assert site.ask("/up/secret.txt").status == 404
    assert site.ask("/loop").status == 404
    assert site.ask("/loop/x").status == 404
    assert site.ask("/in.html").body == PAGE


def test_folder_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    """The web folder itself may be a link, as packages make them."""
    link = tmp_path / "current"
    link.symlink_to(folder)
    assert Site(link).ask("/serial.html").body == PAGE


def test_folder_beside_it(folder: Path) -> None:
    """A folder whose name only begins like the web folder's is outside."""
    beside = folder.with_name("web-private")
    beside.mkdir()
    (beside / "x").write_text("secret")
    (folder / "beside").symlink_to(beside)
    assert Site(folder).ask("/beside/x").status == 404


def test_special_files(site: Site, folder: Path) -> None:
    """Only regular files are served: a FIFO would block the daemon."""
    os.mkfifo(folder / "fifo")
    assert site.ask("/fifo").status == 404


def test_file_vanished(site: Site, folder: Path) -> None:
    """A page that the operator has removed is 426 at its WebSocket's address, not an error."""
    (folder / "serial.html").unlink()
    assert site.ask("/serial.html").status == 426


def test_socket_address_without_upgrade(site: Site) -> None:
    """nova's address is for WebSockets, and says so."""
    answer = site.ask("/?token=x")
    assert answer.status == 426
    assert answer.headers["Upgrade"] == "websocket"
    assert answer.headers["Connection"] == "Upgrade"


@pytest.mark.parametrize("target", ["/", "/websockify", "/serial.html"])
def test_upgrades(site: Site, target: str) -> None:
    """A WebSocket goes on, judged with the Host that was asked for."""
    site.upgrade(target)
    assert site.taken == [(target.encode(), "console.test:6083")]


@pytest.mark.parametrize("target", ["/nothing", "/assets/app.js", "/websockify/"])
def test_upgrades_elsewhere(site: Site, target: str) -> None:
    """There is no console at other addresses."""
    assert site.ask(target, Upgrade="websocket", Connection="Upgrade").status == 404
    assert site.taken == []


@pytest.mark.parametrize("target", ["/serial.html", "/", "//evil", "/nothing"])
def test_foreign_host(site: Site, target: str) -> None:
    """Nothing at all is served by a foreign name (faults.md H2)."""
    answer = site.ask(target, Host="evil.example")
    assert answer.status == 403
    assert b"allowed_hosts" in answer.body
    assert site.ask(target, Host="evil.example", Upgrade="websocket").status == 403
    assert site.taken == []


def test_forwarded_host(folder: Path) -> None:
    """The Host of a trusted proxy's header counts, anybody else's does not (faults.md H11)."""
    behind = {"Host": "10.0.0.1:6083", "X_Forwarded_Host": "console.test"}
    assert Site(folder).ask("/serial.html", **behind).status == 403
    trusting = Site(folder, trusted=TrustedProxies(("203.0.113.0/24",)))
    assert trusting.ask("/serial.html", **behind).status == 200
    evil = {"X_Forwarded_Host": "evil.example"}
    assert Site(folder).ask("/serial.html", **evil).status == 200
    assert trusting.ask("/serial.html", **evil).status == 403


# Headers


@pytest.mark.parametrize("target", ["/serial.html", "/assets/app.js", "/nothing", "/", "//"])
def test_security_headers(site: Site, target: str) -> None:
    """Every answer has the headers that keep a page and its token in their place (faults.md H9)."""
    answer = site.ask(target)
    policy = dict(
        directive.strip().partition(" ")[::2]
        for directive in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert re.fullmatch(r"req-[0-9a-f-]{36}", answer.headers["X-Openstack-Request-Id"])


def test_frame_ancestors(folder: Path) -> None:
    """The page stands in the frames of the configured origins, and in no other."""
    answer = Site(folder, frame_ancestors=("https://dash.test", "'self'")).ask("/serial.html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith("frame-ancestors https://dash.test 'self'")
    assert "X-Frame-Options" not in answer.headers


def test_own_folder_of_the_operator(folder: Path) -> None:
    """The operator's own page may load what it likes, but is framed by nobody uninvited."""
    answer = Site(folder, built_in=False).ask("/serial.html")
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_headers_are_swapped(site: Site) -> None:
    """On SIGHUP the next answer has the new headers."""
    site.public.headers = security_headers(True, ("https://dash.test",))
    assert "https://dash.test" in site.ask("/serial.html").headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.css", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.json", "application/json"),
        ("a.js.map", "application/octet-stream"),
        ("a.html.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.php", "application/octet-stream"),
        ("a.HTML", "application/octet-stream"),
    ],
)
def test_content_types(site: Site, folder: Path, name: str, kind: str) -> None:
    """Types come from one short list; the rest is bytes, never guessed."""
    (folder / name).write_text("x")
    answer = site.ask(f"/{name}")
    assert answer.headers["Content-Type"] == kind
    assert "Content-Encoding" not in answer.headers


# Base URLs and folders


@pytest.mark.parametrize(
    ("base_url", "page", "asset"),
    [
        ("http://console.test/", "/", "/assets/app.js"),
        ("ws://console.test", "/", "/assets/app.js"),
        ("http://console.test/console/", "/console/", "/console/assets/app.js"),
        ("http://console.test/console", "/console", "/assets/app.js"),
        ("http://console.test/a/b.html", "/a/b.html", "/a/assets/app.js"),
    ],
)
def test_base_urls(folder: Path, base_url: str, page: str, asset: str) -> None:
    """The page is at base_url's path, and what it loads relative to it is there."""
    site = Site(folder, base_url=base_url)
    assert site.ask(page).body == PAGE
    assert site.ask(asset).body == SCRIPT
    site.upgrade(page)
    assert [path.decode() for path, _ in site.taken] == [page]


def test_page_of_another_name(folder: Path) -> None:
    """A folder of the operator's may have base_url's own page."""
    (folder / "mine.html").write_text("mine")
    site = Site(folder, base_url="http://console.test/mine.html", built_in=False)
    assert site.ask("/mine.html").body == b"mine"
    assert site.ask("/serial.html").body == PAGE


def test_empty_folder(tmp_path: Path) -> None:
    """A folder without the page is no page, and not an error of the daemon."""
    assert Site(tmp_path, built_in=False).ask("/serial.html").status == 426


def test_built_in_folder() -> None:
    """The built-in page's folder is in the package."""
    website = built_in_website()
    assert website.built_in
    assert website.folder == Path(consoled.__file__).parent / "web" / "static"


# Conditions and ranges


def test_not_modified(site: Site) -> None:
    """A page that has not changed is not sent again."""
    first = site.ask("/serial.html")
    again = site.ask("/serial.html", If_Modified_Since=first.headers["Last-Modified"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


def test_modified(site: Site) -> None:
    """One that has, is."""
    answer = site.ask("/serial.html", If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-9", 206, SCRIPT[:10]),
        ("bytes=255990-", 206, SCRIPT[-10:]),
        ("bytes=255990-999999999", 206, SCRIPT[-10:]),
        ("bytes=256000-", 416, b""),
    ],
)
def test_ranges(site: Site, wanted: str, status: int, content: bytes) -> None:
    """One plain range is served."""
    answer = site.ask("/assets/app.js", Range=wanted)
    assert (answer.status, answer.body) == (status, content)


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=9-0",
        "bytes=-5",
        "bytes=-999999999",
        "bytes=--5",
        "bytes=0-0,0-0",
        "bytes=" + "0-," * 1000 + "0-",
        "bytes=" + "9" * 5000 + "-",
        "bytes=a-b",
        "bytes",
        "lines=1-2",
        "bytes=\xff-",
        "",
    ],
    ids=lambda wanted: wanted[:20],
)
def test_other_ranges(site: Site, wanted: str) -> None:
    """Any other is as none: the whole file once, and no error."""
    answer = site.ask("/assets/app.js", Range=wanted)
    assert (answer.status, answer.body) == (200, SCRIPT)


CONDITIONS = st.sampled_from(["Range", "If-Modified-Since", "If-None-Match", "If-Range", "Accept"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
DATES = st.sampled_from(
    [";", " ; ", "Sun", "Sun, 99 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 9999 99:99:99 GMT", "a-b-c d"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CONDITIONS, VALUES | DATES), max_size=4))
def test_any_condition(site: Site, headers: list[tuple[str, str]]) -> None:
    """No conditional header, however broken, makes an error."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
    with capturedLogs() as logs:
        wire = site.send(b"GET /serial.html HTTP/1.1\r\nHost: console.test\r\n" + lines + b"\r\n")
    assert Answer(wire.written).status in (200, 206, 304, 416)
    assert not any("log_failure" in event for event in logs)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_target(site: Site, target: bytes) -> None:
    """No target makes an error, a redirect, or shows what is outside the folder."""
    wire = site.send(b"GET /" + target + b" HTTP/1.1\r\nHost: console.test\r\n\r\n")
    if wire.written:
        answer = Answer(wire.written)
        assert answer.status < 500
        assert "Location" not in answer.headers
        assert b"secret" not in answer.body


# The log


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/serial.html", "GET", 200),
        ("/serial.html", "HEAD", 200),
        ("/nothing", "GET", 404),
        ("/a//b", "GET", 400),
        ("/serial.html", "POST", 405),
        ("/", "GET", 426),
    ],
)
def test_log(site: Site, target: str, method: str, status: int) -> None:
    """Each request leaves one line with its status and id, and without the query."""
    with capturedLogs() as logs:
        answer = site.ask(f"{target}?%74oken=secret-token", method)
    (event,) = [event for event in logs if event.get("event") == "page_request"]
    assert (event["path"], event["status"], event["src"]) == (target, status, "203.0.113.9")
    assert event["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert "secret-token" not in repr(logs)


def test_log_of_a_partial_answer(site: Site) -> None:
    """The logged status is the one that was sent."""
    with capturedLogs() as logs:
        site.ask("/assets/app.js", Range="bytes=0-9")
    assert [event["status"] for event in logs if "status" in event] == [206]


def test_log_of_a_lost_client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that goes away in the middle leaves its line, and no traceback."""
    monkeypatch.setattr(
        "twisted.internet._producer_helpers._PullToPush.startStreaming", lambda self: None
    )
    with capturedLogs() as logs:
        site.send(b"GET /assets/app.js HTTP/1.1\r\nHost: console.test\r\n\r\n").drop()
    assert [event["event"] for event in logs if "event" in event] == ["page_request"]
    assert not any("log_failure" in event for event in logs)


def test_viewers_of_other_replicas(folder: Path) -> None:
    """Another replica comes by its own address and with a ticket; without one it is a page."""
    site = Site(folder)
    asked = "GET /v1/replica/viewers HTTP/1.1\r\nHost: 10.0.0.11:6083\r\n"
    refused = site.send(asked.encode() + b"\r\n")
    assert refused.written.startswith(b"HTTP/1.1 403")
    site.send(asked.encode() + b"X-Consoled-Ticket: t\r\n\r\n")
    assert site.taken == [(b"/v1/replica/viewers", "a replica")]

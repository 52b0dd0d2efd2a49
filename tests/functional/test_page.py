"""The page in a real Chromium, over the static driver: looks, keys, frames, hostile guests."""

from __future__ import annotations

import functools
import http.server
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from backends import Backend, Handler, Recorder, backend, echo, saying, silent
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from tools.lab.certificates import make_pair
from tools.lab.daemon import Daemon, inventory, static_daemon
from tools.lab.ports import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# What a guest may try: clipboard, title, window, colour and device reports, links, markup.
HOSTILE = (
    b"\x1b]0;stolen title\x07"
    b"\x1b]52;c;c3RvbGVu\x07\x1b]52;c;?\x07"
    b"\x1b]4;1;?\x07\x1b]10;?\x07\x1b]11;?\x07"
    b"\x1b[21t\x1b[14t\x1b[8;10;10t"
    b"\x1bP$qm\x1b\\"
    b"\x1b]8;;javascript:document.title='stolen'\x07bad link\x1b]8;;\x07\r\n"
    b"\x1b]8;;https://example.org/\x07good link\x1b]8;;\x07\r\n"
    b"<img src=x onerror=\"document.title='stolen'\">\r\n"
    b"done\r\n"
)
RECORDER = Recorder()
HOSTILE_GUEST = Recorder(HOSTILE)
KINDS: dict[str, Handler] = {
    "recorder": RECORDER,
    "echo": echo,
    "silent": silent,
    "greeting": saying(b"login: "),
    "colours": saying(b"\x1b[31mred\x1b[0m \x1b[1;38;2;1;200;3mtrue\x1b[0m x_y\r\n"),
    "hostile": HOSTILE_GUEST,
    "<img src=x>": echo,
}


class World:
    """A daemon and one instance for each kind of backend."""

    def __init__(self, daemon: Daemon, backends: dict[str, Backend], ids: dict[str, str]) -> None:
        self.daemon = daemon
        self.backends = backends
        self.ids = ids

    def url(self, name: str) -> str:
        """A console URL of that instance."""
        return self.daemon.console_url(self.ids[name])


@contextmanager
def world_with(folder: Path, config: dict[str, dict[str, Any]]) -> Iterator[World]:
    """A daemon over backends of every kind."""
    with ExitStack() as stack:
        backends = {name: stack.enter_context(backend(kind)) for name, kind in KINDS.items()}
        ids = {name: str(uuid.uuid4()) for name in backends}
        instances: list[dict[str, object]] = [
            {
                "uuid": ids[name],
                "name": name,
                "project_id": "demo",
                "host": "rack1",
                "serial": [f"127.0.0.1:{one.port}"],
            }
            for name, one in backends.items()
        ]
        yield World(stack.enter_context(static_daemon(folder, instances, config)), backends, ids)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon with its defaults."""
    with world_with(tmp_path_factory.mktemp("page"), {}) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[ConsolePage]:
    """A fresh page, whose browser console must stay clean: no refused style, script or load."""
    with console_page(browser) as fresh:
        yield fresh
    assert fresh.complaints == []


def test_silent_console(world: World, page: ConsolePage) -> None:
    """Connected is not the same as alive: without output the page says so."""
    page.open(world.url("silent"))
    page.expect_state("Connected, no output yet")
    expect(page.page.locator("#instance-name")).to_have_text("silent")
    expect(page.page.locator("#console-index")).to_have_text("console 0")


def test_output_ends_the_silence(world: World, page: ConsolePage) -> None:
    """The first byte of output is what makes it Connected."""
    page.open(world.url("greeting"))
    page.expect_text("login:")
    page.expect_state("Connected")


def test_no_token(world: World, page: ConsolePage) -> None:
    """The page without a token says what it needs, and offers no blind retry."""
    page.open(world.url("echo").partition("?")[0])
    page.expect_state(re.compile("^Ended: .*token"))
    expect(page.page.locator("#reconnect")).to_be_hidden()


def test_bad_token(world: World, page: ConsolePage) -> None:
    """A token that is not valid is told in plain words, and what to do."""
    page.open(world.url("echo").partition("?")[0] + "?token=nonsense")
    page.expect_state(re.compile("^Ended: .*not valid"))
    page.screenshot("token-refused")


def test_the_cursor_is_there_while_typing_is(world: World, page: ConsolePage) -> None:
    """A cursor says that one may type: without a session there is none to be seen."""
    nothing = "rgba(0, 0, 0, 0)"
    page.open(world.url("greeting"))
    page.expect_text("login:")
    page.page.locator("#terminal").click()
    cursor = page.page.locator("#terminal .xterm-cursor")
    expect(cursor).not_to_have_css("background-color", nothing)
    world.daemon.request("DELETE", f"/v1/servers/{world.ids['greeting']}/sessions")
    page.expect_state(re.compile("^Ended: "))
    expect(cursor).to_have_css("background-color", nothing)
    expect(cursor).to_have_css("outline-style", "none")


def test_parameters_are_ignored(world: World, page: ConsolePage) -> None:
    """host, port and path in the address lead nowhere else (faults.md H8)."""
    sockets: list[str] = []
    page.page.on("websocket", lambda socket: sockets.append(socket.url))
    page.open(world.url("greeting") + "&host=evil.example&port=1&path=evil&redirect=//evil.example")
    page.expect_text("login:")
    place = f"127.0.0.1:{world.daemon.port}/serial.html"
    expect(page.page).to_have_url(f"http://{place}")
    assert [url.partition("?")[0] for url in sockets] == [f"ws://{place}"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Control+c", b"\x03"),
        ("Control+v", b"\x16"),
        ("Tab", b"\t"),
        ("Enter", b"\r"),
        ("Backspace", b"\x7f"),
        ("Escape", b"\x1b"),
        ("ArrowUp", b"\x1b[A"),
        ("F5", b"\x1b[15~"),
        ("Alt+x", b"\x1bx"),
    ],
)
def test_keys(world: World, page: ConsolePage, key: str, expected: bytes) -> None:
    """Control, cursor and function keys arrive as a terminal sends them."""
    page.open(world.url("recorder"))
    page.expect_state(re.compile("^Connected"))
    page.press(key)
    page.type("!")
    assert RECORDER.until(b"!") == expected + b"!"


def test_letters_beyond_ascii(world: World, page: ConsolePage) -> None:
    """Text arrives in UTF-8."""
    page.open(world.url("recorder"))
    page.expect_state(re.compile("^Connected"))
    page.type("é→😀!")
    assert RECORDER.until(b"!") == "é→😀!".encode()


def test_swallowed_keys_by_menu(world: World, page: ConsolePage) -> None:
    """Ctrl-W, which browsers keep for themselves, is sent from the menu, by keyboard alone."""
    page.open(world.url("recorder"))
    page.expect_state(re.compile("^Connected"))
    page.page.locator("#menu-keys").focus()
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#menu")).to_be_visible()
    page.page.keyboard.press("Enter")
    page.page.wait_for_function("() => document.activeElement.tagName === 'TEXTAREA'")
    page.page.keyboard.type("!")
    assert RECORDER.until(b"!") == b"\x17!"


@pytest.mark.parametrize(
    ("action", "expected"), [("key-control-t", b"\x14"), ("key-control-n", b"\x0e")]
)
def test_keys_of_the_menu(world: World, page: ConsolePage, action: str, expected: bytes) -> None:
    """The other swallowed keys, by a click."""
    page.open(world.url("recorder"))
    page.expect_state(re.compile("^Connected"))
    page.page.locator("#menu-keys").click()
    page.page.locator(f"[data-action={action}]").click()
    assert RECORDER.until(expected) == expected


def test_menus_close_with_escape(world: World, page: ConsolePage) -> None:
    """Escape closes a menu and gives the focus back."""
    page.open(world.url("echo"))
    page.page.locator("#menu-view").click()
    expect(page.page.locator("#menu")).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(page.page.locator("#menu")).to_be_hidden()


def test_copy(world: World, page: ConsolePage) -> None:
    """Selected text is copied by keyboard."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open(world.url("greeting"))
    page.expect_text("login:")
    page.page.locator("#menu-edit").click()
    page.page.locator("[data-action=select-all]").click()
    page.press("Control+Shift+C")
    page.page.wait_for_function(
        "async () => (await navigator.clipboard.readText()).includes('login:')"
    )


def test_paste(world: World, page: ConsolePage) -> None:
    """Text is pasted by keyboard and by menu; line breaks become returns."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open(world.url("recorder"))
    page.expect_state(re.compile("^Connected"))
    page.page.evaluate("() => navigator.clipboard.writeText('one\\ntwo!')")
    page.page.locator("#menu-edit").click()
    page.page.locator("[data-action=paste]").click()
    assert RECORDER.until(b"!") == b"one\rtwo!"
    page.press("Control+Shift+V")
    assert RECORDER.until(b"!") == b"one\rtwo!"


def test_text_size_is_remembered(world: World, page: ConsolePage) -> None:
    """A larger text stays after a reload."""
    page.open(world.url("echo"))
    page.expect_state(re.compile("^Connected"))
    rows = "() => document.querySelectorAll('.xterm-rows > div').length"
    before = page.rows()
    for _ in range(4):
        page.page.locator("#larger").click()
    page.page.wait_for_function(f"() => ({rows})() < {before}")
    page.page.reload()
    page.page.wait_for_function(f"() => ({rows})() > 0 && ({rows})() < {before}")


def test_themes(world: World, page: ConsolePage) -> None:
    """The page follows the system's light or dark, and may be told otherwise."""
    background = "() => getComputedStyle(document.body).backgroundColor"
    page.page.emulate_media(color_scheme="dark")
    page.open(world.url("colours"))
    page.expect_text("red")
    dark = page.page.evaluate(background)
    page.screenshot("dark")
    page.page.emulate_media(color_scheme="light")
    page.page.wait_for_function(f"() => ({background})() !== '{dark}'")
    page.screenshot("light")
    page.page.locator("#menu-view").click()
    page.page.locator("[data-action=theme-dark]").click()
    page.page.wait_for_function(f"() => ({background})() === '{dark}'")


def test_colours_under_the_policy(world: World, page: ConsolePage) -> None:
    """Colours are drawn although the policy forbids inline styles."""
    page.open(world.url("colours"))
    page.expect_text("x_y")
    rows = page.page.locator(".xterm-rows")
    plain = rows.evaluate("element => getComputedStyle(element).color")
    for word in ("red", "true"):
        expect(rows.locator("span", has_text=word).first).not_to_have_css("color", plain)


def test_screen_reader_mode(world: World, page: ConsolePage) -> None:
    """The switch gives screen readers the rows as a list."""
    page.open(world.url("greeting"))
    page.expect_text("login:")
    page.page.locator("#menu-view").click()
    page.page.locator("[data-action=screen-reader]").click()
    expect(page.page.locator(".xterm-accessibility [role=list]")).to_contain_text("login:")


def test_search(world: World, page: ConsolePage) -> None:
    """Text in the scrollback is found."""
    page.open(world.url("greeting"))
    page.expect_text("login:")
    page.press("Control+Shift+F")
    page.page.locator("#find-input").fill("log")
    expect(page.page.locator("#find-count")).to_have_text("1 of 1")
    page.page.locator("#find-input").fill("absent")
    expect(page.page.locator("#find-count")).to_have_text("No match")


def test_phone(world: World, browser: Browser) -> None:
    """At a phone's width everything is in reach and nothing is wider than the screen."""
    with console_page(browser, 360, 740) as page:
        page.open(world.url("colours"))
        page.expect_text("red")
        page.expect_no_wider()
        page.page.locator("#menu-all").click()
        expect(page.page.locator("[data-action=key-control-w]")).to_be_visible()
        page.screenshot("phone")
        assert page.complaints == []


def test_hostile_guest(world: World, page: ConsolePage) -> None:
    """A guest's output opens no clipboard, window, title or link of its own (faults.md L1)."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.open(world.url("hostile"))
    page.expect_text("done")
    page.expect_text("<img")
    expect(page.page).to_have_title("hostile — console 0")
    expect(page.page.locator("img")).to_have_count(0)
    page.page.evaluate("() => navigator.clipboard.writeText('mine')")
    # Colour and device answers are a terminal's duty; no clipboard and no title goes back.
    page.page.reload()
    page.expect_text("done")
    page.type("!")
    answers = HOSTILE_GUEST.until(b"!")
    assert b"bWluZQ" not in answers
    assert b"stolen" not in answers
    assert page.page.evaluate("() => navigator.clipboard.readText()") == "mine"


def test_name_with_markup(world: World, page: ConsolePage) -> None:
    """An instance's name is text, whatever is in it (faults.md H9)."""
    page.open(world.url("<img src=x>"))
    page.expect_state(re.compile("^Connected"))
    expect(page.page.locator("#instance-name")).to_have_text("<img src=x>")
    expect(page.page.locator("img")).to_have_count(0)


def test_daemon_restarts(browser: Browser, page: ConsolePage, tmp_path: Path) -> None:
    """A restart is told as such; afterwards the page finds the console with the same token."""
    with world_with(tmp_path, {}) as world:
        page.open(world.url("greeting"))
        page.expect_text("login:")
        world.daemon.stop()
        page.expect_state("Connection lost; reconnecting")
        expect(page.page.locator("#ended-reason")).to_contain_text("restarting")
        world.daemon.start()
        page.expect_state("Connected")
    # Attempts that the daemon did not answer.
    page.complaints = [text for text in page.complaints if "net::ERR_" not in text]


def test_over_tls(browser: Browser, tmp_path: Path) -> None:
    """Over TLS the page and its WebSocket work under the same policy."""
    certificate, key = make_pair("127.0.0.1").write(tmp_path)
    (port,) = free_ports(1)
    tls = {
        "cert": certificate,
        "key": key,
        "ssl_only": "true",
        "base_url": f"https://127.0.0.1:{port}/serial.html",
    }
    with backend(saying(b"login: ")) as console:
        instance = {
            "uuid": str(uuid.uuid4()),
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{console.port}"],
        }
        (tmp_path / "inventory.yaml").write_text(inventory(instance))
        config = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": tmp_path / "inventory.yaml"},
            "serial_console": tls,
        }
        with (
            Daemon(tmp_path, config, port=port) as daemon,
            console_page(browser, ignore_https_errors=True) as page,
        ):
            page.open(daemon.console_url(instance["uuid"]))
            page.expect_text("login:")
            page.type("secret")
            page.expect_text("secret")
            assert page.complaints == []


class Dashboard(http.server.SimpleHTTPRequestHandler):
    """Serves a page with a frame; the frame's address is in the query."""

    def do_GET(self) -> None:
        """The dashboard."""
        address = self.path.partition("?")[2]
        body = f'<!doctype html><iframe src="{address}" width=900 height=500></iframe>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def dashboard() -> Iterator[str]:
    """The origin of a dashboard, another site than the proxy's."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Dashboard))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


def test_frame_where_it_is_allowed(browser: Browser, tmp_path: Path) -> None:
    """A dashboard of an allowed origin may frame the page, and the console works in it."""
    with (
        dashboard() as origin,
        world_with(tmp_path, {"console": {"frame_ancestors": origin}}) as world,
        console_page(browser) as page,
    ):
        page.open(f"{origin}/?{world.url('echo')}")
        frame = page.page.frame_locator("iframe")
        expect(frame.locator("#state")).to_have_text(re.compile("^Connected"))
        frame.locator("#terminal").click()
        page.page.keyboard.type("framed")
        expect(frame.locator(".xterm-rows")).to_contain_text("framed")
        page.screenshot("framed")
        with dashboard() as other:
            _expect_no_frame(page, f"{other}/?{world.url('silent')}")


def test_frame_where_it_is_not(browser: Browser, world: World) -> None:
    """Without permission no other origin may frame the page."""
    with dashboard() as origin, console_page(browser) as page:
        _expect_no_frame(page, f"{origin}/?{world.url('silent')}")


def _expect_no_frame(page: ConsolePage, address: str) -> None:
    with page.page.expect_console_message(lambda said: "frame-ancestors" in said.text):
        page.open(address)
    expect(page.page.frame_locator("iframe").locator("#state")).to_have_count(0)

"""The page over breaks: reload, lost connection, a second window, a port that may be taken."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from backends import Backend, Recorder, backend
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, add_instance, static_daemon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, WebSocket, WebSocketRoute

RECONNECTING = re.compile("^Connection lost; reconnecting")
BROKEN = re.compile("WebSocket connection to|net::ERR_")
"""What a browser says of attempts that nobody answered."""

STATUS_REPORT = b"\x1b[5n"
"""A guest's question to its terminal; the answer ends with ``n`` as well."""


class Road:
    """A TCP proxy that breaks on demand, between the browser and the daemon.

    :param port: the daemon's.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._passes: int | None = None
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def cut(self, *, closed: bool = False) -> None:
        """Breaks every connection.

        :param closed: whether new ones are broken as well, until :meth:`mend`.
        """
        with self._lock:
            self._closed = closed
            broken, self._open = self._open, []
        for sock in broken:
            _break(sock)

    def cut_after(self, size: int) -> None:
        """Breaks every connection once so many bytes more have gone to the browser."""
        with self._lock:
            self._passes = size

    def mend(self) -> None:
        """Lets new connections through again."""
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut(closed=True)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                with suppress(OSError):
                    self._join(near, socket.create_connection(("127.0.0.1", self._target)))

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            closed = self._closed
            if not closed:
                self._open += [near, far]
        if closed:
            _break(near)
            _break(far)
            return
        for source, sink in ((near, far), (far, near)):
            down = sink is near
            threading.Thread(target=self._carry, args=(source, sink, down), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                passing = self._allowed(data) if down else data
                sink.sendall(passing)
                if len(passing) < len(data):
                    self.cut()
                    return
            sink.shutdown(socket.SHUT_WR)

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self._passes is None:
                return data
            passing, self._passes = data[: self._passes], self._passes - len(data)
            if self._passes < 0:
                self._passes = None
            return passing


def _break(sock: socket.socket) -> None:
    with suppress(OSError):
        # Without lingering the peer gets a reset, as from a middlebox that forgot the connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes a thread that waits in recv(), which close() alone does not.
        sock.shutdown(socket.SHUT_RD)
    sock.close()


class World:
    """A daemon, one instance, and the road to it."""

    def __init__(self, daemon: Daemon, guest: Backend, typed: Recorder, instance: str) -> None:
        self.daemon = daemon
        self.guest = guest
        self.typed = typed
        self.road = Road(daemon.port)
        self._instance = instance

    def url(self, key: str = ADMIN_KEY, *, by_road: bool = False) -> str:
        """A console URL of that user."""
        # By its index, or another user would be told already here that none is free.
        url = self.daemon.console_url(self._instance, 0, key=key)
        return url.replace(f":{self.daemon.port}/", f":{self.road.port}/") if by_road else url

    def serial(self) -> socket.socket:
        """The guest's end of the connection that the daemon makes next."""
        return self.guest.accepted.get(timeout=60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon; each test brings an instance of its own."""
    with static_daemon(tmp_path_factory.mktemp("consoled"), []) as running:
        yield running


@pytest.fixture
def world(daemon: Daemon) -> Iterator[World]:
    """An instance of its own for each test: what lingers in one is not met in another."""
    typed = Recorder()
    instance = {"uuid": str(uuid.uuid4()), "name": "web-1", "project_id": "demo", "host": "rack1"}
    with backend(typed) as guest:
        add_instance(daemon, {**instance, "serial": [f"127.0.0.1:{guest.port}"]})
        world = World(daemon, guest, typed, instance["uuid"])
        try:
            yield world
        finally:
            world.road.close()


@contextmanager
def window(browser: Browser, width: int = 1100, height: int = 640) -> Iterator[ConsolePage]:
    """A window whose browser console may only complain of broken connections."""
    with console_page(browser, width, height) as page:
        yield page
        assert [text for text in page.complaints if not BROKEN.search(text)] == []


class Frames:
    """The wire's bytes as a page's WebSockets bring them."""

    def __init__(self, page: ConsolePage) -> None:
        self.received = b""
        self.sockets = 0
        page.page.on("websocket", self._opened)

    def _opened(self, opened: WebSocket) -> None:
        self.sockets += 1
        opened.on("framereceived", self._frame)

    def _frame(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.received += payload


def lines(first: int, last: int, width: int = 8) -> bytes:
    """Numbered lines of that width."""
    return b"".join(b"%0*d\r\n" % (width - 2, number) for number in range(first, last))


def test_reload_finds_its_session(browser: Browser, world: World) -> None:
    """A reload shows the scrollback once and goes on, in the same connection to the guest."""
    with window(browser) as page:
        page.open(world.url())
        serial = world.serial()
        serial.sendall(b"first line\r\nsecond line\r\n")
        page.expect_text("second line")
        page.page.reload()
        page.expect_text("second line")
        serial.sendall(b"third line\r\n")
        page.expect_text("third line")
        page.expect_screen(["first line", "second line", "third line"])
        page.type("!")
        assert world.typed.until(b"!") == b"!"
        with pytest.raises(queue.Empty):
            world.guest.accepted.get_nowait()
        kept = page.page.evaluate("() => JSON.stringify(sessionStorage) + location.href")
        assert "resume" not in kept


def test_replay_is_not_answered(browser: Browser, world: World) -> None:
    """What the scrollback asks the terminal is not answered again: that would be typed."""
    with window(browser) as page:
        page.open(world.url())
        serial = world.serial()
        serial.sendall(b"asked: " + STATUS_REPORT)
        assert world.typed.until(b"n") == b"\x1b[0n"
        page.page.reload()
        page.expect_text("asked:")
        page.type("!")
        assert world.typed.until(b"!") == b"!"
        serial.sendall(STATUS_REPORT)
        assert world.typed.until(b"n") == b"\x1b[0n"


def test_second_window_takes_over(browser: Browser, world: World) -> None:
    """A second window of the same user is offered the console and gets it; the first is told."""
    with window(browser) as first, window(browser) as second:
        url = world.url()
        sockets = Frames(first)
        first.open(url)
        serial = world.serial()
        serial.sendall(b"hello there\r\n")
        first.expect_text("hello there")
        second.open(url)
        second.expect_state(re.compile(r"^Ended: you have had this console open in another window"))
        expect(second.page.locator("#ended-reason")).to_contain_text(re.compile(r"since .*\d:\d\d"))
        second.screenshot("take-over")
        second.page.locator("#take-over").click()
        second.expect_state("Connected")
        second.expect_text("hello there")
        first.expect_state(re.compile("^Ended: .*another window"))
        second.type("!")
        assert world.typed.until(b"!") == b"!"
        assert sockets.sockets == 1
        first.page.locator("#reconnect").click()
        expect(first.page.locator("#take-over")).to_be_visible()
        expect(second.page.locator("#state")).to_have_text("Connected")


def test_another_user_is_told_who(browser: Browser, world: World) -> None:
    """Somebody else reads who has the console since when; it is not theirs to take over."""
    with window(browser) as first, window(browser, 360, 740) as second:
        first.open(world.url(MEMBER_KEY))
        first.expect_state(re.compile("^Connected"))
        second.open(world.url())
        second.expect_state(re.compile("^Ended: user max has had this console open since"))
        expect(second.page.locator("#take-over")).to_be_hidden()
        expect(second.page.locator("#reconnect")).to_be_visible()
        second.expect_no_wider()
        second.screenshot("busy-phone")


def test_broken_connection_goes_on_by_itself(browser: Browser, world: World) -> None:
    """A cut in the middle of a frame, and output while nobody watches: no byte missing or twice."""
    with window(browser) as page:
        frames = Frames(page)
        page.open(world.url(by_road=True))
        serial = world.serial()
        sent = b"\x1b[31mred "
        serial.sendall(sent)
        page.expect_text("red")
        world.road.cut_after(100)
        burst = lines(0, 1000)
        serial.sendall(burst)
        sent += burst
        page.page.wait_for_function("() => document.body.innerText.includes('000999')")
        world.road.cut(closed=True)
        page.expect_state(RECONNECTING)
        expect(page.page.locator("#stop")).to_be_visible()
        page.type("never sent")
        page.screenshot("reconnecting")
        burst = lines(1000, 1020)
        serial.sendall(burst)
        sent += burst
        world.road.mend()
        page.expect_text("001019")
        page.expect_state("Connected")
        page.until(lambda: len(frames.received) >= len(sent))
        assert frames.received == sent
        page.expect_rows([f"{n:06}" for n in range(1000, 1020)])
        page.type("!")
        assert world.typed.until(b"!") == b"!"
        with pytest.raises(queue.Empty):
            world.guest.accepted.get_nowait()


def test_lost_output_is_told(browser: Browser, world: World) -> None:
    """What was printed beyond the scrollback while the connection was away is counted as lost."""
    with window(browser) as page:
        page.open(world.url(by_road=True))
        serial = world.serial()
        serial.sendall(b"before\r\n")
        page.expect_text("before")
        world.road.cut(closed=True)
        page.expect_state(RECONNECTING)
        # With a small send buffer, most has been read when the call returns.
        serial.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        serial.sendall(lines(0, 100_000) + b"after\r\n")
        world.road.mend()
        page.expect_text("after")
        page.expect_state("Connected")
        expect(page.page.locator("#notices")).to_contain_text(
            re.compile(r"^\d+ bytes of output were lost")
        )


def test_stop_and_reconnect(browser: Browser, world: World) -> None:
    """Stop ends the attempts; Reconnect goes on where the output was."""
    with window(browser) as page:
        page.open(world.url(by_road=True))
        serial = world.serial()
        serial.sendall(b"before\r\n")
        page.expect_text("before")
        world.road.cut(closed=True)
        page.expect_state(RECONNECTING)
        page.page.locator("#stop").click()
        page.expect_state(re.compile("^Ended: the connection was lost"))
        serial.sendall(b"after\r\n")
        world.road.mend()
        page.page.locator("#reconnect").click()
        page.expect_text("after")
        page.expect_screen(["before", "after"])


def test_new_session_has_a_clean_screen(browser: Browser, world: World) -> None:
    """A session after the daemon's restart starts on a clean screen, with the past above it."""
    with window(browser) as page:
        page.open(world.url())
        world.serial().sendall(b"\x1b[?1049h\x1b[7mbefore")
        page.expect_text("before")
        world.daemon.stop()
        page.expect_state(RECONNECTING)
        expect(page.page.locator("#ended-reason")).to_contain_text("restarting")
        world.daemon.start()
        serial = world.serial()
        serial.sendall(b"after")
        page.expect_text("after")
        page.expect_state("Connected")
        page.expect_screen(["after"])


def test_a_warning_that_typing_answers(browser: Browser, world: World) -> None:
    """A line that waits for typing goes with the first key; another one stays."""
    notice = '{"type": "notice", "kind": "warning", "text": "%s"%s}'

    def relay(page: WebSocketRoute) -> None:
        server = page.connect_to_server()

        def warn_too(message: str | bytes) -> None:
            page.send(message)
            if isinstance(message, str) and '"hello"' in message:
                page.send(notice % ("Idle.", ', "until": "typing"'))
                page.send(notice % ("Ends soon.", ""))

        server.on_message(warn_too)

    with window(browser) as page:
        page.page.route_web_socket(re.compile("/serial.html"), relay)
        page.open(world.url())
        lines_shown = page.page.locator("#notices .notice > span")
        expect(lines_shown).to_have_text(["Idle.", "Ends soon."])
        page.type("!")
        assert world.typed.until(b"!") == b"!"
        expect(lines_shown).to_have_text(["Ends soon."])


def test_typing_is_held_back(browser: Browser, world: World) -> None:
    """After a replica's death the port may be taken: typing waits for output or for consent."""
    with window(browser) as page:
        page.open(world.url())
        world.serial()
        page.expect_state("Connected, no output yet")
        os.kill(world.daemon.pid, signal.SIGKILL)
        world.daemon.stop()
        page.expect_state(RECONNECTING)
        world.daemon.start()
        expect(page.page.locator("#type-anyway")).to_be_visible(timeout=60_000)
        expect(page.page.locator("#notices")).to_contain_text("This is a new session")
        page.type("x")
        expect(page.page.locator("#held")).to_contain_text("What you typed was not sent")
        page.screenshot("held")
        page.page.locator("#type-anyway").click()
        expect(page.page.locator("#type-anyway")).to_be_hidden()
        page.page.keyboard.type("!")
        assert world.typed.until(b"!") == b"!"

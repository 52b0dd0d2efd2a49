"""Large pastes in the page: how far they are, and that they can be cancelled."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backends import Handler, Recorder, backend
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from tools.lab.daemon import Daemon, add_instance, static_daemon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

SIZE = 64 * 1024
RATE = 4000
"""Bytes a second: a paste of that size takes so long that it can be cancelled at leisure."""

CONNECTED = re.compile("^Connected")
PROGRESS = re.compile(r"^Pasting: (\d+\.\d) of 64\.0 KiB \((\d+) %\)$")
CANCELLED = re.compile(r"Paste cancelled: (\d+\.\d) of (?:64|256)\.0 KiB were sent\.")


def lines(size: int = SIZE) -> str:
    """Text of that many bytes, each line different, of characters of one to three bytes."""
    text = "".join(f"{number:05} gęś €\n" for number in range(size // 15 + 1))
    cut = text.encode()[:size].decode("utf-8", "ignore")
    return cut + "." * (size - len(cut.encode()))


class Deaf:
    """A console that reads nothing until the test lets it.

    :ivar reads: lets it.
    """

    def __init__(self) -> None:
        self.reads = threading.Event()
        self.typed = Recorder()

    def __call__(self, connection: socket.socket) -> None:
        """Serves one connection."""
        self.reads.wait(120)
        self.typed(connection)


class World:
    """A daemon and one instance, whose console is a backend of ours."""

    def __init__(self, daemon: Daemon, instance: str) -> None:
        self.daemon = daemon
        self._instance = instance

    def open(self, page: ConsolePage) -> None:
        """Opens the console in a page."""
        page.open(self.daemon.console_url(self._instance))
        page.expect_state(CONNECTED)

    def end_session(self) -> None:
        """Disconnects whoever is on the console."""
        self.daemon.request("DELETE", f"/v1/servers/{self._instance}/sessions")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[ConsolePage]:
    """A fresh page that may read the clipboard, and whose browser console must stay clean."""
    permissions = ["clipboard-read", "clipboard-write"]
    with console_page(browser, permissions=permissions) as fresh:
        yield fresh
    assert fresh.complaints == []


@contextmanager
def guest_of(daemon: Daemon, guest: Handler) -> Iterator[World]:
    """That guest, as an instance of a running daemon."""
    instance = {"uuid": str(uuid.uuid4()), "name": "web-1", "project_id": "demo", "host": "rack1"}
    with backend(guest) as listening:
        add_instance(daemon, {**instance, "serial": [f"127.0.0.1:{listening.port}"]})
        yield World(daemon, instance["uuid"])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of a low rate; each test brings an instance of its own."""
    config = {"proxy": {"paste_rate": RATE}}
    with static_daemon(tmp_path_factory.mktemp("consoled"), [], config) as running:
        yield running


@contextmanager
def serving(folder: Path, guest: Handler, paste_rate: int) -> Iterator[World]:
    """A daemon of that rate, over that guest."""
    config = {"proxy": {"paste_rate": paste_rate}}
    with static_daemon(folder, [], config) as daemon, guest_of(daemon, guest) as world:
        yield world


@pytest.fixture
def typed() -> Recorder:
    """What a guest that reads everything has got."""
    return Recorder()


@pytest.fixture
def world(daemon: Daemon, typed: Recorder) -> Iterator[World]:
    """A world whose guest reads everything, at that rate."""
    with guest_of(daemon, typed) as running:
        yield running


def paste(page: ConsolePage, text: str) -> None:
    """Pastes text by the keyboard, as a person does."""
    page.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.page.locator("#terminal").click()
    page.press("Control+Shift+V")


def bar(page: ConsolePage) -> Locator:
    """The line that shows how far a paste is."""
    return page.page.locator("#paste .notice > span")


def cancel(page: ConsolePage) -> Locator:
    """The button that cancels a paste."""
    return page.page.get_by_role("button", name="Cancel the paste")


def test_progress(world: World, typed: Recorder, page: ConsolePage) -> None:
    """The bar shows how far it is until all is there, and what is typed meanwhile comes after."""
    world.open(page)
    text = lines(5 * RATE) + "the end"
    paste(page, text)
    expect(bar(page)).to_have_text(re.compile("^Pasting: "))
    gauge = page.page.get_by_role("progressbar", name="Paste")
    expect(gauge).to_be_visible()
    spoken = page.page.locator("#paste-spoken")
    expect(spoken).to_have_attribute("aria-live", "polite")
    expect(spoken).to_have_text(re.compile(r"\([2-9]\d %\)$"))
    page.screenshot("paste")
    page.page.set_viewport_size({"width": 360, "height": 740})
    expect(cancel(page)).to_be_in_viewport()
    page.expect_no_wider()
    page.page.keyboard.press("Escape")
    page.page.keyboard.type("!")
    got = typed.until(b"!")
    assert got == text.replace("\n", "\r").encode() + b"\x1b!"
    expect(gauge).to_be_hidden()
    expect(page.page.locator("#notices .notice")).to_have_count(0)
    expect(page.page.locator(".xterm-helper-textarea")).to_be_focused()


def test_cancel(world: World, typed: Recorder, page: ConsolePage) -> None:
    """Cancel stops at once; the page says how much was sent, and just that has come."""
    world.open(page)
    paste(page, lines())
    expect(bar(page)).to_have_text(PROGRESS)
    cancel(page).click()
    said = page.said(page.page.locator("#notices .notice"), CANCELLED)
    page.screenshot("paste-cancelled")
    expect(bar(page)).to_be_hidden()
    expect(page.page.locator(".xterm-helper-textarea")).to_be_focused()
    page.page.keyboard.type("!")
    got = typed.until(b"!")[:-1]
    assert lines().replace("\n", "\r").startswith(got.decode())
    # A character that was cut is finished afterwards.
    assert abs(len(got) / 1024 - float(said[1])) < 0.06
    assert 0 < len(got) < SIZE


def test_interrupt(world: World, typed: Recorder, page: ConsolePage) -> None:
    """Ctrl-C cancels the rest and is not behind it."""
    world.open(page)
    paste(page, lines())
    expect(bar(page)).to_have_text(PROGRESS)
    page.press("Control+c")
    got = typed.until(b"\x03")
    assert 0 < len(got) < SIZE
    expect(page.page.locator("#notices .notice")).to_contain_text(CANCELLED)
    page.page.keyboard.type("!")
    assert typed.until(b"!") == b"!"


def test_bracketed(daemon: Daemon, page: ConsolePage) -> None:
    """A program that asked for it gets the brackets, also around a paste that was cancelled."""
    typed = Recorder(b"\x1b[?2004hready")
    with guest_of(daemon, typed) as world:
        world.open(page)
        page.expect_text("ready")
        paste(page, lines(2000))
        expected = lines(2000).replace("\n", "\r").encode()
        assert typed.until(b"\x1b[201~") == b"\x1b[200~" + expected + b"\x1b[201~"
        paste(page, lines())
        cancel(page).click()
        page.page.keyboard.type("!")
        got = typed.until(b"!")
        assert got.startswith(b"\x1b[200~00000")
        assert got.endswith(b"\x1b[201~!")
        assert got.count(b"\x1b") == 2
        assert got[6:-7].decode() in lines().replace("\n", "\r")


def test_a_guest_that_reads_nothing(tmp_path: Path, page: ConsolePage) -> None:
    """However fast it may go, no more goes than the guest reads, and Cancel works all the same."""
    guest = Deaf()
    with serving(tmp_path, guest, paste_rate=0) as world:
        world.open(page)
        text = lines(4 * SIZE)
        paste(page, text)
        cancel(page).click()
        said = page.said(page.page.locator("#notices .notice"), CANCELLED)
        page.screenshot("paste-stalled")
        # What the kernels on the way have taken is out of reach.
        assert 0 < float(said[1]) < 200
        guest.reads.set()
        page.page.keyboard.type("!")
        got = guest.typed.until(b"!")[:-1]
        assert text.replace("\n", "\r").startswith(got.decode())
        assert abs(len(got) / 1024 - float(said[1])) < 0.06


def test_disconnected(world: World, page: ConsolePage) -> None:
    """An end of the session drops the rest, and the page says how much was sent."""
    world.open(page)
    paste(page, lines())
    expect(bar(page)).to_have_text(PROGRESS)
    world.end_session()
    page.expect_state(re.compile("^Ended"))
    expect(bar(page)).to_be_hidden()
    notices = page.page.locator("#notices")
    expect(notices).to_contain_text(re.compile(r"Paste stopped: \d+\.\d of 64\.0 KiB were sent\."))


def test_a_small_paste_shows_nothing(world: World, typed: Recorder, page: ConsolePage) -> None:
    """A line or two go as if typed."""
    world.open(page)
    paste(page, "first\nsecond!")
    assert typed.until(b"!") == b"first\rsecond!"
    expect(page.page.locator("#paste .notice")).to_have_count(0)

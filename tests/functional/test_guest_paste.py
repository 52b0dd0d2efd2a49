"""A large paste into a real guest: it loses nothing of it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator

import pytest
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import Daemon
from tools.lab.guest import Guest
from tools.lab.libvirtd import PrivateLibvirtd

PATIENCE = 60.0
"""Seconds."""
SIZE = 64 * 1024
RATE = 11_520


def text() -> str:
    """64 KiB of lines, all different, with characters of one to four bytes."""
    lines = ""
    number = 0
    while len(lines.encode()) < SIZE:
        number += 1
        lines += f"{number:05} zażółć gęślą jaźń €😀 {'x' * (number % 61)}\n"
    cut = lines.encode()[: SIZE - 1].decode("utf-8", "ignore")
    return cut + "." * (SIZE - 1 - len(cut.encode())) + "\n"


TEXT = text()
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.fixture(scope="module")
def daemon(
    libvirtd: PrivateLibvirtd, guest: Guest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon over the private libvirt, with its defaults."""
    config = {"DEFAULT": {"driver": "libvirt"}, "libvirt": {"uri": libvirtd.uri}}
    with Daemon(tmp_path_factory.mktemp("paste"), config) as running:
        yield running


@pytest.fixture
def page() -> Iterator[ConsolePage]:
    """A page that may read the clipboard, and whose browser console must stay clean."""
    permissions = ["clipboard-read", "clipboard-write"]
    with chromium() as browser, console_page(browser, permissions=permissions) as fresh:
        yield fresh
    assert fresh.complaints == []


class Shell:
    """A guest's shell as a plain WebSocket client has it."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client
        self._unread = b""

    def type(self, data: str) -> None:
        """Sends input."""
        self._client.send(data.encode())

    def until(self, pattern: bytes) -> bytes:
        """The output up to the first match."""
        while (match := re.search(pattern, self._unread)) is None:
            message = self._client.recv(PATIENCE)
            assert isinstance(message, bytes)
            self._unread += message
        found, self._unread = self._unread[: match.end()], self._unread[match.end() :]
        return found


def test_over_a_plain_websocket(daemon: Daemon, guest: Guest) -> None:
    """A client without any control messages sends 64 KiB at once; the guest has all of it."""
    token = daemon.console_url(guest.uuid).partition("token=")[2]
    address = f"ws://127.0.0.1:{daemon.port}/?token={token}"
    with connect(address, subprotocols=[Subprotocol("binary")], compression=None) as client:
        shell = Shell(client)
        shell.type("\r")
        shell.until(b"# ")
        shell.type("cat > /tmp/pasted; echo left-$((40 + 2))\r")
        shell.until(rb"\+ 2\)\)\r\n")
        began = time.monotonic()
        shell.type(TEXT.replace("\n", "\r"))
        shell.until(re.escape(TEXT[-200:].replace("\n", "\r\n").encode()))
        assert time.monotonic() - began >= SIZE / RATE - 0.1
        shell.type("\x04")
        shell.until(b"left-42")
        shell.until(b"# ")
        shell.type("sha256sum /tmp/pasted; wc -c /tmp/pasted\r")
        assert DIGEST.encode() in shell.until(rb"\d+ /tmp/pasted\r\n")


def test_over_the_page(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """A person pastes 64 KiB in a real browser, and the guest has all of it."""
    page.open(daemon.console_url(guest.uuid))
    page.expect_state(re.compile("^Connected"))
    page.type("clear; echo at-$((40 + 2)); cat > /tmp/pasted-by-hand; echo left-$((40 + 2))\n")
    page.expect_text("at-42")
    page.page.evaluate("text => navigator.clipboard.writeText(text)", TEXT)
    page.press("Control+Shift+V")
    bar = page.page.get_by_role("progressbar", name="Paste")
    expect(bar).to_be_visible()
    expect(bar).to_be_hidden(timeout=4 * PATIENCE * 1000)
    page.expect_text(TEXT.rstrip("\n").rpartition("\n")[2])
    page.press("Control+d")
    page.expect_text("left-42")
    page.type("clear; sha256sum /tmp/pasted-by-hand\n")
    page.expect_text(DIGEST)
    page.screenshot("paste-in-a-guest")

"""Several people and one console: who watches, who asks for it, who takes it."""

from __future__ import annotations

import queue
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from backends import Backend, Recorder, backend
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, READER_KEY, Daemon, add_instance, static_daemon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

CONNECTED = re.compile("^Connected")
WATCHING = re.compile("^Watching")
COUNTDOWN = re.compile(r"^Asked max; the console is yours in (10|[1-9]) s\.")
REQUEST = re.compile(r"^ada asks for this console; it goes to them in (10|[1-9]) s\.")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


class World:
    """A daemon, one instance, and the windows of people who look at its console."""

    def __init__(
        self, daemon: Daemon, guest: Backend, typed: Recorder, instance: str, browser: Browser
    ) -> None:
        self.daemon = daemon
        self.guest = guest
        self.typed = typed
        self._instance = instance
        self._browser = browser
        self._stack = ExitStack()

    def window(
        self, key: str, role: str = "writer", *, width: int = 1100, height: int = 640
    ) -> ConsolePage:
        """A window that opens the console as that user, in that role."""
        path = f"/v1/servers/{self._instance}/consoles/0/tokens"
        answer = self.daemon.request("POST", path, key=key, body={"token": {"role": role}})
        assert answer.status == 201, answer.body
        page = self._stack.enter_context(console_page(self._browser, width, height))
        page.open(answer.body["token"]["url"])
        return page

    def serial(self) -> socket.socket:
        """The guest's end of the connection that the daemon makes next."""
        return self.guest.accepted.get(timeout=60)

    def close(self) -> None:
        """Closes all windows."""
        self._stack.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon; each test brings an instance of its own."""
    with static_daemon(tmp_path_factory.mktemp("consoled"), []) as running:
        yield running


@pytest.fixture
def world(daemon: Daemon, browser: Browser) -> Iterator[World]:
    """An instance of its own for each test."""
    typed = Recorder()
    instance = {"uuid": str(uuid.uuid4()), "name": "web-1", "project_id": "demo", "host": "rack1"}
    with backend(typed) as guest:
        add_instance(daemon, {**instance, "serial": [f"127.0.0.1:{guest.port}"]})
        world = World(daemon, guest, typed, instance["uuid"], browser)
        try:
            yield world
        finally:
            world.close()


def company(page: ConsolePage) -> Locator:
    """What the page says of who else is there."""
    return page.page.locator("#company-summary")


def turn(page: ConsolePage) -> Locator:
    """What the page says of whose turn is next."""
    return page.page.locator("#turn .notice > span[aria-hidden]")


def button(page: ConsolePage, name: str) -> Locator:
    """The button of that name."""
    return page.page.get_by_role("button", name=name, exact=True)


def asked_by(world: World, key: str = ADMIN_KEY) -> tuple[ConsolePage, ConsolePage]:
    """Max has the console, and somebody with that key asks for it: both windows."""
    holder = world.window(MEMBER_KEY)
    holder.expect_state(CONNECTED)
    asker = world.window(key)
    asker.expect_state(re.compile("^Ended: user max has had this console open"))
    button(asker, "Ask for it").click()
    return holder, asker


def test_an_observer_sees_and_does_not_type(world: World) -> None:
    """The output is live for both, what the observer does reaches nobody, both know of another."""
    writer = world.window(MEMBER_KEY)
    serial = world.serial()
    serial.sendall(b"before\r\n")
    writer.expect_text("before")
    expect(company(writer)).to_be_hidden()
    observer = world.window(READER_KEY, "observer")
    observer.expect_text("before")
    observer.expect_state("Watching")
    expect(company(writer)).to_have_text("rea is watching")
    expect(company(observer)).to_have_text("max has the console")
    hint = observer.page.locator("#hint")
    expect(hint).to_be_hidden()
    observer.type("x")
    expect(hint).to_contain_text("what you type goes nowhere")
    observer.screenshot("watching")
    observer.page.locator("#menu-edit").click()
    paste = observer.page.get_by_role("menuitem", name="Paste")
    expect(paste).to_have_attribute("aria-disabled", "true")
    observer.page.keyboard.press("Escape")
    # A question to the terminal is answered by the writer's alone.
    serial.sendall(b"after\x1b[5n\r\n")
    for page in (writer, observer):
        page.expect_text("after")
    assert world.typed.until(b"n") == b"\x1b[0n"
    observer.type("y")
    writer.type("!")
    assert world.typed.until(b"!") == b"!"
    with pytest.raises(queue.Empty):
        world.guest.accepted.get_nowait()
    observer.page.reload()
    observer.expect_state("Watching")
    observer.expect_text("after")
    expect(company(writer)).to_have_text("rea is watching")
    observer.page.goto("about:blank")
    expect(company(writer)).to_be_hidden()


def test_the_list_of_those_who_watch(world: World) -> None:
    """Of several their number is shown, and their names on a click; on a phone it fits."""
    first = world.window(READER_KEY, "observer", width=360, height=740)
    first.expect_state(WATCHING)
    expect(company(first)).to_be_hidden()
    writer = world.window(MEMBER_KEY)
    writer.expect_state(CONNECTED)
    world.window(ADMIN_KEY, "observer").expect_state(WATCHING)
    expect(company(writer)).to_have_text("2 watching")
    names = writer.page.locator("#company-list li")
    expect(names.first).to_be_hidden()
    company(writer).click()
    expect(names).to_have_text(["rea", "ada"])
    writer.screenshot("company")
    writer.page.keyboard.press("Escape")
    expect(names.first).to_be_hidden()
    writer.page.keyboard.type("!")
    assert world.typed.until(b"!") == b"!"
    expect(company(first)).to_have_text("max has the console, 1 more watching")
    company(first).click()
    first.screenshot("company-phone")
    first.expect_no_wider()


def test_asked_and_not_answered(world: World) -> None:
    """Both see the seconds go by; then the asker has the console and the holder reads who."""
    holder, asker = asked_by(world)
    serial = world.serial()
    expect(turn(asker)).to_have_text(COUNTDOWN)
    expect(turn(holder)).to_have_text(REQUEST)
    asker.expect_state("Asked max; waiting for the console")
    holder.screenshot("asked")
    asker.screenshot("asking")
    asker.type("too early")
    holder.type("!")
    assert world.typed.until(b"!") == b"!"
    # It has counted at least once.
    expect(turn(asker)).to_contain_text(re.compile(r"in [1-9] s"))
    holder.expect_state("Ended: ada took the console over")
    asker.expect_state(CONNECTED)
    for page in (holder, asker):
        expect(turn(page)).to_be_hidden()
    serial.sendall(b"still the same line\r\n")
    asker.expect_text("still the same line")
    asker.page.keyboard.type("?")
    assert world.typed.until(b"?") == b"?"
    with pytest.raises(queue.Empty):
        world.guest.accepted.get_nowait()


def test_handed_over(world: World) -> None:
    """The holder gives the console away at once."""
    holder, asker = asked_by(world)
    expect(turn(holder)).to_have_text(REQUEST)
    button(holder, "Hand over now").click()
    holder.expect_state("Ended: You handed the console over to ada")
    asker.expect_state(CONNECTED)
    asker.type("!")
    assert world.typed.until(b"!") == b"!"


def test_given_up(world: World) -> None:
    """Who does not want to wait finds the offer again, and the holder is left in peace."""
    holder, asker = asked_by(world)
    expect(turn(holder)).to_have_text(REQUEST)
    button(asker, "Cancel").click()
    asker.expect_state(re.compile("^Ended: user max has had this console open"))
    expect(button(asker, "Ask for it")).to_be_visible()
    expect(turn(asker)).to_be_hidden()
    expect(turn(holder)).to_be_hidden()
    holder.expect_state(CONNECTED)
    button(asker, "Ask for it").click()
    expect(turn(holder)).to_have_text(REQUEST)


def test_taken_by_force(world: World) -> None:
    """An admin takes it after a confirmation; a member may ask for it back, and no more."""
    holder = world.window(MEMBER_KEY)
    serial = world.serial()
    serial.sendall(b"a secret of max\r\n")
    holder.expect_text("a secret of max")
    admin = world.window(ADMIN_KEY, width=360, height=740)
    force = button(admin, "Take it now…")
    force.click()
    dialog = admin.page.locator("#force-dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    admin.screenshot("force-phone")
    admin.expect_no_wider()
    admin.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(holder.page.locator("#state")).to_have_text(CONNECTED)
    force.click()
    dialog.get_by_role("button", name="Take it now").click()
    holder.expect_state("Ended: ada took the console over")
    admin.expect_state(CONNECTED)
    admin.type("!")
    assert world.typed.until(b"!") == b"!"
    expect(admin.page.locator(".xterm-rows")).not_to_contain_text("secret")
    button(holder, "Reconnect").click()
    holder.expect_state(re.compile("^Ended: user ada has had this console open"))
    expect(button(holder, "Ask for it")).to_be_visible()
    expect(holder.page.locator("#force")).to_be_hidden()

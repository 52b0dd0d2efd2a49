"""BREAK and SysRq from the page's menu, to a real guest and past one that takes none."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from backends import backend, echo
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from consoled.recording.folder import RecordingFolder
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, static_daemon
from tools.lab.guest import Guest
from tools.lab.libvirtd import PrivateLibvirtd

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

CONNECTED = re.compile("^Connected")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[ConsolePage]:
    """A fresh page, whose browser console must stay clean."""
    with console_page(browser) as fresh:
        yield fresh
    assert fresh.complaints == []


@pytest.fixture(scope="module")
def daemon(libvirtd: PrivateLibvirtd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon over the private libvirt that records."""
    config: dict[str, dict[str, object]] = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"uri": libvirtd.uri},
        "serial_console": {"record": True},
        "recording": {"headroom": 0},
    }
    with Daemon(tmp_path_factory.mktemp("consoled"), config) as running:
        yield running


@pytest.fixture
def listening(guest: Guest) -> Guest:
    """The guest, which takes every SysRq."""
    with guest.serial(0) as line:
        line.run("echo 1 > /proc/sys/kernel/sysrq")
    return guest


def entry(page: ConsolePage, name: str) -> Locator:
    """The menu's entry of that name."""
    return page.page.get_by_role("menuitem", name=name)


def open_sysrq(page: ConsolePage, menu: str = "Keys") -> None:
    """Opens the menu of SysRq."""
    page.page.get_by_role("button", name=menu, exact=True).click()
    entry(page, "SysRq…").click()


def notice(page: ConsolePage) -> Locator:
    """What the page says to the person."""
    return page.page.locator("#notices .notice")


def recorded(daemon: Daemon, session: str) -> list[Any]:
    """The markers of a session's recording."""
    path = RecordingFolder(daemon.folder / "state/recordings").place(session)
    lines = path.read_text().splitlines()
    events = [json.loads(line) for line in lines[1:] if not line.startswith("#")]
    return [event[2] for event in events if event[1] == "m"]


def test_help_of_a_real_guest(daemon: Daemon, listening: Guest, page: ConsolePage) -> None:
    """A BREAK and the key from the menu: the guest's kernel answers; log and recording say who."""
    page.open(daemon.console_url(listening.uuid, 0))
    page.expect_state(CONNECTED)
    page.type("clear\n")
    open_sysrq(page)
    page.screenshot("sysrq-menu")
    entry(page, "h Help").click()
    page.expect_text("sysrq: HELP")
    expect(notice(page)).to_contain_text("SysRq h was sent.")
    page.page.keyboard.type("clear; echo still $((40 + 2))\n")
    page.expect_text("still 42")
    expect(notice(page)).to_have_count(0)
    sent = daemon.wait_for_event("break_sent", instance_uuid=listening.uuid, sysrq="h")
    assert (sent["user_id"], sent["index"]) == ("ada", 0)
    assert sent["request_id"].startswith("req-")
    page.page.get_by_role("button", name="Keys", exact=True).click()
    entry(page, "Send BREAK").click()
    expect(notice(page)).to_contain_text("BREAK was sent.")
    page.page.goto("about:blank")
    path = f"/v1/sessions/{sent['session_id']}"
    assert daemon.request("DELETE", path).status in (202, 404)
    daemon.wait_for_event("recording_ended", session_id=sent["session_id"])
    markers = recorded(daemon, sent["session_id"])
    assert [text for text in markers if "BREAK" in text] == ["BREAK, SysRq h", "BREAK"]


def test_restarting_a_guest(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest: Guest, browser: Browser
) -> None:
    """What stops a guest is asked about first, on a phone as well; then it is done."""
    with (
        Guest(libvirtd, guest.image, "restarting", project="demo") as other,
        console_page(browser, width=360, height=740) as page,
    ):
        other.wait_for_shells()
        page.open(daemon.console_url(other.uuid, 0))
        page.expect_state(CONNECTED)
        page.type("echo 1 > /proc/sys/kernel/sysrq; clear; echo ready $((40 + 2))\n")
        page.expect_text("ready 42")
        dialog = page.page.locator("#sysrq-dialog")
        open_sysrq(page, "Menu")
        entry(page, "b Restart at once…").click()
        expect(dialog).to_contain_text("Send SysRq b to restarting?")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.screenshot("sysrq-phone")
        page.expect_no_wider()
        page.page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.page.keyboard.type("echo not sent $((40 + 3))\n")
        page.expect_text("not sent 43")
        open_sysrq(page, "Menu")
        entry(page, "b Restart at once…").click()
        dialog.get_by_role("button", name="Send SysRq b").click()
        page.expect_text("sysrq: Resetting")
        assert page.complaints == []


def test_whom_it_is_not_offered(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """A member's page has no such entries by default: policy says whose has them."""
    page.open(daemon.console_url(guest.uuid, 1, key=MEMBER_KEY))
    page.expect_state(CONNECTED)
    page.page.get_by_role("button", name="Keys", exact=True).click()
    expect(entry(page, "Tab")).to_be_visible()
    expect(entry(page, "Send BREAK")).to_have_count(0)
    expect(entry(page, "SysRq…")).to_have_count(0)


def test_a_driver_that_cannot(tmp_path: Path, page: ConsolePage) -> None:
    """Nor has an administrator's, of a console that is a plain TCP endpoint; REST says why."""
    instance = {"uuid": str(uuid.uuid4()), "name": "echo", "project_id": "demo", "host": "rack1"}
    with backend(echo) as guest:
        entries = [{**instance, "serial": [f"127.0.0.1:{guest.port}"]}]
        with static_daemon(tmp_path, entries) as plain:
            page.open(plain.console_url(instance["uuid"], key=ADMIN_KEY))
            page.expect_state(CONNECTED)
            page.page.get_by_role("button", name="Keys", exact=True).click()
            expect(entry(page, "Tab")).to_be_visible()
            expect(entry(page, "Send BREAK")).to_have_count(0)
            path = f"/v1/servers/{instance['uuid']}/consoles/0/break"
            answer = plain.request("POST", path)
            assert answer.status == 400
            message = answer.body["badRequest"]["message"]
            assert "the driver static knows nothing of it but its address" in message

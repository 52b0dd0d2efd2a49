"""The main job: a person opens a real guest's serial console in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chromium import ConsolePage, chromium, console_page
from playwright.sync_api import expect

from tools.lab.daemon import MEMBER_KEY, STRANGER_KEY, Daemon
from tools.lab.guest import Guest
from tools.lab.libvirtd import PrivateLibvirtd

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def daemon(
    libvirtd: PrivateLibvirtd, guest: Guest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon over the private libvirt."""
    config = {"DEFAULT": {"driver": "libvirt"}, "libvirt": {"uri": libvirtd.uri}}
    with Daemon(tmp_path_factory.mktemp("consoled"), config) as running:
        yield running


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


def test_servers(daemon: Daemon, guest: Guest) -> None:
    """The API lists the guest with its project from nova's metadata, and both its consoles."""
    servers = daemon.request("GET", "/v1/servers", key=MEMBER_KEY).body["servers"]
    assert [(s["id"], s["name"], s["status"]) for s in servers] == [
        (guest.uuid, guest.name, "running")
    ]
    consoles = daemon.request("GET", f"/v1/servers/{guest.uuid}/consoles").body["consoles"]
    assert [(c["index"], c["port"]) for c in consoles] == list(enumerate(guest.serial_ports))


def test_another_project_sees_nothing(daemon: Daemon, guest: Guest) -> None:
    """Another project's guest does not exist for a stranger."""
    assert daemon.request("GET", "/v1/servers", key=STRANGER_KEY).body["servers"] == []
    path = f"/v3/servers/{guest.uuid}/get-serial-console"
    assert daemon.request("POST", path, key=STRANGER_KEY).status == 404


def test_uname_in_the_browser(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """A person opens the URL, types ``uname -a``, and reads the guest's answer."""
    url = daemon.console_url(guest.uuid, key=MEMBER_KEY)
    page.open(url)
    page.expect_state(re.compile("^Connected"))
    page.type("clear; uname -a; hostname; cat /proc/cpuinfo | head -5\n")
    page.expect_text(re.compile(r"Linux guest-1 .* x86_64"))
    page.expect_text("QEMU Virtual CPU")
    page.expect_state("Connected")
    expect(page.page).to_have_title("guest-1 — console 0")
    page.screenshot("console")
    _token_left_no_trace(url, daemon, page)


def _token_left_no_trace(url: str, daemon: Daemon, page: ConsolePage) -> None:
    token = url.partition("token=")[2]
    tab = page.page
    assert token not in tab.url
    assert token not in tab.content()
    assert token not in tab.evaluate("() => JSON.stringify(localStorage)")
    assert token not in daemon.log.read_text()
    assert not [
        path
        for path in Path(daemon.folder / "state").iterdir()
        if token.encode() in path.read_bytes()
    ]


def test_second_port(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """The second serial port is a console of its own."""
    page.open(daemon.console_url(guest.uuid, 1))
    page.expect_state(re.compile("^Connected"))
    page.type("clear; tty\n")
    page.expect_text("/dev/ttyS1")


def test_flood_and_interrupt(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """A flooding guest leaves the page alive, and ^C stops it (faults.md F2, F4)."""
    page.open(daemon.console_url(guest.uuid, 0))
    page.expect_state(re.compile("^Connected"))
    page.type("clear; yes flooded\n")
    page.expect_text("flooded")
    page.press("Control+c")
    page.type("clear; echo still $((40 + 2))\n")
    page.expect_text("still 42")


def test_reload_keeps_the_console(daemon: Daemon, guest: Guest, page: ConsolePage) -> None:
    """A reload finds its console again, though the token is not in the address any more."""
    page.open(daemon.console_url(guest.uuid, 0))
    page.expect_state(re.compile("^Connected"))
    page.page.reload()
    page.expect_state(re.compile("^Connected"))
    page.type("clear; echo back $((40 + 2))\n")
    page.expect_text("back 42")


def test_second_viewer_is_told(
    daemon: Daemon, guest: Guest, page: ConsolePage, browser: Browser
) -> None:
    """A second person is told that the console is in use; the first goes on; then it is free."""
    page.open(daemon.console_url(guest.uuid, 0))
    page.expect_state(re.compile("^Connected"))
    with console_page(browser) as second:
        second.open(daemon.console_url(guest.uuid, 0))
        second.expect_state(
            re.compile("^Ended: you have (had )?this console open in another window")
        )
        page.type("clear; echo mine $((40 + 2))\n")
        page.expect_text("mine 42")
        page.page.goto("about:blank")
        second.page.locator("#reconnect").click()
        second.expect_state(re.compile("^Connected"))


def test_stopped_guest(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest: Guest, page: ConsolePage
) -> None:
    """A guest that stops ends its sessions with the reason, and gives no URL until it runs."""
    other = Guest(libvirtd, guest.image, "stopping", serial_ports=None)
    with other:
        page.open(daemon.console_url(other.uuid))
        page.expect_state(re.compile("^Connected"))
        other.destroy()
        page.expect_state(re.compile("^stopping has stopped; waiting for its start"))
        page.page.locator("#stop").click()
        page.expect_state(re.compile("^Ended: stopping has stopped"))
        page.screenshot("stopped")
        path = f"/v3/servers/{other.uuid}/get-serial-console"
        answer = daemon.request("POST", path)
        assert answer.status == 409
        assert "start it" in answer.body["conflictingRequest"]["message"]
        page.page.locator("#reconnect").click()
        page.expect_state(re.compile("^Ended: stopping is not running"))


def test_deleted_guest(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest: Guest, page: ConsolePage
) -> None:
    """A deleted guest's token opens nothing (faults.md T4)."""
    with Guest(libvirtd, guest.image, "passing") as other:
        url = daemon.console_url(other.uuid)
    page.open(url)
    # The token goes with the instance, a moment after it.
    page.expect_state(re.compile("^Ended: .*(does not exist|is not valid)"))


def test_port_of_a_stopped_guest_goes_to_another(
    daemon: Daemon, libvirtd: PrivateLibvirtd, guest: Guest, page: ConsolePage
) -> None:
    """A token never reaches the guest that got the port next (faults.md T4; nova's hole)."""
    first = Guest(libvirtd, guest.image, "first-tenant", project="demo")
    with first:
        url = daemon.console_url(first.uuid)
        first.destroy()
        ports = first.serial_ports
        with Guest(libvirtd, guest.image, "next-tenant", serial_ports=ports, project="other"):
            page.open(url)
            page.expect_state(re.compile("^Ended: first-tenant is not running"))

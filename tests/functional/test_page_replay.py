"""Recordings replayed in a real Chromium: a real session's, long, large and hostile ones."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from backends import Recorder, backend
from chromium import ConsolePage, chromium, console_page
from fault_world import until
from playwright.sync_api import expect
from websockets.sync.client import connect

from consoled.recording.folder import RecordingFolder
from consoled.recording.values import Facts
from consoled.recording.writer import Recording, RecordingWriter, Rules, Silent
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, READER_KEY, STRANGER_KEY, Daemon, static_daemon

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Route

WEB = "2f9e1b6e-3c43-4f6e-9b0a-000000000001"
BEGAN = 1_767_225_600
HOUR = 3600.0

# What a guest may try in a replay: clipboard, title, links, markup, reports, its own size, strings
# without an end.
HOSTILE = (
    b"\x1b]0;stolen title\x07\x1b]52;c;c3RvbGVu\x07\x1b]52;c;?\x07\x1b]10;?\x07"
    b"\x1b[21t\x1b[8;60000;60000t\x1b[6n\x1b[c\x1bP$qm\x1b\\"
    b"\x1b]8;;javascript:document.title='stolen'\x07bad link\x1b]8;;\x07\r\n"
    b"\x1b]8;;https://example.org/\x07good link\x1b]8;;\x07 https://example.org/plain\r\n"
    b"<img src=x onerror=\"document.title='stolen'\">\r\n"
    b"x\x1b[99999999b\x1b[99999999;99999999H\x1b[99999999S\x1b[2J\x1b[H"
    b"\xff\xfe raw bytes\r\n"
    b"still here\r\n"
)
ENDLESS = b"\x1b]0;" + b"never " * 5000


class Reel:
    """Makes recordings as a daemon leaves them, by a clock of its own.

    :param folder: where they lie.
    """

    def __init__(self, folder: RecordingFolder) -> None:
        self.folder = folder
        self.now = 0.0

    def record(self, name: str, act: Callable[[Recording, Reel], None], **facts: str) -> str:
        """The id of a recording of an instance of that name.

        :param act: what happens.
        """
        session = str(uuid.uuid4())
        values = {"project_id": "demo", "user_id": "max", "host": "elsewhere"} | facts
        about = Facts(session, WEB, name, console_index=0, started=BEGAN, **values)
        self.now = 0.0
        writer = RecordingWriter(
            self.folder,
            Rules(),
            lambda call: call(),
            seconds=lambda: self.now,
            free=lambda: 1 << 40,
        )
        recording = Recording(about, True, Silent(), lambda ending: None, writer)
        act(recording, self)
        recording.close()
        while writer.step():
            pass
        return session


def an_hour(recording: Recording, reel: Reel) -> None:
    """A session with a login, a long silence, and work at its end."""
    recording.marker("attach max")
    recording.output(b"web-1 \x1b[32mlogin\x1b[0m: ")
    reel.now = 1.0
    recording.output(b"max\r\nWelcome\r\n")
    recording.resize(100, 30)
    reel.now = HOUR
    recording.marker("BREAK")
    recording.output(b"\x1b[2J\x1b[HSysRq: \x1b[31mHelp\x1b[0m\r\n")
    reel.now = HOUR + 1
    recording.output("grüße, \x1b[1mWel\x1b[0mcome back\r\n".encode())
    reel.now = HOUR + 2
    recording.output(b"bye\r\n")
    recording.marker("detach max")


def hostile(recording: Recording, reel: Reel) -> None:
    """All that a guest may try, at once; the marks too are from elsewhere."""
    recording.output(HOSTILE)
    recording.marker("\u202e<b>mark</b>")
    reel.now = 1.0
    recording.output(ENDLESS)


class World:
    """A daemon with recordings, and the windows that play them."""

    def __init__(self, daemon: Daemon, folder: RecordingFolder, names: dict[str, str]) -> None:
        self.daemon = daemon
        self.folder = folder
        self.names = names

    def url(self, session: str, key: str = MEMBER_KEY) -> str:
        """A link to replay one."""
        answer = self.daemon.request("POST", f"/v1/recordings/{session}/tokens", key=key)
        assert answer.status == 201, answer.body
        return str(answer.body["token"]["url"])


def endless_file(folder: RecordingFolder, session: str) -> None:
    """Turns a recording into one of a few hundred thousand events."""
    path = folder.place(session)
    head, about, *_ = path.read_bytes().splitlines(keepends=True)
    with path.open("wb") as file:
        file.write(head + about)
        file.write(b'[0.001, "o", "beginning\\r\\n"]\n')
        file.write(b'[0.001, "o", "."]\n' * 450_000)
        file.write(b'[0.001, "o", "the far end"]\n')


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests."""
    path = tmp_path_factory.mktemp("replay")
    folder = RecordingFolder(path / "state" / "recordings")
    folder.make()
    reel = Reel(folder)
    names = {
        "hour": reel.record("web-1", an_hour),
        "hostile": reel.record("<img src=x>", hostile),
        "endless": reel.record("endless", lambda recording, reel: recording.output(b"x")),
        "away": reel.record("away", an_hour),
        "gone": reel.record("gone", an_hour),
        "spoilt": reel.record("spoilt", an_hour),
    }
    endless_file(folder, names["endless"])
    folder.place(names["spoilt"]).write_bytes(
        b"".join(folder.place(names["spoilt"]).read_bytes().splitlines(keepends=True)[:2])
        + b"[1, 2]\n"
    )
    config = {"serial_console": {"record": True}, "recording": {"headroom": 0}}
    with backend(Recorder(b"hello from web-2\r\n")) as guest:
        instance = {
            "uuid": WEB,
            "name": "web-2",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{guest.port}"],
        }
        with static_daemon(path, [instance], config) as daemon:
            for session in names.values():
                daemon.wait_for_event("recording_adopted", session_id=session)
            yield World(daemon, folder, names)


@pytest.fixture
def page(browser: Browser) -> Iterator[ConsolePage]:
    """A window that does not play by itself, so that each test knows where it is."""
    with console_page(browser, reduced_motion="reduce") as page:
        yield page


def screen(page: ConsolePage) -> Locator:
    """What the player shows."""
    return page.page.locator(".ap-term-text")


def press(page: ConsolePage, *keys: str) -> None:
    """Presses keys while the screen has the focus."""
    for key in keys:
        page.page.locator("#screen").press(key)


def hits(page: ConsolePage, words: str) -> Locator:
    """The places where the words stand, as the panel lists them."""
    page.page.locator("#search-input").fill(words)
    page.page.locator("#search-input").press("Enter")
    return page.page.locator("#hits button")


def test_a_session_is_replayed(world: World, browser: Browser) -> None:
    """What a session showed plays by itself, opened by a URL, and nothing goes to the guest."""
    daemon = world.daemon
    before = len(daemon.events())
    with connect(daemon.ws_url(WEB, 0), compression=None) as client:
        assert client.recv(60) == b"hello from web-2\r\n"
        opened = str(daemon.wait_for_event("session_opened", since=before)["session_id"])
    daemon.wait_for_event("recording_ended", since=before)
    url = world.url(opened)
    token = url.partition("token=")[2]
    assert len(token) == 43
    sockets: list[str] = []
    with console_page(browser) as page:
        page.page.on("websocket", lambda socket: sockets.append(socket.url))
        page.open(url)
        expect(screen(page)).to_contain_text("hello from web-2")
        page.expect_state("At the end")
        expect(page.page).to_have_url(url.partition("?")[0])
        expect(page.page).to_have_title("web-2 (recording)")
        expect(page.page.locator("#instance-name")).to_have_text("web-2")
        expect(page.page.locator("#about")).to_contain_text("Session of max")
        expect(page.page.locator("#marks")).to_contain_text("attach max")
        expect(page.page.locator("#notices")).to_be_empty()
        page.page.reload()
        page.expect_state("At the end")
        assert token not in page.page.content()
        assert page.complaints == []
    assert sockets == []
    read = daemon.wait_for_event("recording_read", since=before, session_id=opened)
    issued = daemon.wait_for_event("replay_issued", since=before, session_id=opened)
    assert (read["user_id"], read["token_id"]) == ("max", issued["token_id"])
    assert token not in daemon.log.read_text()


def test_a_session_that_goes_on(world: World, page: ConsolePage) -> None:
    """What there is of a recording plays while its session goes on, and the page says so."""
    daemon = world.daemon
    before = len(daemon.events())
    with connect(daemon.ws_url(WEB, 0), compression=None) as client:
        assert client.recv(60) == b"hello from web-2\r\n"
        opened = str(daemon.wait_for_event("session_opened", since=before)["session_id"])
        place = world.folder.place(opened)
        until(
            daemon,
            "the recording is listed, and its output is written",
            lambda: (
                daemon.request("GET", f"/v1/recordings/{opened}").status == 200
                and place.exists()
                and b"web-2\\r" in place.read_bytes()
            ),
        )
        page.open(world.url(opened))
        expect(page.page.locator("#notices")).to_contain_text("is not over")
        press(page, "End")
        expect(screen(page)).to_contain_text("hello from web-2")
    assert page.complaints == []


def test_seek(world: World, page: ConsolePage) -> None:
    """Slider, buttons, keys and marks go to a moment, back and forth, at once."""
    page.open(world.url(world.names["hour"]))
    page.expect_state("Paused")
    time = page.page.locator("#time")
    # The hour between is two seconds where idle time is skipped.
    expect(time).to_have_text("0:00 / 0:05")
    expect(screen(page)).to_contain_text("login:")
    press(page, "End")
    expect(screen(page)).to_contain_text("bye")
    expect(screen(page)).not_to_contain_text("login:")
    page.expect_state("At the end")
    page.page.locator("#skip").uncheck()
    expect(time).to_have_text("1:00:02 / 1:00:02")
    page.page.get_by_role("button", name="10 seconds back").click()
    expect(time).to_have_text("59:52 / 1:00:02")
    expect(screen(page)).to_contain_text("Welcome")
    page.page.locator("#position").fill("0.5")
    expect(time).to_have_text("0:00 / 1:00:02")
    expect(screen(page)).not_to_contain_text("Welcome")
    press(page, "]")
    expect(screen(page)).to_contain_text("SysRq")
    expect(page.page.locator("#position")).to_have_attribute("aria-valuetext", "1:00:00 of 1:00:02")
    press(page, "[")
    expect(time).to_have_text("0:00 / 1:00:02")
    press(page, "Shift+ArrowRight")
    expect(time).to_have_text("1:00 / 1:00:02")
    page.page.locator("#marks button", has_text="detach").click()
    expect(screen(page)).to_contain_text("bye")
    clock = page.page.locator("#clock")
    expect(clock).to_have_attribute("datetime", "2026-01-01T01:00:02.000Z")
    assert page.complaints == []


def test_speed(world: World, page: ConsolePage) -> None:
    """A chosen speed takes the replay where it is, paused or not, and it plays to its end."""
    page.open(world.url(world.names["hour"]))
    page.expect_state("Paused")
    press(page, "Home", "Space")
    page.expect_state("Playing")
    expect(page.page.locator("#play")).to_have_text("Pause")
    press(page, ">", ">", ">", ">")
    expect(page.page.locator("#speed")).to_have_value("16")
    page.expect_state("At the end")
    expect(screen(page)).to_contain_text("bye")
    page.page.locator("#speed").select_option("0.5")
    page.expect_state("At the end")
    expect(page.page.locator("#time")).to_have_text("0:05 / 0:05")
    press(page, "Home", "Space")
    page.expect_state("Playing")
    press(page, "Space")
    page.expect_state("Paused")
    assert page.complaints == []


def test_search(world: World, page: ConsolePage) -> None:
    """Words are found across colours and in any case; each place shows its moment."""
    page.open(world.url(world.names["hour"]))
    page.expect_state("Paused")
    press(page, "/")
    expect(page.page.locator("#search-input")).to_be_focused()
    found = hits(page, "welCOME")
    expect(found).to_have_count(2)
    expect(page.page.locator("#search-count")).to_have_text("1 of 2")
    expect(screen(page)).to_contain_text("Welcome")
    page.page.get_by_role("button", name="Next place").click()
    expect(page.page.locator("#search-count")).to_have_text("2 of 2")
    expect(found.nth(1)).to_have_text("1:00:01grüße, Welcome back")
    expect(screen(page)).to_contain_text("grüße, Welcome back")
    expect(screen(page)).not_to_contain_text("bye")
    found.first.click()
    expect(screen(page)).not_to_contain_text("SysRq")
    expect(hits(page, "nowhere")).to_have_count(0)
    expect(page.page.locator("#search-count")).to_have_text("Not found")
    page.page.locator("#search-input").press("Escape")
    expect(page.page.locator("#screen")).to_be_focused()
    hits(page, "Welcome")
    page.screenshot("replay")
    assert page.complaints == []


def test_hostile_recording(world: World, page: ConsolePage) -> None:
    """L2: a recording opens no clipboard, window, title, link or size of its own."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.page.on("request", lambda request: asked.append(request.url))
    asked: list[str] = []
    page.open(world.url(world.names["hostile"]))
    page.page.evaluate("() => navigator.clipboard.writeText('mine')")
    page.expect_state("Paused")
    press(page, "End")
    expect(screen(page)).to_contain_text("still here")
    expect(screen(page)).not_to_contain_text("never")
    expect(page.page).to_have_title("<img src=x> (recording)")
    expect(page.page.locator("img, a[href]")).to_have_count(0)
    expect(page.page.locator(".ap-term-text .ap-line")).to_have_count(24)
    expect(page.page.locator("#marks")).to_have_text("0:00<b>mark</b>")
    expect(hits(page, "onerror")).to_have_count(1)
    expect(page.page.locator("img")).to_have_count(0)
    expect(hits(page, "https://example.org/plain")).to_have_count(1)
    page.page.locator("#hits button").click()
    assert page.page.evaluate("() => navigator.clipboard.readText()") == "mine"
    assert len(page.context.pages) == 1
    root = world.daemon.base_url.removesuffix("serial.html")
    assert [url for url in asked if not url.startswith(root)] == []
    assert page.complaints == []


def test_endless_recording(world: World, page: ConsolePage) -> None:
    """A recording that is larger than the page plays is played from its beginning, and said so."""
    page.open(world.url(world.names["endless"]))
    expect(page.page.locator("#notices")).to_contain_text("larger than this page plays")
    page.expect_state("Paused")
    press(page, "ArrowRight")
    expect(screen(page)).to_contain_text("....")
    press(page, "End")
    page.expect_state("At the end")
    expect(screen(page)).not_to_contain_text("the far end")
    assert page.complaints == []


def test_links_that_do_not_play(world: World, page: ConsolePage) -> None:
    """Each kind of link that leads nowhere is told in words, and what to do."""
    daemon = world.daemon
    root = daemon.base_url.replace("serial.html", "replay.html")
    console_token = daemon.console_url(WEB, 0).partition("token=")[2]
    reason, advice = page.page.locator("#ended-reason"), page.page.locator("#ended-advice")
    page.open(root)
    page.expect_state(re.compile("^Cannot play: this page needs a replay link"))
    for token, why in (
        ("x" * 43, "not valid, was used, or has expired"),
        (console_token, "not valid, was used, or has expired"),
        ("%ff", "is not valid; ask for a new one"),
    ):
        page.open(f"{root}?token={token}")
        expect(reason).to_contain_text(why)
        expect(advice).to_contain_text("Get a new link")
        expect(page.page.locator("#again")).to_be_hidden()
        expect(page.page.locator("#play")).to_be_disabled()
    page.open(world.url(world.names["spoilt"]))
    expect(reason).to_have_text("A line of it is no event.")
    away = world.url(world.names["away"])
    world.folder.delete(world.names["away"])
    page.open(away)
    expect(reason).to_contain_text("is on another host")
    page.page.get_by_role("button", name="Try again").click()
    expect(reason).to_contain_text("is on another host")
    gone = world.url(world.names["gone"])
    assert daemon.request("DELETE", f"/v1/recordings/{world.names['gone']}").status == 204
    page.open(gone)
    expect(reason).to_contain_text("not valid, was used, or has expired")
    page.screenshot("replay-refused")


def test_without_webassembly(world: World, page: ConsolePage) -> None:
    """A browser that does not compile WebAssembly, here by a stricter policy, says so at once."""

    def stricter(route: Route) -> None:
        answer = route.fetch()
        policy = answer.headers["content-security-policy"].replace(" 'wasm-unsafe-eval'", "")
        route.fulfill(
            response=answer, headers={**answer.headers, "content-security-policy": policy}
        )

    page.page.route("**/replay.html?*", stricter)
    page.open(world.url(world.names["hour"]))
    expect(page.page.locator("#ended-reason")).to_contain_text("refuses WebAssembly")
    expect(page.page.locator("#ended-advice")).to_contain_text("consolectl recording download")


def test_who_gets_a_link(world: World) -> None:
    """Whoever may read a recording gets one; to others it is refused, or does not exist."""
    path = f"/v1/recordings/{world.names['hour']}/tokens"
    for key, status in (
        (ADMIN_KEY, 201),
        (MEMBER_KEY, 201),
        (READER_KEY, 403),
        (STRANGER_KEY, 404),
        (None, 401),
    ):
        assert world.daemon.request("POST", path, key=key).status == status


def test_on_a_phone(world: World, browser: Browser) -> None:
    """A narrow window has the screen above, everything within reach, in the dark too."""
    options = {"color_scheme": "dark", "has_touch": True, "is_mobile": True}
    with console_page(browser, 390, 720, reduced_motion="reduce", **options) as page:
        page.open(world.url(world.names["hour"]))
        page.expect_state("Paused")
        press(page, "End")
        expect(screen(page)).to_contain_text("bye")
        expect(page.page.locator("#panel")).to_be_hidden()
        page.page.locator("#panel-toggle").tap()
        expect(page.page.locator("#marks button")).to_have_count(3)
        page.expect_no_wider()
        page.screenshot("replay-phone")
        page.page.locator("#theme").select_option("light")
        expect(page.page.locator("html")).to_have_attribute("data-theme", "light")
        expect(screen(page)).to_contain_text("bye")
        assert page.complaints == []

"""A shell on an instance, behind a proxy node, in the page: real SSH servers, a real Chromium."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define
from chromium import ConsolePage, chromium, console_page
from databases import REPLICATED
from fault_world import Visit, cell_database, described, until, uuid_of, visit
from playwright.sync_api import expect

from consoled.recording.folder import RecordingFolder
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, static_daemon
from tools.lab.sshd import Sshd, make_key

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CONNECTED = re.compile("^Connected")
WEB, LOCKED = "web", "locked"


@define
class World:
    """A daemon, a proxy node, and an SSH server that stands for an instance.

    :ivar jump: the proxy node.
    :ivar inner: the instance's own server.
    """

    daemon: Daemon
    jump: Sshd
    inner: Sshd

    def url(self, name: str = WEB) -> str:
        """A fresh URL for a shell."""
        path = f"/v1/servers/{uuid_of(name)}/consoles/ssh/tokens"
        answer = self.daemon.request("POST", path, key=ADMIN_KEY)
        assert answer.status == 201, answer.body
        assert answer.body["token"]["console_type"] == "ssh"
        return str(answer.body["token"]["url"])

    @contextmanager
    def session(self, name: str = WEB) -> Iterator[Visit]:
        """A page's session with a shell, without a page."""
        with visit(self.url(name).replace("http://", "ws://", 1)) as found:
            yield found

    def sessions(self) -> list[Any]:
        """What the API lists."""
        listed: list[Any] = self.daemon.request("GET", "/v1/sessions").body["sessions"]
        return sorted(listed, key=lambda one: int(one["console_index"]))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of them, and the node groups that say who leads where."""
    folder = tmp_path_factory.mktemp("shells")
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    (folder / "daemon").mkdir()
    secrets = folder / "secrets"
    secrets.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
    secrets.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    jump_key, inner_key, wrong = (
        make_key(keys, name) for name in ("jump_key", "inner_key", "wrong_key")
    )
    with ExitStack() as stack:
        jump = stack.enter_context(Sshd(folder / "jump", [jump_key.public]))
        inner = stack.enter_context(Sshd(folder / "inner", [inner_key.public]))
        config = {
            "ssh_proxy": {
                "keys_dir": keys,
                "secret_key_file": secrets,
                "allowed_networks": "127.0.0.0/8",
            },
            "serial_console": {"record": True},
            "recording": {"headroom": 0},
            "proxy": {"linger": 4},
        }
        instances = [described(name, addresses=["127.0.0.1"]) for name in (WEB, LOCKED, "lonely")]
        daemon = stack.enter_context(static_daemon(folder / "daemon", instances, config))
        made = World(daemon, jump, inner)
        group = {
            "name": "jump",
            "is_proxy": True,
            "user_name": jump.user,
            "key_file": "jump_key",
            "known_hosts": jump.known_lines.splitlines(),
            "members": [{"host": "127.0.0.1", "port": jump.port}],
        }
        leading = create(daemon, group)
        for name, key in ((WEB, inner_key), (LOCKED, wrong)):
            create(
                daemon,
                {
                    "name": f"group of {name}",
                    "user_name": inner.user,
                    "private_key": key.text.decode(),
                    "known_hosts": inner.known_lines.splitlines(),
                    "members": [{"instance_id": uuid_of(name), "port": inner.port}],
                    "proxy_group_id": leading,
                },
            )
        yield made


def create(daemon: Daemon, group: dict[str, object]) -> str:
    """A new node group; its id."""
    answer = daemon.request("POST", "/v1/node-groups", body={"node_group": group})
    assert answer.status == 201, answer.body
    return str(answer.body["node_group"]["id"])


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


def says(found: Visit, command: bytes, answer: bytes) -> None:
    """The shell answers a command so."""
    found.client.send(command)
    seen = b""
    while answer not in seen:
        piece = found.client.recv(60)
        seen += piece if isinstance(piece, bytes) else b""


def test_a_terminal_of_the_windows_size(world: World, page: ConsolePage) -> None:
    """The shell has a pty of xterm's kind and of the window's size from the first line on, and
    when the window changes; its exit is said in words, and another one can be had."""
    page.open(world.url())
    page.expect_state(CONNECTED)
    expect(page.page.locator("#console-index")).to_have_text("shell")
    expect(page.page).to_have_title("web — shell")
    before = page.rows()
    page.type("clear; echo $TERM size $(stty size) end\n")
    page.expect_text(re.compile(rf"xterm-256color size {before} \d+ end"))
    page.screenshot("shell")
    page.page.set_viewport_size({"width": 700, "height": 400})
    expect(page.page.locator(".xterm-rows > div")).not_to_have_count(before)
    now = page.rows()
    page.type("clear; echo size $(stty size) $COLUMNS\n")
    page.expect_text(re.compile(rf"size {now} (\d+)"))
    # Past the shell's own line editor, whose locale is the server's business.
    page.type("clear; echo now; od -An -tx1\n")
    page.expect_text("now")
    page.page.keyboard.type("gr\u00fc\u00df\n")
    page.press("Control+d")
    page.expect_text("67 72 c3 bc c3 9f 0a")
    page.page.get_by_role("button", name="Keys", exact=True).click()
    expect(page.page.get_by_role("menuitem", name="Send BREAK")).to_have_count(0)
    expect(page.page.get_by_role("menuitem", name=re.compile("stty"))).to_have_count(0)
    page.page.keyboard.press("Escape")
    page.type("exit 3\n")
    expect(page.page.locator("#ended-reason")).to_contain_text("The shell has ended with status 3")
    page.page.get_by_role("button", name="Reconnect").click()
    page.expect_state(CONNECTED)
    page.type("clear; echo another $((40 + 2))\n")
    page.expect_text("another 42")


def test_a_reload_finds_the_shell(world: World, page: ConsolePage) -> None:
    """A page that is loaded again is on the same shell, and shows what was on it."""
    page.open(world.url())
    page.expect_state(CONNECTED)
    page.type("kept=$((40 + 2)); clear; echo first\n")
    page.expect_text("first")
    page.page.reload()
    page.expect_state(CONNECTED)
    page.type("echo still $kept\n")
    page.expect_text("still 42")


def test_it_goes_over_the_proxy_node(world: World) -> None:
    """The proxy node is logged in to, and from there the instance, each once."""
    with world.session() as found:
        says(found, b"echo $SSH_CONNECTION\n", b"127.0.0.1")
        opened = world.daemon.wait_for_event("session_opened", session_id=found.hello["session"])
        assert (opened["transport"], opened["console_type"]) == ("ssh", "ssh")
    assert world.jump.count("Accepted publickey") >= 1
    assert world.inner.count("Accepted publickey") >= 1


def test_several_people(world: World) -> None:
    """Each URL has a shell of its own; they are listed, and one that is disconnected leaves the
    others alone."""
    until(world.daemon, "the ones before are gone", lambda: not live(world))
    with world.session() as first, world.session() as second:
        assert (first.hello["console"], second.hello["console"]) == (0, 1)
        assert first.hello["console_type"] == "ssh"
        assert first.hello["paste_rate"] == 0
        says(first, b"mine=one; echo is $mine\n", b"is one")
        says(second, b'echo "is (${mine-})"\n', b"is ()")
        listed = live(world)
        assert [one["console_type"] for one in listed] == ["ssh", "ssh"]
        assert [one["console_index"] for one in listed] == [0, 1]
        assert [one["user_id"] for one in listed] == ["ada", "ada"]
        ended = world.daemon.request("DELETE", f"/v1/sessions/{listed[0]['id']}")
        assert ended.status == 202
        code, reason, _ = first.ends()
        assert code == 4410
        assert "ada" in reason
        says(second, b"echo still $((40 + 2))\n", b"still 42")


def live(world: World) -> list[Any]:
    """The sessions on the instance."""
    return [one for one in world.sessions() if one["server_id"] == uuid_of(WEB)]


def test_the_recording_has_the_sizes(world: World) -> None:
    """A session with a shell is recorded, with the window's size as it changed."""
    with world.session() as found:
        found.client.send(json.dumps({"type": "resize", "columns": 132, "rows": 43}))
        says(found, b"stty size\n", b"43 132")
        found.client.send(json.dumps({"type": "resize", "columns": 90, "rows": 20}))
        says(found, b"stty size\n", b"20 90")
        found.client.send(b"exit\n")
        assert found.ends()[:2] == (1000, "The shell has ended.")
        name = found.hello["session"]
    world.daemon.wait_for_event("recording_ended", session_id=name)
    kept = world.daemon.request("GET", f"/v1/recordings/{name}").body["recording"]
    assert (kept["console_type"], kept["state"]) == ("ssh", "complete")
    path = RecordingFolder(world.daemon.folder / "state/recordings").place(name)
    lines = [line for line in path.read_text().splitlines()[1:] if not line.startswith("#")]
    events = [json.loads(line) for line in lines]
    assert [event[2] for event in events if event[1] == "r"] == ["132x43", "90x20"]


def test_a_wrong_key(world: World) -> None:
    """An instance that refuses the group's key is a plain sentence; the log has no secret."""
    with world.session(LOCKED) as found:
        assert found.code == 1011
        assert "key" in found.reason
        assert "BEGIN" not in found.reason
    assert "PRIVATE KEY" not in world.daemon.log.read_text()


def test_two_replicas(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Shells of two replicas of a cell are two, each with its own lease; a viewer that comes back
    to the other replica finds its own."""
    for name in ("a", "b", "keys"):
        (tmp_path / name).mkdir(mode=0o700)
    key = make_key(tmp_path / "keys", "inner_key")
    config = {
        "database": {"connection": cell_database(request.session, REPLICATED[0], tmp_path)},
        "ssh_proxy": {"keys_dir": tmp_path / "keys", "allowed_networks": "127.0.0.0/8"},
    }
    instances = [described(WEB, addresses=["127.0.0.1"])]
    with (
        Sshd(tmp_path / "inner", [key.public]) as inner,
        static_daemon(tmp_path / "a", instances, config) as first,
        static_daemon(tmp_path / "b", instances, config) as second,
    ):
        group = {
            "name": "group of web",
            "user_name": inner.user,
            "key_file": "inner_key",
            "known_hosts": inner.known_lines.splitlines(),
            "members": [{"instance_id": uuid_of(WEB), "port": inner.port}],
        }
        create(first, group)
        one, two = World(first, inner, inner), World(second, inner, inner)
        until(second, "the other replica knows the group", lambda: granted(second))
        with one.session() as mine, two.session() as other:
            assert (mine.hello["console"], other.hello["console"]) == (0, 1)
            says(mine, b"kept=$((40 + 2)); echo is $kept\n", b"is 42")
            says(other, b"echo other $((40 + 3))\n", b"other 43")
            assert [found["console_index"] for found in one.sessions()] == [0, 1]
            mine.client.socket.shutdown(2)
            url = two.url().replace("http://", "ws://", 1)
            with visit(f"{url}&resume={mine.hello['resume']}") as back:
                assert back.hello["session"] == mine.hello["session"]
                says(back, b"echo still $kept\n", b"still 42")
            second.wait_for_event("viewer_relayed", session_id=mine.hello["session"])


def granted(daemon: Daemon) -> bool:
    """Whether that daemon gives out shells by now."""
    path = f"/v1/servers/{uuid_of(WEB)}/consoles/ssh/tokens"
    return daemon.request("POST", path).status == 201


def test_who_gets_one(world: World) -> None:
    """A member gets none by default, and an instance in no group has nobody to log in as."""
    path = f"/v1/servers/{uuid_of(WEB)}/consoles/ssh/tokens"
    assert world.daemon.request("POST", path, key=MEMBER_KEY).status == 403
    lonely = f"/v1/servers/{uuid_of('lonely')}/consoles/ssh/tokens"
    answer = world.daemon.request("POST", lonely)
    assert answer.status == 400
    assert "node group" in answer.body["badRequest"]["message"]

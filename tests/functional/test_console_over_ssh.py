"""Serial ports behind real SSH servers: sessions as over TCP, and what a proxy node's end does."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define
from backends import backend, echo
from fault_world import (
    FullPort,
    OneClientPort,
    Visit,
    address,
    described,
    new_token,
    refusal,
    until,
    uuid_of,
    visit,
    visit_when_free,
)
from websockets.sync.client import connect

from tools.lab.authority import Authority
from tools.lab.daemon import ADMIN_KEY, Daemon, static_daemon
from tools.lab.guest import Guest
from tools.lab.kept import KeptProcess
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_ports
from tools.lab.sshd import Sshd, make_key

NODE_GONE = 1011


@define
class World:
    """A daemon whose consoles all lie behind two SSH servers.

    :ivar nodes: the servers, the first one first.
    :ivar wire: a guest's port that serves one client at a time.
    """

    daemon: Daemon
    nodes: list[Sshd]
    wire: OneClientPort
    full: FullPort
    folder: Path

    @contextmanager
    def session(self, name: str, index: int = 0) -> Iterator[Visit]:
        """A page's session on a console."""
        with visit(address(self.daemon, new_token(self.daemon, name, index, ADMIN_KEY))) as found:
            yield found

    def open_sessions(self) -> list[Any]:
        """What the API lists."""
        found: list[Any] = self.daemon.request("GET", "/v1/sessions").body["sessions"]
        return found


def configured(folder: Path, nodes: list[Sshd], key: Path) -> dict[str, Any]:
    """``[ssh_proxy]`` for these servers; a frozen one is noticed within four seconds."""
    known = folder / "known_hosts"
    known.write_text("".join(f"{node.known_lines}\n" for node in nodes))
    return {
        "nodes": ", ".join(f"{node.user}@{node.address}:{node.port}" for node in nodes),
        "key_file": key,
        "known_hosts": known,
        "keepalive_interval": 1,
        "keepalive_count": 2,
        "linger": 5,
    }


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Has signed for the console that speaks TLS."""
    return Authority()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[World]:
    """Two servers, consoles behind them, and a daemon that records."""
    folder = tmp_path_factory.mktemp("over-ssh")
    (folder / "daemon").mkdir()
    key = make_key(folder, "proxy_key")
    with ExitStack() as stack:
        nodes = [stack.enter_context(Sshd(folder / name, [key.public])) for name in ("one", "two")]
        wire = stack.enter_context(OneClientPort())
        full = stack.enter_context(FullPort())
        echoing = stack.enter_context(backend(echo))
        secure = stack.enter_context(backend(TLSEcho(folder, authority)))
        (folder / "ca.pem").write_bytes(authority.pair.cert_pem)
        instances = [
            described("wire", wire.port),
            described("echo", echoing.port),
            described("second", stack.enter_context(backend(echo)).port),
            described("nobody", free_ports(1)[0]),
            described("full", full.port),
            described("secure", secure.port, tls=True),
        ]
        config = {
            "ssh_proxy": configured(folder, nodes, key.path),
            "libvirt": {"chardev_tls_ca": folder / "ca.pem"},
            "serial_console": {"record": True},
            "recording": {"headroom": 0},
            "proxy": {"connect_timeout": 4, "linger": 3},
        }
        daemon = stack.enter_context(static_daemon(folder / "daemon", instances, config))
        yield World(daemon, nodes, wire, full, folder)


class TLSEcho:
    """Echoes over TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        authority.issue("server", ["127.0.0.1"]).write(folder, "secure")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "secure.crt", folder / "secure.key")

    def __call__(self, connection: Any) -> None:
        """Serves one connection."""
        with self._context.wrap_socket(connection, server_side=True) as secure:
            echo(secure)


def test_a_session_over_a_proxy_node(world: World) -> None:
    """Every byte arrives, one writer has the console, it is listed, recorded, resumed, and free
    for the next only when the port is."""
    with world.session("wire") as mine:
        mine.prints(world.wire.greeting(1))
        mine.says(bytes(range(256)))
        assert refusal(address(world.daemon, new_token(world.daemon, "wire"))) == 4409
        assert [s["server_id"] for s in world.open_sessions()] == [uuid_of("wire")]
        opened = world.daemon.wait_for_event("session_opened", session_id=mine.hello["session"])
        assert opened["transport"] == "ssh"
        assert metric(world, 'consoled_sessions_active{transport="ssh"}') == 1
        assert metric(world, "consoled_ssh_connections") == 1
        assert metric(world, "consoled_ssh_channels") == 1
        mine.client.socket.shutdown(2)
        key, seen = mine.hello["resume"], world.wire.GREETING + 256
    where = address(world.daemon, new_token(world.daemon, "wire", key=ADMIN_KEY))
    with visit(f"{where}&resume={key}&since={seen}") as back:
        assert back.hello["session"] == mine.hello["session"]
        back.says(b"again")
    with visit_when_free(world.daemon, where) as following:
        following.prints(world.wire.greeting(2))
    assert world.wire.overlaps == 0
    assert world.wire.received[0] == bytes(range(256)) + b"again"
    world.daemon.wait_for_event("recording_ended", session_id=mine.hello["session"])
    assert world.nodes[0].count("Accepted publickey") == 1
    assert world.nodes[1].count("Accepted publickey") == 0


def metric(world: World, name: str) -> float:
    """One sample of the daemon's metrics."""
    said = [event["message"] for event in world.daemon.events()]
    [listens] = [words for words in said if words.startswith("metrics listens on 127.0.0.1 ")]
    url = f"http://127.0.0.1:{listens.rpartition(' ')[2]}/metrics"
    with urllib.request.urlopen(url, timeout=60) as page:
        lines = page.read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def test_load_is_spread(world: World) -> None:
    """While the first node carries a session, the next one goes over the second node."""
    with world.session("echo") as first, world.session("second") as second:
        first.says(b"one")
        second.says(b"two")
        assert world.nodes[1].count("Accepted publickey") >= 1


def test_tls_inside(world: World) -> None:
    """TLS to the console's port goes through the channel, both ways."""
    with world.session("secure") as found:
        assert found.open, found.reason
        found.says(b"x" * 8_000)


def test_the_port_refuses(world: World) -> None:
    """A port that nobody listens on is said so, and a session over the same node goes on."""
    with world.session("echo") as other, world.session("nobody") as found:
        assert found.code == NODE_GONE
        assert "refused" in found.reason
        other.says(b"still here")


def test_left_while_dialling(world: World) -> None:
    """Who leaves while the port does not answer frees the console at once, and leaves nothing
    that would take the guest's port later (F10)."""
    url = address(world.daemon, new_token(world.daemon, "full", key=ADMIN_KEY))
    with connect(url, compression=None):
        until(world.daemon, "the node dials", lambda: bool(world.full.dials()))
    until(world.daemon, "the console is free", lambda: not world.open_sessions())
    world.full.drain()
    with world.full.accept() as late:
        late.settimeout(60)
        assert late.recv(1) == b""
    assert world.full.queue_is_empty()


def test_a_node_is_killed(world: World) -> None:
    """A node that dies ends its sessions with its name, and the next session goes over the other
    one; a session over that one notices nothing."""
    with world.session("echo") as mine, world.session("second") as other:
        mine.says(b"over the first")
        other.says(b"over the second")
        world.nodes[0].stop()
        code, reason, _ = mine.ends()
        assert code == NODE_GONE
        assert str(world.nodes[0].port) in reason
        other.says(b"nothing has happened")
        with visit_when_free(world.daemon, address(world.daemon, new_token(world.daemon, "echo"))):
            pass
        with world.session("echo") as again:
            again.says(b"over the second too")
    world.nodes[0].start()


def test_a_node_freezes(world: World) -> None:
    """A node that hangs is noticed; the guest's port, which it holds still, takes no input of the
    next session before the guest has said something."""
    ended = len(world.wire.received)
    # The only way there is the frozen node's: the other one carries more.
    with world.session("second") as load, world.session("wire") as mine:
        load.says(b"load")
        mine.prints(world.wire.greeting(ended + 1))
        held = world.nodes[0] if world.nodes[0].sessions() else world.nodes[1]
        for node in world.nodes:
            node.freeze()
        assert mine.ends()[0] == NODE_GONE
        assert load.ends()[0] == NODE_GONE
        held = next(node for node in world.nodes if node is not held)
        held.thaw()
    with visit_when_free(
        world.daemon, address(world.daemon, new_token(world.daemon, "wire")), (4409, 1011)
    ) as following:
        for node in world.nodes:
            node.thaw()
        following.prints(world.wire.greeting(ended + 2))
        following.says(b"there")
    assert world.wire.overlaps <= 1


def test_a_guest_over_ssh(libvirtd: PrivateLibvirtd, guest: Guest, tmp_path: Path) -> None:
    """A real guest's serial port over a real server: a shell answers; when the server hangs, the
    next session gets the port over the other one, freed by QEMU's yank."""
    key = make_key(tmp_path, "proxy_key")
    with (
        Sshd(tmp_path / "one", [key.public]) as one,
        Sshd(tmp_path / "two", [key.public]) as two,
    ):
        config: dict[str, Any] = {
            "DEFAULT": {"driver": "libvirt"},
            "libvirt": {"uri": libvirtd.uri},
            "ssh_proxy": configured(tmp_path, [one, two], key.path),
            "proxy": {"linger": 0},
        }
        with Daemon(tmp_path, config) as daemon:
            where = address(daemon, daemon.console_url(guest.uuid, 0).partition("token=")[2])
            with visit(where) as mine:
                asks(mine, b"echo over ssh $((40 + 2))\n", b"over ssh 42")
                assert one.count("Accepted publickey") == 1
                one.freeze()
                assert mine.ends()[0] == NODE_GONE
            with visit_when_free(daemon, where) as following:
                assert "unproven" not in following.hello
                asks(following, b"echo over the next $((40 + 3))\n", b"over the next 43")
            one.thaw()


def asks(found: Visit, command: bytes, answer: bytes) -> None:
    """A shell answers a command so."""
    found.client.send(command)
    seen = b""
    while answer not in seen:
        piece = found.client.recv(60)
        seen += piece if isinstance(piece, bytes) else b""


ECHO = """
import socket
server = socket.create_server(("127.0.0.1", {port}))
print("listens", flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
"""


@contextmanager
def namespace(name: str, here: str, there: str) -> Iterator[list[str]]:
    """A network namespace with one link to this one; the prefix of commands inside."""

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}n", "netns", name)
        ip("address", "add", f"{here}/30", "dev", f"{name}h")
        ip("link", "set", f"{name}h", "up")
        for words in (
            ("address", "add", f"{there}/30", "dev", f"{name}n"),
            ("link", "set", f"{name}n", "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", name, *words)
        yield ["ip", "netns", "exec", name]
    finally:
        ip("netns", "del", name)


def test_a_port_that_faces_no_network(tmp_path: Path) -> None:
    """A console on the loopback of another machine's network is reached through that machine's
    SSH server, and not without."""
    (port,) = free_ports(1)
    key = make_key(tmp_path, "proxy_key")
    (tmp_path / "over").mkdir()
    with (
        namespace(f"cd{os.getpid()}", "198.18.88.1", "198.18.88.2") as inside,
        ExitStack() as stack,
    ):
        log = tmp_path / "echo.log"
        server = KeptProcess([*inside, sys.executable, "-c", ECHO.format(port=port)], log)
        stack.callback(server.stop)
        node = stack.enter_context(
            Sshd(tmp_path / "node", [key.public], address="198.18.88.2", inside=inside)
        )
        config = {"ssh_proxy": configured(tmp_path, [node], key.path)}
        instances = [described("hidden", port)]
        over = stack.enter_context(static_daemon(tmp_path / "over", instances, config))
        until(over, "the port listens", lambda: "listens" in log.read_text())
        with visit(address(over, new_token(over, "hidden"))) as found:
            found.says(b"out of sight")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_wrong_host_key(tmp_path: Path) -> None:
    """A node with another host key than the one that is known is not logged in to: the page says
    which fingerprint it showed (S1)."""
    key = make_key(tmp_path, "proxy_key")
    (tmp_path / "daemon").mkdir()
    with backend(echo) as guest, Sshd(tmp_path / "node", [key.public]) as node:
        settings = configured(tmp_path, [node], key.path)
        other = make_key(tmp_path, "other", "ed25519").public
        Path(settings["known_hosts"]).write_text(f"{other}\n")
        instances = [described("web", guest.port)]
        with static_daemon(tmp_path / "daemon", instances, {"ssh_proxy": settings}) as daemon:
            with visit(address(daemon, new_token(daemon, "web"))) as found:
                assert found.code == NODE_GONE
                assert "host key SHA256:" in found.reason
            assert node.count("Accepted publickey") == 0
            assert json.dumps(key.text.decode())[1:40] not in daemon.log.read_text()

"""Serial ports of real guests over TLS: QEMU with certificates of an authority of the test's."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt
import pytest
from attrs import define
from backends import Handler, backend, echo, silent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from consoled.compute.libvirt.driver import LibvirtDriver
from consoled.workers import InlineWorker
from tools.lab.authority import Authority
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, Daemon, static_daemon
from tools.lab.guest import Guest
from tools.lab.image import Image
from tools.lab.libvirtd import PrivateLibvirtd
from tools.lab.ports import free_range

ROOT = Path(__file__).parents[2]
PORTS = free_range()
UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
TRIES = 24
"""How often a shell is asked: a guest takes some seconds to boot."""
PATIENCE = 60.0

QEMU_CONF = """\
chardev_tls_x509_cert_dir = "{folder}"
chardev_tls_x509_verify = 1
"""


class Secure(Guest):
    """A guest whose serial ports speak TLS."""

    def xml(self) -> str:
        """The domain's definition."""
        return super().xml().replace("mode='bind'", "mode='bind' tls='yes'")


@define
class World:
    """A libvirt daemon whose guests' ports show a certificate, and a daemon that asks for it.

    :ivar authority: has signed for both.
    """

    libvirtd: PrivateLibvirtd
    daemon: Daemon
    authority: Authority
    folder: Path

    def write(self, authority: Authority) -> None:
        """consoled's own files, of that authority."""
        (self.folder / "ca.pem").write_bytes(authority.pair.cert_pem)
        authority.issue("client", ["consoled"]).write(self.folder, "client")

    def reload(self) -> None:
        """SIGHUP, and consoled has read its files."""
        since = len(self.daemon.events())
        os.kill(self.daemon.pid, signal.SIGHUP)
        message = "the certificates for TLS to consoles reloaded"
        self.daemon.wait_for_event("reloaded", since=since, message=message)

    def trust(self, authority: Authority) -> None:
        """consoled trusts that one from now on, and shows what it has signed."""
        self.write(authority)
        self.reload()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both; QEMU asks for a client's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    pki = authority.write_for_qemu(folder / "pki")
    with ExitStack() as stack:
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp"))
        conf = QEMU_CONF.format(folder=pki)
        libvirtd = stack.enter_context(PrivateLibvirtd(Path(short), "tls", qemu_conf=conf))
        config = {
            "DEFAULT": {"driver": "libvirt"},
            "libvirt": {
                "uri": libvirtd.uri,
                "default_project": "demo",
                "chardev_tls_ca": folder / "ca.pem",
                "chardev_tls_cert": folder / "client.crt",
                "chardev_tls_key": folder / "client.key",
            },
            "serial_console": {"port_range": f"{PORTS.start}:{PORTS.stop}"},
            "proxy": {"linger": 0, "connect_timeout": 4},
        }
        made = World(libvirtd, Daemon(folder, config), authority, folder)
        made.write(authority)
        stack.enter_context(made.daemon)
        yield made


@pytest.fixture(scope="module")
def secure(world: World, guest_image: Image) -> Iterator[Secure]:
    """A running guest, one of whose two serial ports is for the tests of refusals."""
    with Secure(world.libvirtd, guest_image, "secure", project="demo") as running:
        yield running


def says(client: ClientConnection, command: str, answer: str) -> None:
    """A shell answers a command so."""
    seen = b""
    # The shell drops what was typed before it started.
    for _ in range(TRIES):
        client.send(f"{command}\n".encode())
        with suppress(TimeoutError):
            while answer.encode() not in seen:
                data = client.recv(5)
                seen += data if isinstance(data, bytes) else data.encode()
            return
    raise AssertionError(f"the guest did not answer {answer!r}, but {seen[-2000:]!r}")


@contextmanager
def console(daemon: Daemon, uuid: str, index: int, key: str = MEMBER_KEY) -> Iterator[Any]:
    """A viewer of that console."""
    url = daemon.ws_url(uuid, index, key)
    with connect(url, compression=None, max_queue=None) as client:
        yield client


def ending(daemon: Daemon, uuid: str, index: int) -> tuple[int, str]:
    """The close code and reason of a viewer who gets no byte of that console."""
    with console(daemon, uuid, index) as client, pytest.raises(ConnectionClosed) as caught:
        raise AssertionError(f"it said {client.recv(PATIENCE)!r}")
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_enable_serial_to_a_shell(world: World, guest_image: Image) -> None:
    """``consolectl domain enable-serial --tls``, a start, and a shell answers through consoled."""
    guest = Guest(world.libvirtd, guest_image, "bare-tls", serial_ports=())
    guest.define()
    connection = libvirt.open(world.libvirtd.uri)
    try:
        done = world.daemon.consolectl(
            "domain", "enable-serial", "bare-tls", "--tls", "--format", "json"
        )
        assert done.returncode == 0, done.stderr
        [port] = json.loads(done.stdout)["ports"]
        assert port["tls"]
        assert "chardev_tls_ca" not in done.stderr
        domain = connection.lookupByUUIDString(guest.uuid)
        domain.create()
        assert "tls='yes'" in domain.XMLDesc(0)
        with console(world.daemon, guest.uuid, 0) as client:
            says(client, "echo $(tty) $((40+2))", "ttyS0 42")
    finally:
        connection.close()
        guest.remove()


def test_much_output_and_input(world: World, secure: Secure) -> None:
    """What the guest prints arrives whole and in order, and a paste reaches it as it is."""
    with console(world.daemon, secure.uuid, 0) as client:
        says(client, "stty -echo; echo $(tty) $((40+2))", "ttyS0 42")
        client.send(b"seq 100000 105000; echo all-$((1+1))\n")
        seen = b""
        while b"all-2" not in seen:
            seen += client.recv(PATIENCE)
        numbers = [int(word) for word in seen.split() if word.isdigit()]
        assert numbers[-5001:] == list(range(100000, 105001))
        line = "x" * 1000
        client.send(f"wc -c <<END\n{(line + chr(10)) * 20}END\necho done-$((1+1))\n".encode())
        seen = b""
        while b"done-2" not in seen:
            seen += client.recv(PATIENCE)
        assert b"20020" in seen
        client.send(b"stty echo\n")


def test_one_after_the_other(world: World, secure: Secure) -> None:
    """A port is free for the next viewer as soon as one has left."""
    for number in range(3):
        since = len(world.daemon.events())
        with console(world.daemon, secure.uuid, 1, ADMIN_KEY) as client:
            says(client, f"echo round-$((40+{number}))", f"round-{40 + number}")
        world.daemon.wait_for_event("line_closed", since=since, instance_uuid=secure.uuid)


def test_wrong_authority(world: World, secure: Secure) -> None:
    """A host that somebody else vouches for gets no byte; the reason says so, and all is free."""
    other = Authority("another authority")
    world.trust(other)
    try:
        since = len(world.daemon.events())
        code, reason = ending(world.daemon, secure.uuid, 0)
        assert code == 1011
        assert reason == (
            "TLS to serial port 0 failed: its certificate is signed by nobody that this server "
            "trusts."
        )
        world.daemon.wait_for_event("line_closed", since=since, instance_uuid=secure.uuid)
    finally:
        world.trust(world.authority)
    with console(world.daemon, secure.uuid, 0) as client:
        says(client, "echo again $((40+2))", "again 42")


def test_qemu_refuses_consoled(world: World, secure: Secure) -> None:
    """QEMU hangs up on a certificate of another authority; the reason says what that may mean."""
    other = Authority("another authority")
    other.issue("client", ["consoled"]).write(world.folder, "client")
    try:
        world.reload()
        since = len(world.daemon.events())
        code, reason = ending(world.daemon, secure.uuid, 0)
        assert code == 1011
        assert "certificate" in reason
        world.daemon.wait_for_event("line_closed", since=since, instance_uuid=secure.uuid)
        log = [event["message"] for event in world.daemon.events()[since:]]
        assert any("chardev_tls_cert" in message for message in log)
    finally:
        world.trust(world.authority)
    with console(world.daemon, secure.uuid, 0) as client:
        says(client, "echo again $((40+2))", "again 42")


def refusal(folder: Path, port: int, **libvirt_options: object) -> tuple[int, str]:
    """How a viewer's session ends whose console is that port, by the static driver; twice."""
    web = {"uuid": UUID, "name": "web-1", "project_id": "demo", "host": "rack1"}
    console_there = {**web, "serial": [f"127.0.0.1:{port}"], "tls": True}
    config = {"libvirt": libvirt_options, "proxy": {"connect_timeout": 2, "linger": 0}}
    with static_daemon(folder, [console_there], config) as daemon:
        first = ending(daemon, UUID, 0)
        # The lease came back: the next one hears the same.
        daemon.wait_for_event("line_closed", instance_uuid=UUID)
        assert ending(daemon, UUID, 0) == first
        assert daemon.request("GET", "/v1/sessions").body["sessions"] == []
    return first


def test_wrong_name(world: World, secure: Secure, tmp_path: Path) -> None:
    """A host with the right authority and another one's name gets no byte."""
    told = refusal(
        tmp_path,
        secure.serial_ports[0],
        chardev_tls_ca=world.folder / "ca.pem",
        chardev_tls_cert=world.folder / "client.crt",
        chardev_tls_key=world.folder / "client.key",
        chardev_tls_verify_name="elsewhere.test",
    )
    assert told == (1011, "TLS to serial port 0 failed: its certificate is for another name.")


def test_no_authority(secure: Secure, tmp_path: Path) -> None:
    """Without [libvirt] chardev_tls_ca nobody is trusted, and nothing is dialled."""
    told = refusal(tmp_path, secure.serial_ports[0])
    assert told == (1011, "Serial port 0 speaks TLS, for which this server is not set up.")


def test_no_certificate(world: World, secure: Secure, tmp_path: Path) -> None:
    """QEMU asks for one."""
    ca = world.folder / "ca.pem"
    code, reason = refusal(tmp_path, secure.serial_ports[0], chardev_tls_ca=ca)
    assert code == 1011
    assert "may not accept this server's certificate" in reason


@pytest.mark.parametrize(
    ("handler", "words"),
    [(echo, "something else than TLS was spoken"), (silent, "no handshake within 1 seconds")],
)
def test_a_port_without_tls(world: World, tmp_path: Path, handler: Handler, words: str) -> None:
    """A port that does not speak TLS, whether it answers or not."""
    with backend(handler) as plain:
        told = refusal(tmp_path, plain.port, chardev_tls_ca=world.folder / "ca.pem")
    assert told == (1011, f"TLS to serial port 0 failed: {words}.")


@contextmanager
def foreign(world: World, secure: Secure) -> Iterator[ssl.SSLSocket]:
    """Another client of the guest's second port."""
    context = ssl.create_default_context(cafile=world.folder / "ca.pem")
    context.load_cert_chain(world.folder / "client.crt", world.folder / "client.key")
    with (
        socket.create_connection(("127.0.0.1", secure.serial_ports[1]), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        yield client


def outcome(deferred: Deferred[Any]) -> Any:
    """What a Deferred that has fired holds."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    [result] = results
    return result


def test_somebody_else_has_the_port(world: World, secure: Secure) -> None:
    """QEMU says who has a port that speaks TLS, and ``yank`` throws them off it."""
    worker = InlineWorker()
    driver = LibvirtDriver(
        world.libvirtd.uri, "lab", "127.0.0.1", None, worker, Clock(), monitors=[worker]
    )
    driver.start()
    route = f"/v1/servers/{secure.uuid}/consoles"

    def states() -> list[str]:
        return [one["state"] for one in world.daemon.request("GET", route).body["consoles"]]

    try:
        with foreign(world, secure) as client:
            client.sendall(b"\n")
            assert client.recv(100)
            assert outcome(driver.held_ports(secure.uuid)) == {1}
            assert states()[0] != states()[1]
            code, reason = ending(world.daemon, secure.uuid, 1)
            assert (code, reason) == (
                1011,
                "TLS to serial port 1 failed: no handshake within 2 seconds.",
            )
            assert outcome(driver.free_port(secure.uuid, 1))
            client.settimeout(PATIENCE)
            with suppress(ssl.SSLError, ConnectionError):
                while client.recv(65536):
                    pass
        with console(world.daemon, secure.uuid, 1) as ours:
            says(ours, "echo mine $((40+2))", "mine 42")
    finally:
        outcome(driver.stop())


def test_a_guest_that_does_not_read(world: World, secure: Secure) -> None:
    """A paused guest's port is given up by QEMU when its viewer goes, input or not."""
    connection = libvirt.open(world.libvirtd.uri)
    domain = connection.lookupByUUIDString(secure.uuid)
    since = len(world.daemon.events())
    domain.suspend()
    try:
        with console(world.daemon, secure.uuid, 1) as client:
            client.send(b"echo " + b"x" * 3000)
        world.daemon.wait_for_event("line_closed", since=since, instance_uuid=secure.uuid)
        domain.resume()
        with console(world.daemon, secure.uuid, 1) as client:
            says(client, "\x03echo after $((40+2))", "after 42")
    finally:
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        connection.close()


def test_no_secret_in_the_log(world: World, secure: Secure) -> None:
    """Nothing of a private key, or of a token, is in the log after all this."""
    log = world.daemon.log.read_text()
    assert "PRIVATE KEY" not in log
    key = (world.folder / "client.key").read_text().splitlines()[1]
    assert key not in log

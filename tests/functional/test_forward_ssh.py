"""HTTP and TCP to an instance over a real SSH server, by the daemon and by the library alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from http_target import PIECE, Target, digest_of, target

from tools.lab.certificates import make_pair
from tools.lab.daemon import MEMBER_KEY, Daemon, static_daemon
from tools.lab.sshd import Sshd, SshKey, make_key

ROOT = Path(__file__).parents[2]
WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PIECES = 128
"""8 MiB."""


class World(NamedTuple):
    """A daemon that reaches an instance's web service over an SSH server."""

    daemon: Daemon
    sshd: Sshd
    key: SshKey
    service: Target
    cert: Path

    @property
    def api(self) -> str:
        """The API, which speaks TLS."""
        return f"https://127.0.0.1:{self.daemon.api_port}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all tests."""
    lab = tmp_path_factory.mktemp("ssh")
    key = make_key(lab, "user")
    cert, cert_key = make_pair().write(lab)
    with target() as service, Sshd(lab / "sshd", [key.public]) as sshd:
        known = lab / "known_hosts"
        known.write_text(f"{sshd.known_lines}\n")
        config: dict[str, dict[str, Any]] = {
            "api": {"cert": cert, "key": cert_key},
            "http_proxy": {"allowed_ports": service.port, "allowed_networks": "127.0.0.0/8"},
            "forward": {"allowed_ports": service.port, "allowed_networks": "127.0.0.0/8"},
            "ssh_proxy": {
                "nodes": f"{sshd.user}@127.0.0.1:{sshd.port}",
                "key_file": key.path,
                "known_hosts": known,
            },
        }
        web = {"uuid": WEB, "name": "web", "project_id": "demo", "host": "rack1"}
        folder = tmp_path_factory.mktemp("daemon")
        with static_daemon(folder, [{**web, "addresses": ["127.0.0.1"]}], config) as daemon:
            yield World(daemon, sshd, key, service, cert)


def curl(world: World, path: str, *words: str, data: bytes = b"") -> bytes:
    """What curl prints of an answer of the instance."""
    url = f"{world.api}/v1/servers/{WEB}/http/{world.service.port}/{path}"
    argv = ["curl", "-sSf", "--cacert", str(world.cert), "-H", f"X-Auth-Token: {MEMBER_KEY}"]
    return subprocess.run([*argv, *words, url], input=data, capture_output=True, check=True).stdout


def test_http_goes_over_the_node(world: World) -> None:
    """8 MiB up and down through TLS, consoled and SSH, and the node's log names the connection."""
    said = json.loads(curl(world, "upload", "-T", "-", data=PIECE * PIECES))
    assert said == {"digest": digest_of(PIECES), "size": PIECES * len(PIECE)}
    assert curl(world, f"download?pieces={PIECES}") == PIECE * PIECES
    assert world.sshd.count("Accepted publickey") == 1
    assert dict(json.loads(curl(world, "echo"))["headers"])["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("trust", ["cacert", "config"])
def test_tunnels_go_over_the_node(world: World, trust: str) -> None:
    """``consolectl forward`` over TLS, trusting an authority or the daemon's own certificate."""
    words = ["--config", str(world.daemon.config_file)]
    if trust == "cacert":
        words = ["--api", world.api, "--cacert", str(world.cert)]
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "consoled.cli", *words, "forward", "--format", "json"),
            *(WEB, f"0:{world.service.port}"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CONSOLED_KEY": MEMBER_KEY},
    ) as process:
        assert process.stdout is not None
        try:
            local = json.loads(process.stdout.readline())["local_port"]
            with socket.create_connection(("127.0.0.1", local), timeout=30) as sock:
                request = f"GET /download?pieces={PIECES} HTTP/1.1\r\nHost: a\r\n\r\n"
                sock.sendall(request.encode())
                sock.shutdown(socket.SHUT_WR)
                received = b"".join(iter(lambda: sock.recv(2**16), b""))
            assert received.partition(b"\r\n\r\n")[2] == PIECE * PIECES
        finally:
            process.kill()


def test_library_needs_no_daemon(world: World) -> None:
    """The example of the documentation prints a page of a host behind the server."""
    known = world.sshd.folder / "known_hosts"
    known.write_text(f"{world.sshd.known_lines}\n")
    argv = [sys.executable, str(ROOT / "docs/examples/http_over_ssh.py")]
    argv += [f"{world.sshd.user}@127.0.0.1:{world.sshd.port}", str(world.key.path), str(known)]
    url = f"http://127.0.0.1:{world.service.port}/chunked"
    done = subprocess.run([*argv, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "200 hello world\n", done.stderr


def test_node_that_is_gone_is_a_sentence(world: World) -> None:
    """Without the node the answer is 502, and says so."""
    world.sshd.stop()
    url = f"{world.api}/v1/servers/{WEB}/http/{world.service.port}/echo"
    done = subprocess.run(
        [
            *("curl", "-sS", "--cacert", str(world.cert), "-w", "%{http_code}"),
            *("-H", f"X-Auth-Token: {MEMBER_KEY}", url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("502")
    assert "badGateway" in done.stdout

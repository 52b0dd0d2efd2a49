"""The daemon's life: in the background, killed, disabled, on IPv6, with another page."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from backends import backend, echo
from fault_world import until
from websockets.sync.client import connect

from tools.lab.daemon import STEP, Daemon, inventory, static_daemon

WEB_1 = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"


def instance(port: int) -> dict[str, object]:
    """One instance with one console at that port."""
    return {
        "uuid": WEB_1,
        "name": "web-1",
        "project_id": "demo",
        "host": "rack1",
        "serial": [f"127.0.0.1:{port}"],
    }


def socket_address(url: str) -> str:
    """The WebSocket address of a console URL."""
    return url.replace("http://", "ws://")


def says_hello(url: str) -> bool:
    """Whether the console of that URL echoes."""
    with connect(socket_address(url), compression=None) as client:
        client.send(b"hello")
        return client.recv(60) == b"hello"


def test_killed_and_started_again(tmp_path: Path) -> None:
    """After SIGKILL the next start serves at once, and a token issued before still opens."""
    with backend(echo) as console, static_daemon(tmp_path, [instance(console.port)]) as daemon:
        url = daemon.console_url(WEB_1)
        os.kill(daemon.pid, signal.SIGKILL)
        assert daemon.stop() == 128 + signal.SIGKILL
        daemon.start()
        assert says_hello(url)


def test_two_starts_on_one_state(tmp_path: Path) -> None:
    """A second daemon on the same ports is refused in one line, and the first one lives on."""
    with backend(echo) as console, static_daemon(tmp_path, [instance(console.port)]) as daemon:
        second = subprocess.run(
            daemon.argv, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
        assert second.returncode == 1
        assert second.stderr.splitlines() == [
            f"consoled: cannot listen on 127.0.0.1:{daemon.api_port}: Address already in use"
        ]
        assert says_hello(daemon.console_url(WEB_1))


def test_in_the_background(tmp_path: Path) -> None:
    """``daemon = true`` is twistd's own: the command returns, the daemon serves and ends."""
    with backend(echo) as console:
        (tmp_path / "inventory.yaml").write_text(inventory(instance(console.port)))
        config = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": tmp_path / "inventory.yaml"},
            "serial_console": {"daemon": "true"},
        }
        daemon = Daemon(tmp_path, config)
        daemon.write_config()
        argv = [word for word in daemon.argv if word not in ("-n", "--pidfile=")]
        subprocess.run(argv, check=True, cwd=tmp_path, timeout=60)
        pid = int((tmp_path / "state" / "consoled.pid").read_text())
        ended = os.pidfd_open(pid)
        try:
            assert says_hello(daemon.console_url(WEB_1))
            log = tmp_path / "state" / "consoled.log"
            while '"event": "started"' not in log.read_text():
                assert not select.select([ended], [], [], STEP)[0], "the daemon has ended"
        finally:
            os.kill(pid, signal.SIGTERM)
            _wait_readable(ended)
        assert not (tmp_path / "state" / "consoled.pid").exists()


def _wait_readable(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 60)[0], "the daemon did not end"
    os.close(descriptor)


def test_a_second_signal_ends_what_hangs(tmp_path: Path) -> None:
    """D7: what hangs keeps no daemon alive: SIGTERM once more ends it, and the log says so."""
    with static_daemon(tmp_path, [instance(1)]) as daemon:
        (tmp_path / "inventory.yaml").unlink()
        # Whoever opens it to read waits for a writer, for ever.
        os.mkfifo(tmp_path / "inventory.yaml")
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for_event("reloaded")
        ended = os.pidfd_open(daemon.pid)
        os.kill(daemon.pid, signal.SIGTERM)
        until(daemon, "it stops", lambda: is_closed(daemon.port))
        os.kill(daemon.pid, signal.SIGTERM)
        _wait_readable(ended)
        assert daemon.stop() == 1
        (forced,) = [event for event in daemon.events() if event["event"] == "stop_forced"]
        assert forced["reason"] == "SIGTERM came a second time"
        (tmp_path / "inventory.yaml").unlink()
        (tmp_path / "inventory.yaml").write_text(inventory(instance(1)))
        daemon.start()
        assert daemon.request("GET", "/v1/servers").status == 200


def is_closed(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_first_start_makes_an_admin_key(tmp_path: Path) -> None:
    """Without a keys file the first start makes one, logs its path and never its content."""
    (tmp_path / "inventory.yaml").write_text(inventory())
    daemon = Daemon(
        tmp_path,
        {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": tmp_path / "inventory.yaml"},
            "api": {"keys_file": tmp_path / "state" / "made.yaml"},
        },
    )
    with daemon:
        made = tmp_path / "state" / "made.yaml"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        key = made.read_text().partition("key: ")[2].split()[0]
        assert daemon.request("GET", "/v1/servers", key=key).status == 200
        log = daemon.log.read_text()
        assert str(made) in log
        assert key not in log


def test_disabled(tmp_path: Path) -> None:
    """``enabled = false``: the proxy port stays closed and a console is refused with 400."""
    config = {"serial_console": {"enabled": "false"}}
    with static_daemon(tmp_path, [instance(1)], config) as daemon:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
        answer = daemon.request("POST", f"/v3/servers/{WEB_1}/get-serial-console")
        assert answer.status == 400
        assert "disabled" in answer.body["badRequest"]["message"]


def test_ipv6_only(tmp_path: Path) -> None:
    """``source_is_ipv6``: the proxy listens on IPv6 only."""
    config = {"serial_console": {"source_is_ipv6": "true", "listen": "::"}}
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [instance(console.port)], config) as daemon,
    ):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", daemon.port), timeout=5)
        with socket.create_connection(("::1", daemon.port), timeout=5) as sock:
            address = socket_address(daemon.console_url(WEB_1))
            with connect(address, sock=sock, compression=None) as client:
                client.send(b"six")
                assert client.recv(60) == b"six"


def test_dual_stack(tmp_path: Path) -> None:
    """``listen = ::`` takes both; a console on IPv6 is reached as well."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as console:
        six = instance(1) | {"serial": [f"[::1]:{console.getsockname()[1]}"]}
        with static_daemon(tmp_path, [six], {"serial_console": {"listen": "::"}}) as daemon:
            with connect(socket_address(daemon.console_url(WEB_1)), compression=None) as client:
                guest, _ = console.accept()
                with guest:
                    client.send(b"six")
                    assert guest.recv(10) == b"six"
            assert daemon.wait_for_event("session_ended")["src"] == "127.0.0.1"


def test_own_web_folder(tmp_path: Path) -> None:
    """A given web folder is served instead of the built-in page."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "serial.html").write_text("<title>ours</title>")
    with static_daemon(tmp_path, [instance(1)], {"serial_console": {"web": web}}) as daemon:
        address = f"http://127.0.0.1:{daemon.port}"
        with urllib.request.urlopen(f"{address}/serial.html", timeout=60) as answer:
            assert answer.read() == b"<title>ours</title>"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}/assets/app.js", timeout=60)
        assert caught.value.code == 404


def test_vanished_viewer_frees_the_console(tmp_path: Path) -> None:
    """A viewer that answers no ping is gone in time, and the next one is served."""
    config = {"proxy": {"ping_interval": 1, "ping_timeout": 1}}
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [instance(console.port)], config) as daemon,
        socket.create_connection(("127.0.0.1", daemon.port)) as vanished,
    ):
        target = daemon.console_url(WEB_1).partition(str(daemon.port))[2]
        vanished.sendall(
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        daemon.wait_for_event("session_opened")
        daemon.wait_for_event("session_lingers")
        with connect(socket_address(daemon.console_url(WEB_1)), compression=None) as second:
            second.send(b"x")
            assert second.recv(60) == b"x"


def test_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A state_path below a file is one clear line."""
    (tmp_path / "file").touch()
    daemon = Daemon(tmp_path, {"DEFAULT": {"state_path": tmp_path / "file" / "state"}})
    daemon.write_config()
    done = subprocess.run(
        daemon.argv, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("consoled: [DEFAULT] state_path")

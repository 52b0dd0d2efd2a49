"""consolectl as an operator runs it: a process of its own, against a real daemon."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import backend, echo
from databases import ALL, new_database
from sqlalchemy import create_engine, text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from consoled.db import schema
from tools.lab.certificates import make_pair
from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, STRANGER_KEY, Daemon, static_daemon
from tools.lab.errors import LabError
from tools.lab.ports import free_ports

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{}"
ODD = "-rf $(reboot) 'サーバー' \"é\" ✓"
WRONG_KEY = "wrong-key-0123456789"


def instance(
    number: int, name: str, *ports: int, project: str | None = "demo"
) -> dict[str, object]:
    """One instance with a console at each port."""
    return {
        "uuid": UUID.format(number),
        "name": name,
        "project_id": project,
        "host": "rack1",
        "serial": [f"127.0.0.1:{port}" for port in ports],
    }


def consolectl(
    *words: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, with nothing in the environment that could lead it elsewhere."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "consoled.cli", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=kept | {"LC_ALL": "C.UTF-8"} | (env or {}),
    )


@pytest.fixture(scope="module")
def console_port() -> Iterator[int]:
    """A console that echoes."""
    with backend(echo) as console:
        yield console.port


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, console_port: int) -> Iterator[Daemon]:
    """A daemon with names of all kinds."""
    instances = [
        instance(1, "web-1", console_port, console_port + 1),
        instance(2, "twin", 1),
        instance(3, "twin", 2, project=None),
        instance(4, ODD, 3),
        instance(5, "bare"),
    ]
    with static_daemon(tmp_path_factory.mktemp("daemon"), instances) as running:
        yield running


def local(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """On the daemon's own host: --config alone."""
    return consolectl("--config", str(daemon.config_file), *words)


def remote(daemon: Daemon, key: str, *words: str) -> subprocess.CompletedProcess[str]:
    """From anywhere: an address and a key."""
    return consolectl(*words, env={"CONSOLED_API": daemon.api_url, "CONSOLED_KEY": key})


def test_on_the_daemon_s_own_host(daemon: Daemon) -> None:
    """--config alone leads to the daemon and lists everything, as an administrator."""
    done = local(daemon, "server", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATUS", "PROJECT", "HOST", "ADDRESSES"]
    assert len(lines) == 6
    assert any(ODD in line for line in lines)


def test_json_is_the_api_s(daemon: Daemon) -> None:
    """--format json gives what the API answers, name by name."""
    done = local(daemon, "server", "list", "--format", "json")
    assert json.loads(done.stdout) == daemon.request("GET", "/v1/servers").body["servers"]
    done = remote(daemon, MEMBER_KEY, "--format", "json", "server", "consoles", "web-1")
    assert json.loads(done.stdout) == [
        {"index": i, "type": "serial", "kind": "tcp", "state": "free", "in_use": False}
        for i in (0, 1)
    ]


def test_what_a_member_sees(daemon: Daemon, tmp_path: Path) -> None:
    """A key from a file sees its own project, without the compute hosts."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(f"{MEMBER_KEY}\n")
    done = consolectl("--api", daemon.api_url, "--key-file", str(key), "server", "list")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATUS", "PROJECT", "ADDRESSES"]
    assert [line.split()[0] for line in lines[1:]] == [UUID.format(n) for n in (4, 5, 2, 1)]
    empty = remote(daemon, STRANGER_KEY, "server", "list")
    assert (empty.returncode, empty.stdout) == (0, "")


def test_consoles(daemon: Daemon, console_port: int) -> None:
    """An administrator sees where the consoles listen; a server without any says so."""
    lines = local(daemon, "server", "consoles", "web-1").stdout.splitlines()
    assert lines[0].split() == ["INDEX", "TYPE", "KIND", "STATE", "HOST", "PORT"]
    assert lines[1].split() == ["0", "serial", "tcp", "free", "127.0.0.1", str(console_port)]
    bare = local(daemon, "server", "consoles", "bare")
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, "", "This server has no consoles.\n")


def test_tokens(daemon: Daemon) -> None:
    """A token is issued, shown by its id and taken back: its URL opens no further session."""
    token = json.loads(local(daemon, "token", "issue", "web-1", "--format", "json").stdout)
    shown = remote(daemon, MEMBER_KEY, "token", "show", token["id"])
    row = shown.stdout.splitlines()[1].split()
    assert row[:5] == [token["id"], UUID.format(1), "0", "writer", "ada"]
    words = ("token", "issue", "web-1", "--index", "0", "--observe", "--format", "json")
    watching = json.loads(remote(daemon, MEMBER_KEY, *words).stdout)
    shown = remote(daemon, MEMBER_KEY, "token", "show", watching["id"])
    assert shown.stdout.splitlines()[1].split()[3:5] == ["observer", "max"]
    hidden = remote(daemon, STRANGER_KEY, "token", "revoke", token["id"])
    assert hidden.returncode == 1
    done = remote(daemon, MEMBER_KEY, "token", "revoke", token["id"])
    assert (done.returncode, done.stderr) == (0, "")
    with (
        connect(token["url"].replace("http://", "ws://"), compression=None) as client,
        pytest.raises(ConnectionClosed) as caught,
    ):
        client.recv(60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4401
    again = remote(daemon, MEMBER_KEY, "token", "revoke", token["id"])
    assert again.stderr == f"consolectl: Token {token['id']} could not be found. (404)\n"


def test_sessions(daemon: Daemon) -> None:
    """A session is listed, and disconnected with the reason, by its id and by its server."""
    for words in (["SESSION"], ["--server", "web-1"]):
        url = local(daemon, "get-serial-console", "web-1").stdout.strip()
        with connect(url.replace("http://", "ws://"), compression=None) as client:
            client.send(b"x")
            assert client.recv(60) == b"x"
            (session,) = json.loads(local(daemon, "session", "list", "--format", "json").stdout)
            chosen = [session["id"] if word == "SESSION" else word for word in words]
            done = local(daemon, "session", "kill", *chosen)
            assert session["id"] in done.stdout
            with pytest.raises(ConnectionClosed) as caught:
                client.recv(60)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4410
        daemon.wait_for_event("session_ended", session_id=session["id"])
    done = local(daemon, "session", "kill")
    assert done.returncode == 2
    assert "name one SESSION" in done.stderr


def test_the_url_opens_the_console(daemon: Daemon) -> None:
    """What get-serial-console prints is a URL that a client can open as it is."""
    for words in (["web-1"], ["web-1", "serial", "--index", "0"]):
        done = local(daemon, "get-serial-console", *words)
        assert (done.returncode, done.stderr) == (0, "")
        url = done.stdout.removesuffix("\n")
        with connect(url.replace("http://", "ws://"), compression=None) as client:
            client.send(b"hello")
            assert client.recv(60) == b"hello"


def test_open(daemon: Daemon, tmp_path: Path) -> None:
    """--open hands the printed URL to the desktop."""
    told = tmp_path / "told"
    os.mkfifo(told)
    browser = tmp_path / "xdg-open"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}\n')
    browser.chmod(0o755)
    done = consolectl(
        *("--config", str(daemon.config_file), "get-serial-console", "web-1", "--open"),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0
    assert told.read_text() == done.stdout.removesuffix("\n")


def test_refusals_of_the_daemon(daemon: Daemon) -> None:
    """The daemon's own words reach the operator, with exit status 1."""
    for words, message in (
        (["web-1", "--index", "7"], "has no console 7; there are 0, 1. (404)"),
        (["bare"], "has no serial port"),
        ([UUID.format(9)], "could not be found. (404)"),
    ):
        done = local(daemon, "get-serial-console", *words)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("consolectl: ")
        assert message in line


def test_a_name_with_odd_characters(daemon: Daemon) -> None:
    """Quotes, spaces, other alphabets and a leading dash name a server, after --."""
    done = local(daemon, "server", "consoles", "--format", "json", "--", ODD)
    assert [console["port"] for console in json.loads(done.stdout)] == [3]


def test_ambiguous_and_unknown_names(daemon: Daemon) -> None:
    """Candidates with uuid and project; of those that are near, the names."""
    done = local(daemon, "get-serial-console", "twin")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split()[:2] for line in done.stderr.splitlines()[2:]] == [
        [UUID.format(2), "demo"],
        [UUID.format(3), "-"],
    ]
    # A member sees one of them only.
    assert remote(daemon, MEMBER_KEY, "get-serial-console", "twin").returncode == 0
    done = local(daemon, "server", "consoles", "wbe-1")
    assert done.returncode == 1
    assert "did you mean 'web-1'?" in done.stderr


def test_wrong_key(daemon: Daemon) -> None:
    """The error says which key was used by where it came from, never by itself."""
    done = remote(daemon, WRONG_KEY, "server", "list")
    assert done.returncode == 1
    assert done.stderr == (
        f"consolectl: the API at {daemon.api_url} does not accept the key from CONSOLED_KEY; "
        "give one of its keys with --key-file or CONSOLED_KEY\n"
    )
    done = consolectl("--api", daemon.api_url, "--key", ADMIN_KEY, "server", "list")
    assert done.returncode == 0
    assert ADMIN_KEY not in done.stdout + done.stderr


def test_daemon_away(daemon: Daemon) -> None:
    """Where nobody listens, the error names the address and where it came from."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    done = consolectl("server", "list", env={"CONSOLED_API": url, "CONSOLED_KEY": MEMBER_KEY})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"consolectl: cannot reach the API at {url} (from CONSOLED_API): ")


def test_the_wrong_port(daemon: Daemon) -> None:
    """The proxy's port answers, but not as the API."""
    env = {"CONSOLED_API": daemon.base_url.removesuffix("/serial.html"), "CONSOLED_KEY": MEMBER_KEY}
    done = consolectl("server", "list", env=env)
    assert done.returncode == 1
    assert "not as consoled does" in done.stderr


def test_tls(tmp_path: Path) -> None:
    """On its own host the daemon's certificate is known; elsewhere --cacert makes it so."""
    authority = make_pair("authority")
    cert, key = make_pair("console.example.org", authority).write(tmp_path)
    ca, _ = authority.write(tmp_path, "ca")
    config = {"api": {"cert": cert, "key": key}}
    with static_daemon(tmp_path, [instance(1, "web-1", 1)], config) as daemon:
        assert local(daemon, "server", "list").returncode == 0
        url = daemon.api_url.replace("http", "https")
        env = {"CONSOLED_API": url, "CONSOLED_KEY": MEMBER_KEY}
        refused = consolectl("server", "list", env=env)
        assert refused.returncode == 1
        assert "certificate is not trusted" in refused.stderr
        assert "--cacert" in refused.stderr
        assert consolectl("--cacert", str(ca), "server", "list", env=env).returncode == 0
        plain = consolectl("server", "list", env=env | {"CONSOLED_API": daemon.api_url})
        assert plain.returncode == 1
        assert "This port speaks TLS only: use https://" in plain.stderr
        # The file holds another certificate than the daemon serves.
        make_pair("newer").write(tmp_path)
        changed = local(daemon, "server", "list")
        assert changed.returncode == 1
        assert "SIGHUP" in changed.stderr


@pytest.mark.parametrize("kind", ALL)
def test_database_of_a_daemon(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """db upgrade makes what the daemon starts on; check tells empty, right and newer apart."""
    url = new_database(request.session, kind, tmp_path)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("instances: []\n")
    config = {
        "DEFAULT": {"driver": "static"},
        "static": {"inventory": inventory},
        "database": {"connection": url},
    }
    daemon = Daemon(tmp_path, config)
    daemon.write_config()
    empty = local(daemon, "db", "check")
    assert (empty.returncode, empty.stdout) == (1, "")
    assert empty.stderr.startswith("consolectl: the database has no schema yet; run: ")
    if kind != "sqlite":
        with pytest.raises(LabError, match="no schema yet; run: consolectl --config FILE db upg"):
            daemon.start()
    assert local(daemon, "db", "upgrade").returncode == 0
    assert "already at revision" in local(daemon, "db", "upgrade").stdout
    if kind == "sqlite":
        assert stat.S_IMODE((tmp_path / "cell.sqlite").stat().st_mode) == 0o600
    with daemon:
        assert local(daemon, "db", "check").returncode == 0
        assert daemon.request("GET", "/v1/servers").status == 200
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    newer = local(daemon, "db", "check")
    assert newer.returncode == 1
    assert "which a newer consoled made" in newer.stderr

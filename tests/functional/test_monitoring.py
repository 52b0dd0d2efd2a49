"""A running daemon as a monitoring system sees it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from backends import backend, echo
from databases import REPLICATED, server
from fault_world import (
    address,
    cell_database,
    described,
    new_token,
    refusal,
    until,
    uuid_of,
    visit,
)
from prometheus_client.parser import text_string_to_metric_families
from raw_http import PATIENCE, UPGRADE, dial, read_head, request

from tools.lab.daemon import Daemon, inventory, static_daemon

CLOSE_1001 = b"\x03\xe9"


class Page(NamedTuple):
    """What the daemon said."""

    status: int
    text: str


def monitoring_port(daemon: Daemon) -> int:
    """Where the daemon tells of itself."""
    said = (event["message"] for event in daemon.events() if event["event"] == "listening")
    [message] = [message for message in said if message.startswith("metrics listens on 127.0.0.1 ")]
    return int(message.rpartition(" ")[2])


def get(daemon: Daemon, path: str) -> Page:
    """One page for a monitoring system."""
    where = f"http://127.0.0.1:{monitoring_port(daemon)}{path}"
    try:
        with urllib.request.urlopen(where, timeout=PATIENCE) as answer:
            return Page(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Page(error.code, error.read().decode())


def figures(daemon: Daemon) -> dict[tuple[str, ...], float]:
    """The samples that are not 0, by their name, without prefix, and their labels' values.

    The page has the labels in the order of their names.
    """
    families = text_string_to_metric_families(get(daemon, "/metrics").text)
    return {
        (sample.name.removeprefix("consoled_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.value
    }


def obstacles(daemon: Daemon) -> list[str]:
    """Why it should be sent no work."""
    status, text = get(daemon, "/readyz")
    answer = json.loads(text)
    assert (status, answer["status"]) in ((200, "ready"), (503, "not ready"))
    return list(answer.get("reasons", []))


def test_figures_of_a_session(tmp_path: Path) -> None:
    """A scrape shows a session while it runs, what came of it, and nothing of who it was."""
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [described("web-1", console.port, 1)]) as daemon,
    ):
        token = new_token(daemon, "web-1")
        with visit(address(daemon, token)) as session:
            session.says(b"0123456789")
            assert refusal(address(daemon, "no-such-token")) == 4401
            assert refusal(address(daemon, new_token(daemon, "web-1", 1))) == 1011
            now = figures(daemon)
            page = get(daemon, "/metrics").text
        for figure, value in {
            ("sessions_active", "tcp"): 1,
            ("relay_bytes_total", "in"): 10,
            ("relay_bytes_total", "out"): 10,
            ("tokens_issued_total",): 2,
            ("token_validations_total", "valid"): 2,
            ("token_validations_total", "invalid"): 1,
            ("sessions_total", "4401", "refused"): 1,
            ("sessions_total", "1011", "refused"): 1,
            ("backend_connect_duration_seconds_count", "connected"): 1,
            ("backend_connect_duration_seconds_count", "refused"): 1,
        }.items():
            assert now.get(figure) == value, figure
        assert now["db_operation_duration_seconds_count", "tokens.find", "ok"] == 3
        assert now["db_operation_duration_seconds_count", "replicas.register", "ok"] == 1
        for secret in (token, uuid_of("web-1"), "web-1", "127.0.0.1", "max", "demo"):
            assert secret not in page
        daemon.wait_for_event("session_ended", bytes_in=10)
        active = ("sessions_active", "tcp")
        until(daemon, "it is counted", lambda: active not in figures(daemon))
        after = figures(daemon)
        assert after["sessions_total", "none", "ended"] == 1
        assert after["session_duration_seconds_count",] == 1
        assert after["relay_bytes_total", "out"] == 10
        lag = ("reactor_lag_seconds_count",)
        until(daemon, "the event loop's lag is known", lambda: lag in figures(daemon))


@pytest.mark.parametrize("kind", REPLICATED[:1])
def test_a_database_that_is_away(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Not ready while the database is away, with the reason; alive, and ready again, after it."""
    url = cell_database(request.session, kind, tmp_path)
    running = server(request.session, kind)
    config = {"database": {"connection": url}}
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [described("web-1", console.port)], config) as daemon,
    ):
        until(daemon, "it is ready", lambda: obstacles(daemon) == [])
        with visit(address(daemon, new_token(daemon, "web-1"))) as session:
            session.says(b"before")
            running.stop()
            try:
                assert obstacles(daemon) == ["The database does not answer."]
                assert get(daemon, "/healthz") == (200, "ok\n")
                assert session.ends()[0] == 1013
                assert figures(daemon)["fencing_rejections_total",] == 1
            finally:
                running.start()
        until(daemon, "it is ready again", lambda: obstacles(daemon) == [])
        away = [name for name in figures(daemon) if "unavailable" in name]
        assert ("db_operation_duration_seconds_count", "health.ping", "unavailable") in away


def test_the_drain_is_seen(tmp_path: Path) -> None:
    """While viewers take their close the daemon is alive and not ready; then it ends in order."""
    with (
        backend(echo) as console,
        static_daemon(tmp_path, [described("web-1", console.port)]) as daemon,
    ):
        port = monitoring_port(daemon)
        target = f"/serial.html?token={new_token(daemon, 'web-1')}"
        with dial(daemon.port) as viewer:
            viewer.sendall(request(target, f"127.0.0.1:{daemon.port}", UPGRADE))
            assert b" 101 " in read_head(viewer)
            daemon.wait_for_event("session_opened")
            os.kill(daemon.pid, signal.SIGTERM)
            # The close is the sign that the drain has begun; it is not answered.
            received = b""
            while CLOSE_1001 not in received:
                received += viewer.recv(4096)
            assert obstacles(daemon) == ["The daemon is stopping."]
            assert get(daemon, "/healthz").status == 200
            assert ("sessions_total", "1001", "ended") in figures(daemon)
        assert select.select([daemon.process.ended], [], [], PATIENCE)[0]
        assert "stopped" in [event["event"] for event in daemon.events()]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def test_no_listener(tmp_path: Path) -> None:
    """An empty port is no listener, and the daemon serves."""
    with static_daemon(tmp_path, [described("web-1", 1)], {"metrics": {"port": ""}}) as daemon:
        assert [e for e in daemon.events() if "metrics listens" in e["message"]] == []
        assert daemon.request("GET", "/v1/servers").status == 200


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Two daemons on one machine cannot have the same port; the second one says which."""
    (tmp_path / "inventory.yaml").write_text(inventory())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        daemon = Daemon(
            tmp_path,
            {
                "DEFAULT": {"driver": "static"},
                "static": {"inventory": tmp_path / "inventory.yaml"},
                "metrics": {"port": number},
            },
        )
        daemon.write_config()
        done = subprocess.run(
            daemon.argv, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"consoled: cannot listen on 127.0.0.1:{number}: Address already in use\n"
    )

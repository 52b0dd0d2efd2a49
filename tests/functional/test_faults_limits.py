"""Many at once, and nothing left: the rows F5 to F7 of the faults, on running daemons."""

from __future__ import annotations

import resource
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from fault_world import described, new_token, until, uuid_of
from floods import (
    BINARY,
    MIB,
    Consoles,
    allow_descriptors,
    descriptors,
    figure,
    frame,
    limited_twistd,
    memory,
    monitoring,
    obstacles,
    viewer,
)
from raw_http import PATIENCE, UPGRADE, dial, request

from tools.lab.daemon import Config, Daemon, inventory, static_daemon
from tools.lab.errors import LabError

IDLE = 200
ROUNDS = 6


@contextmanager
def crowd(folder: Path, count: int, config: Config) -> Iterator[tuple[Daemon, Consoles]]:
    """A daemon with that many instances that echo: vm-0, vm-1, and so on."""
    with Consoles(count) as consoles:
        instances = [described(f"vm-{n}", port) for n, port in enumerate(consoles.ports)]
        with static_daemon(folder, instances, config) as daemon:
            yield daemon, consoles


def threads(pid: int) -> int:
    """How many threads it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_f5_idle_sessions(tmp_path: Path) -> None:
    """F5: hundreds of sessions come, idle and go, again and again, and nothing is left of them."""
    allow_descriptors(4 * IDLE)
    with crowd(tmp_path, IDLE, {"proxy": {"linger": 0}}) as (daemon, consoles):
        tokens = [new_token(daemon, f"vm-{number}") for number in range(IDLE)]
        until(daemon, "REST's connections are gone", lambda: descriptors(daemon.pid) < 100)

        def come_and_go() -> None:
            with ExitStack() as stack:
                there = [stack.enter_context(viewer(daemon, token)) for token in tokens]
                for one in there[:: IDLE // 10]:
                    one.echoes(b"hello")
                until(
                    daemon,
                    "all are open",
                    lambda: figure(daemon, "sessions_active") == consoles.connected == IDLE,
                )
            until(
                daemon,
                "none is open",
                lambda: figure(daemon, "sessions_active") == consoles.connected == 0,
            )

        come_and_go()
        open_before, threads_before = descriptors(daemon.pid), threads(daemon.pid)
        come_and_go()
        kept = memory(daemon.pid, "VmRSS")
        for _ in range(ROUNDS - 2):
            come_and_go()
        # A round's garbage may wait for its collection; ten kilobytes a session would be more.
        assert memory(daemon.pid, "VmRSS") - kept < 6 * MIB
        # The database's pool may have another connection, or one less.
        until(daemon, "descriptors", lambda: descriptors(daemon.pid) < open_before + 10)
        assert threads(daemon.pid) <= threads_before + 4
        until(
            daemon,
            "all leases are given back",
            lambda: daemon.request("GET", "/v1/sessions").body == {"sessions": []},
        )
        assert figure(daemon, "sessions_total") == ROUNDS * IDLE
        assert figure(daemon, "buffered_bytes") == 0


STORM = 200


def storm(daemon: Daemon, tokens: list[str]) -> Counter[int]:
    """The statuses that so many handshakes get that come at once."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        socks = [stack.enter_context(dial(daemon.port)) for _ in tokens]
        for sock, token in zip(socks, tokens, strict=True):
            selector.register(sock, selectors.EVENT_READ)
            sock.sendall(
                request(f"/?token={token}", f"127.0.0.1:{daemon.port}", UPGRADE),
            )
        found: Counter[int] = Counter()
        while selector.get_map():
            ready = selector.select(PATIENCE)
            assert ready, "somebody got no answer"
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                found[int(key.fileobj.recv(4096).split()[1])] += 1
                selector.unregister(key.fileobj)
        return found


def test_f6_connect_storm(tmp_path: Path) -> None:
    """F6: of a storm of viewers most are refused at once, and counted; who is there types on."""
    config = {"proxy": {"max_handshakes": 3, "linger": 0}}
    with crowd(tmp_path, 2, config) as (daemon, _):
        with viewer(daemon, new_token(daemon, "vm-0")) as one:
            one.echoes(b"before")
            tokens = [new_token(daemon, "vm-1")] * STORM
            found: list[Counter[int]] = []
            weather = threading.Thread(target=lambda: found.append(storm(daemon, tokens)))
            weather.start()
            while weather.is_alive():
                one.echoes(b"k")
            weather.join()
            one.echoes(b"after")
        [statuses] = found
        assert statuses.keys() == {101, 503}
        assert figure(daemon, "handshakes_rejected_total", reason="overload") == statuses[503]
        with viewer(daemon, new_token(daemon, "vm-0")) as following:
            following.echoes(b"calm again")


def test_full(tmp_path: Path) -> None:
    """Who lingers counts, and gives way to a newcomer; a full replica is alive and not ready."""
    config = {"proxy": {"max_sessions": 2}}
    with crowd(tmp_path, 3, config) as (daemon, consoles):
        tokens = [new_token(daemon, f"vm-{number}") for number in range(3)]
        with viewer(daemon, tokens[0]) as one:
            one.echoes(b"soon gone")
        lingers = daemon.wait_for_event("session_lingers")["session_id"]
        with viewer(daemon, tokens[1]) as two:
            two.echoes(b"stays")
            assert obstacles(daemon) == ["All sessions are taken."]
            assert monitoring(daemon, "/healthz")[0] == 200
            with viewer(daemon, tokens[2]) as three:
                three.echoes(b"new")
                assert daemon.wait_for_event("session_yielded")["session_id"] == lingers
                daemon.wait_for_event("line_closed", instance_uuid=uuid_of("vm-0"))
                until(daemon, "the line is closed", lambda: consoles.connected == 2)
                with viewer(daemon, tokens[0]) as four:
                    assert four.close_code() == 1013
                two.echoes(b"still here")
                three.echoes(b"and here")


FEW = 64


def test_f7_no_descriptors(tmp_path: Path) -> None:
    """F7: when descriptors run out nobody is hurt who is there, and afterwards all is well."""
    path = tmp_path / "inventory.yaml"
    with Consoles(FEW) as consoles, ExitStack() as stack:
        instances = [described(f"vm-{n}", port) for n, port in enumerate(consoles.ports)]
        path.write_text(inventory(*instances))
        config: Config = {
            "DEFAULT": {"driver": "static"},
            "static": {"inventory": path},
            "proxy": {"linger": 0},
        }
        daemon = stack.enter_context(Daemon(tmp_path, config))
        # A start with a limit as low as that is refused.
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        tokens = [new_token(daemon, f"vm-{number}") for number in range(FEW)]
        first = stack.enter_context(viewer(daemon, tokens[0]))
        first.echoes(b"first")
        with ExitStack() as guests:
            refused = 0
            for token in tokens[1:]:
                refused += not is_open(guests, daemon, token)
                first.echoes(b"still here")
            assert 10 < refused < FEW - 5
            for _ in range(50):
                with suppress(OSError), dial(daemon.port) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\n")
            first.echoes(b"still here")
            said = len(daemon.events())
        until(daemon, "room again", lambda: descriptors(daemon.pid) < FEW - 20)
        first.echoes(b"still here")
        with viewer(daemon, tokens[1]) as following:
            following.echoes(b"served again")
        # The accept loop has not spun on what it could not take, and the log says what to do.
        assert said < 20 * FEW
        assert "LimitNOFILE" in daemon.wait_for_event("out_of_descriptors")["message"]
        assert figure(daemon, "connections_dropped_total") > 0


@pytest.mark.parametrize(("sessions", "starts"), [(200, True), (201, False)])
def test_too_few_descriptors(sessions: int, starts: bool, tmp_path: Path) -> None:
    """A limit that max_sessions would run into is one line at the start, with what to change."""
    (tmp_path / "inventory.yaml").write_text(inventory())
    config: Config = {
        "DEFAULT": {"driver": "static"},
        "static": {"inventory": tmp_path / "inventory.yaml"},
        "proxy": {"max_sessions": sessions},
    }
    daemon = Daemon(tmp_path, config, twistd=limited_twistd(tmp_path, 912))
    if starts:
        with daemon:
            return
    with pytest.raises(LabError) as caught:
        daemon.start()
    assert str(caught.value).splitlines()[-1] == (
        "consoled: [proxy] max_sessions 201 needs 914 file descriptors, and this process may have "
        "912: raise LimitNOFILE (ulimit -Hn), or set max_sessions to 200 or less"
    )


def is_open(stack: ExitStack, daemon: Daemon, token: str) -> bool:
    """Whether another viewer has its console, or was turned away in whatever way."""
    try:
        one = stack.enter_context(viewer(daemon, token))
        one.sock.sendall(frame(b"?"))
        return one.status == 101 and one.next().opcode == BINARY
    except (EOFError, OSError):
        return False

"""Guests that flood, viewers that stall: the rows F1 to F4 of the faults, on running daemons.

F2 and F4 with a real guest are in test_guest_console.py; how long things take is the benchmark's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from backends import backend, echo, saying
from chromium import chromium, console_page
from fault_world import address, described, new_token, until, uuid_of, visit
from floods import BINARY, KIB, MIB, Viewer, Yes, figure, frame, measure_from_now, memory, viewer
from playwright.sync_api import WebSocket

from tools.lab.daemon import Daemon, static_daemon

STALLED = 24
"""Viewers that read nothing, at once: so many that the daemon's own noise is small beside them."""

PER_SESSION = 256 * KIB


@contextmanager
def flooded(folder: Path, guests: int, config: dict[str, object]) -> Iterator[tuple[Daemon, Yes]]:
    """A daemon, ``guests`` instances that run ``yes``, and one, ``quiet``, that echoes."""
    yes = Yes()
    with backend(yes.handler) as many, backend(echo) as quiet, ExitStack() as stack:
        places = [stack.enter_context(backend(yes.handler)) for _ in range(guests - 1)]
        ports = [many.port, *(place.port for place in places)]
        instances = [described(f"yes-{number}", port) for number, port in enumerate(ports)]
        instances.append(described("quiet", quiet.port))
        with static_daemon(folder, instances, {"proxy": config}) as daemon:
            yield daemon, yes


def test_f1_nobody_reads(tmp_path: Path) -> None:
    """F1: memory is bounded while viewers stall, each is closed with 4414, the guests run on."""
    with flooded(tmp_path, STALLED, {"stall_timeout": 3}) as (daemon, yes), ExitStack() as stack:
        tokens = [new_token(daemon, f"yes-{number}") for number in range(STALLED)]
        with viewer(daemon, new_token(daemon, "quiet")) as warm:
            warm.echoes(b"up")
        before = measure_from_now(daemon.pid)
        stalled = [stack.enter_context(viewer(daemon, token, window=4 * KIB)) for token in tokens]

        def gone() -> int:
            return sum(event["event"] == "viewer_stalled" for event in daemon.events())

        until(daemon, "all viewers were dropped", lambda: gone() == STALLED)
        grown = memory(daemon.pid, "VmHWM") - before
        assert grown < STALLED * PER_SESSION, grown // STALLED
        assert figure(daemon, "relay_paused_seconds_total") >= STALLED * 2.9
        sent = yes.sent
        until(daemon, "the guests run on", lambda: yes.sent > sent + STALLED * MIB)
        assert memory(daemon.pid, "VmHWM") - before < STALLED * PER_SESSION
        assert stalled[0].close_code() == 4414


def test_f2_interrupt(tmp_path: Path) -> None:
    """F2: ^C reaches a flooding guest before more than the buffers between have gone by."""
    with flooded(tmp_path, 1, {}) as (daemon, yes):
        with viewer(daemon, new_token(daemon, "yes-0")) as one:
            got = 0
            while got < 8 * MIB:
                got += len(one.next().payload)
            one.sock.sendall(frame(b"\x03"))
            tail = b""
            while b"^C" not in tail:
                payload = one.next().payload
                got += len(payload)
                tail = tail[-2:] + payload
        assert yes.interrupted is not None
        # All that it sent has come, and its prompt: nothing was left out.
        assert got >= yes.interrupted


def test_f3_everybody_gets_their_turn(tmp_path: Path) -> None:
    """F3: beside a flood each keystroke comes back, and the flood goes on between two of them."""
    with flooded(tmp_path, 2, {}) as (daemon, yes), ExitStack() as stack:
        flooder = stack.enter_context(viewer(daemon, new_token(daemon, "yes-0")))
        idle = stack.enter_context(viewer(daemon, new_token(daemon, "quiet")))
        idle.echoes(b"idle")
        drain = threading.Thread(target=_drain, args=(flooder,), daemon=True)
        drain.start()
        sent, typed = yes.sent, 0
        while typed < 100 or yes.sent < sent + 8 * MIB:
            idle.echoes(b"k")
            typed += 1
            assert typed < 100_000, "the flood stands still"
        flooder.sock.sendall(frame(b"\x03"))
        drain.join(60)
        assert not drain.is_alive()


def _drain(one: Viewer) -> None:
    """Reads until the guest is back at its prompt."""
    tail = b""
    while not tail.endswith(b"$ "):
        tail = one.next().payload[-2:]


LINES = 200_000
OUTPUT = b"".join(b"%07d\r\n" % number for number in range(LINES))


def test_f4_a_fast_guest_in_the_page(tmp_path: Path) -> None:
    """F4: at full speed the page gets every byte, in order, and draws between them."""
    received = bytearray()

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda data: received.extend(data) if _is_wire(data) else None)

    with (
        backend(saying(OUTPUT)) as guest,
        static_daemon(tmp_path, [described("fast", guest.port)]) as daemon,
        chromium() as browser,
        console_page(browser) as page,
    ):
        page.page.on("websocket", listen)
        page.page.add_init_script(
            "window.drawn = 0; const draw = () => { window.drawn++; requestAnimationFrame(draw); };"
            " requestAnimationFrame(draw);"
        )
        page.open(daemon.console_url(uuid_of("fast")))
        page.expect_text(f"{LINES - 1:07d}")
        page.type("x")
        page.until(lambda: received.endswith(b"x"))
        assert bytes(received) == OUTPUT + b"x"
        assert page.page.evaluate("window.drawn") > 10
        page.expect_rows([f"{LINES - 2:07d}", f"{LINES - 1:07d}", "x"])
        assert figure(daemon, "relay_bytes_total", direction="out") == len(OUTPUT) + 1


def _is_wire(data: str | bytes) -> bool:
    return isinstance(data, bytes)


@pytest.mark.parametrize("pages", [8])
def test_an_observer_never_slows_anybody(tmp_path: Path, pages: int) -> None:
    """F1 for observers: those that read nothing hold nobody up, and their memory is bounded."""
    with flooded(tmp_path, 1, {}) as (daemon, _), ExitStack() as stack:
        writer = stack.enter_context(viewer(daemon, new_token(daemon, "yes-0")))
        assert writer.next().opcode == BINARY
        before = measure_from_now(daemon.pid)
        for _ in range(pages):
            answer = daemon.request(
                "POST",
                f"/v1/servers/{uuid_of('yes-0')}/consoles/0/tokens",
                body={"token": {"role": "observer"}},
            )
            token = answer.body["token"]["url"].partition("token=")[2]
            stack.enter_context(viewer(daemon, token, window=4 * KIB))
        got = 0
        while got < 16 * MIB:
            got += len(writer.next().payload)
        assert memory(daemon.pid, "VmHWM") - before < pages * PER_SESSION + 2 * MIB
        assert figure(daemon, "sessions_active") == pages + 1
        assert not [e for e in daemon.events() if e["event"] == "viewer_stalled"]
        with visit(address(daemon, new_token(daemon, "quiet"))) as other:
            other.says(b"fine")

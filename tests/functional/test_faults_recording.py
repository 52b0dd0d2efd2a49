"""What is recorded and logged, under attack: D5 and L3 to L5 of the faults, on running daemons.

L1 is in test_page.py, L2 in test_page_replay.py; a disk that is full in the middle of a line
is in test_recordings.py.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from backends import Recorder, backend, echo
from fault_world import address, described, new_token, until, uuid_of, visit
from floods import figure
from raw_http import handshake

from consoled.recording.chain import Outcome, verify
from consoled.recording.reading import original_bytes
from tools.lab.daemon import MEMBER_KEY, Config, Daemon, static_daemon

NO_ROOM = 1 << 59
"""Bytes that no disk has: it is nearly full from the start."""

RECORDED: Config = {"serial_console": {"record": True}}


def recorded(daemon: Daemon) -> tuple[Path, list[bytes]]:
    """The newest recording, when it has ended: its file and its lines."""
    ended = daemon.wait_for_event("recording_ended")
    path = daemon.folder / f"state/recordings/{ended['session_id']}.cast"
    return path, path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("mode", ["strict", "best_effort"])
def test_d5_a_full_disk(tmp_path: Path, mode: str) -> None:
    """D5: strict ends the session, best_effort goes on; viewer, log and figures all say so."""
    config: Config = {**RECORDED, "recording": {"mode": mode, "headroom": NO_ROOM}}
    reason = "The recording of this session cannot go on: the disk is nearly full."
    with (
        backend(echo) as guest,
        static_daemon(tmp_path, [described("web-1", guest.port)], config) as daemon,
        visit(address(daemon, new_token(daemon, "web-1"))) as session,
    ):
        assert session.open
        if mode == "strict":
            assert session.ends()[:2] == (1011, reason)
        else:
            while "text" not in (notice := json.loads(session.client.recv(60))):
                pass
            assert (notice["type"], notice["text"]) == ("notice", reason)
            session.says(b"goes on")
        event = "recording_failed" if mode == "strict" else "recording_suffers"
        said = daemon.wait_for_event(event, instance_uuid=uuid_of("web-1"))
        assert (said["level"], reason in said["message"]) == ("error", True)
        assert figure(daemon, "recording_errors_total", mode=mode) == 1
        assert figure(daemon, "recording_errors_total") == 1
        answer = daemon.request("GET", "/v1/servers", key=MEMBER_KEY)
        assert answer.status == 200


ESCAPES = "\x1b]0;pwned\x07\x1b[2J\u00e9"
"""What a browser may say. Names with such characters are refused where they are read."""


def test_l3_hostile_names(tmp_path: Path) -> None:
    """L3: what user, browser and load balancer say is data in one line of the log, escaped."""
    config: Config = {**RECORDED, "DEFAULT": {"driver": "static", "debug": True}}
    with backend(echo) as guest:
        instances = [described("web-1", guest.port)]
        with static_daemon(tmp_path, instances, config) as daemon:
            headers = {"User-Agent": ESCAPES, "X-Forwarded-For": ESCAPES, "Cookie": ESCAPES}
            for more in (headers, headers | {"Origin": ESCAPES}):
                handshake(daemon.port, f"/?token={new_token(daemon, 'web-1')}", more)
            with visit(address(daemon, new_token(daemon, "web-1"))) as session:
                session.says(b"hello")
            refused = daemon.wait_for_event("handshake_refused")
            assert (refused["origin"], refused["src"]) == (ESCAPES, "127.0.0.1")
            _, lines = recorded(daemon)
            text = daemon.log.read_bytes()
    for line in text.splitlines():
        if line.startswith(b"{"):
            json.loads(line)
    # Nothing that a terminal obeys, and no line that is not a line of ours.
    assert not set(text) & (set(range(32)) - {0x0A}) | set(text) & set(range(0x7F, 0xA0))
    assert text.isascii()
    assert verify(lines).outcome is Outcome.WHOLE
    assert b"\x1b" not in b"".join(lines)


def test_l4_a_password(tmp_path: Path) -> None:
    """L4: what is typed and not echoed is in no recording, whose file is its owner's alone."""
    guest = Recorder(b"Password: ")
    with backend(guest) as console:
        instances = [described("web-1", console.port)]
        with static_daemon(tmp_path, instances, RECORDED) as daemon:
            with visit(address(daemon, new_token(daemon, "web-1"))) as session:
                session.prints(b"Password: ")
                session.client.send(b"hunter2\r")
                assert guest.until(b"\r") == b"hunter2\r"
            path, lines = recorded(daemon)
    assert b"hunter2" not in b"".join(lines)
    assert original_bytes(lines) == b"Password: "
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes()
    assert b"hunter2" not in daemon.log.read_bytes()


def test_l5_bytes_that_are_no_text(tmp_path: Path) -> None:
    """L5: every byte of a guest comes back out of its recording, and every line of it is text."""
    wild = bytes(range(256)) * 3 + b"\xf0\x9f\x92" + b"\xed\xa0\x80" + "ü€🖥".encode() + b"\xff\xfe"
    with backend(echo) as guest:
        instances = [described("web-1", guest.port)]
        with static_daemon(tmp_path, instances, RECORDED) as daemon:
            with visit(address(daemon, new_token(daemon, "web-1"))) as session:
                session.says(wild)
            _, lines = recorded(daemon)
            until(daemon, "the end is noted", lambda: _states(daemon) == ["complete"])
    assert original_bytes(lines) == wild
    assert verify(lines).outcome is Outcome.WHOLE
    for line in lines:
        line.decode("utf-8")


def _states(daemon: Daemon) -> list[str]:
    answer = daemon.request("GET", "/v1/recordings", key=MEMBER_KEY)
    return [row["state"] for row in answer.body["recordings"]]

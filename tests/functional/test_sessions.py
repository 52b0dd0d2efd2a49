"""Sessions over the cell database: listed, ended by others, never two on one console."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backends import backend, echo
from fault_world import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tools.lab.daemon import ADMIN_KEY, MEMBER_KEY, STRANGER_KEY, Daemon, static_daemon

WEB_1 = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
PATIENCE = 60.0


@contextmanager
def two_daemons(folder: Path) -> Iterator[tuple[Daemon, Daemon]]:
    """Two replicas of one cell: one inventory, one database."""
    with backend(echo) as one, backend(echo) as two:
        instance = {
            "uuid": WEB_1,
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": [f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"],
        }
        database = {"database": {"connection": f"sqlite:///{folder}/cell.sqlite"}}
        for name in ("a", "b"):
            (folder / name).mkdir()
        with (
            static_daemon(folder / "a", [instance], database) as first,
            static_daemon(folder / "b", [instance], database) as second,
        ):
            yield first, second


@contextmanager
def console(
    daemon: Daemon, index: int | None = None, speaks: str = "binary"
) -> Iterator[ClientConnection]:
    """A WebSocket with a fresh token."""
    url = daemon.console_url(WEB_1, index, key=MEMBER_KEY).replace("http://", "ws://")
    with connect(url, compression=None, subprotocols=[Subprotocol(speaks)]) as client:
        yield client


def echoes(client: ClientConnection) -> None:
    """Waits until the console answers."""
    client.send(b"x")
    assert client.recv(PATIENCE) == b"x"


def greeted(client: ClientConnection) -> dict[str, Any]:
    """The greeting of a page's connection."""
    greeting: dict[str, Any] = json.loads(client.recv(PATIENCE))
    return greeting


def close_of(client: ClientConnection) -> tuple[int, str]:
    """The code and reason with which the server closes."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


def test_list_and_end(tmp_path: Path) -> None:
    """A session is in the list of either daemon, and ended through the one that has it not."""
    with two_daemons(tmp_path) as (first, second), console(first, 0) as client:
        echoes(client)
        (session,) = second.request("GET", "/v1/sessions", key=MEMBER_KEY).body["sessions"]
        assert (session["server_id"], session["console_index"]) == (WEB_1, 0)
        assert session["user_id"] == "max"
        path = f"/v1/sessions/{session['id']}"
        assert second.request("DELETE", path, key=STRANGER_KEY).status == 404
        assert second.request("DELETE", path, key=MEMBER_KEY).status == 202
        assert close_of(client) == (4410, "You were disconnected by max.")
        first.wait_for_event("session_ended", session_id=session["id"], close_code=4410)
        first.wait_for_event("line_closed", instance_uuid=WEB_1)
        with console(second, 0) as next_client:
            echoes(next_client)


def test_one_owner_in_the_cell(tmp_path: Path) -> None:
    """A console that one daemon serves is refused by the other, and REST offers the next one."""
    with two_daemons(tmp_path) as (first, second), console(first, 0) as client:
        echoes(client)
        with console(second, 0) as late:
            code, reason = close_of(late)
        assert code == 4409
        assert "another window" in reason
        with console(second) as other:
            echoes(other)
            consoles = first.request("GET", f"/v1/servers/{WEB_1}/consoles").body["consoles"]
            assert [one["in_use"] for one in consoles] == [True, True]
            answer = first.request("POST", f"/v3/servers/{WEB_1}/get-serial-console")
            assert answer.status == 409
            assert "no free serial port" in answer.body["conflictingRequest"]["message"]
        echoes(client)


def test_killed_owner(tmp_path: Path) -> None:
    """The console of a daemon that was killed is free again within its lease (faults.md D4)."""
    with two_daemons(tmp_path) as (first, second), console(first, 0) as client:
        echoes(client)
        os.kill(first.pid, signal.SIGKILL)
        first.stop()
        for _ in range(20):
            with console(second, 0, "consoled.v1") as again:
                try:
                    # Nobody knows whether the dead one's connection is closed.
                    assert greeted(again)["unproven"]
                    again.send('{"type": "confirm"}')
                    echoes(again)
                    break
                except ConnectionClosed as error:
                    assert error.rcvd is not None
                    assert error.rcvd.code == 1013  # its owner cannot be reached
            # The silence of the dead one is what is waited for: its end is an event of nobody's.
            select.select([second.process.ended], [], [], 1.0)
        else:
            pytest.fail("the console stayed taken")


def test_ending_all_of_an_instance(tmp_path: Path) -> None:
    """All sessions of an instance end, in whichever daemon they are."""
    with (
        two_daemons(tmp_path) as (first, second),
        console(first, 0) as one,
        console(second, 1) as two,
    ):
        echoes(one)
        echoes(two)
        answer = first.request("DELETE", f"/v1/servers/{WEB_1}/sessions", key=MEMBER_KEY)
        assert answer.status == 202
        assert len(answer.body["sessions"]) == 2
        assert close_of(one)[0] == close_of(two)[0] == 4410


def test_who_asks_is_a_session(tmp_path: Path) -> None:
    """Who waits for the console is in the list of either daemon, and ends with all the others."""
    with two_daemons(tmp_path) as (first, second), console(first, 0) as writer:
        echoes(writer)
        url = first.ws_url(WEB_1, 0, ADMIN_KEY)
        speaks = [Subprotocol("consoled.v1")]
        with connect(f"{url}&takeover=1", compression=None, subprotocols=speaks) as asker:
            first.wait_for_event("takeover_asked", user_id="ada")

            def listed() -> dict[str, str]:
                rows = second.request("GET", "/v1/sessions").body["sessions"]
                return {row["role"]: row["user_id"] for row in rows}

            both = {"writer": "max", "asker": "ada"}
            until(second, "both are listed", lambda: listed() == both)
            ended = second.request("DELETE", f"/v1/servers/{WEB_1}/sessions")
            assert ended.status == 202
            assert {row["role"] for row in ended.body["sessions"]} == {"writer", "asker"}
            assert close_of(asker)[0] == close_of(writer)[0] == 4410
        until(second, "nobody is on it", lambda: listed() == {})


def test_observers_are_sessions(tmp_path: Path) -> None:
    """Who watches is in the list of either daemon, and ended through the one that has it not."""
    with two_daemons(tmp_path) as (first, second), console(first, 0) as writer:
        echoes(writer)
        answer = first.request(
            "POST",
            f"/v1/servers/{WEB_1}/consoles/0/tokens",
            key=MEMBER_KEY,
            body={"token": {"role": "observer"}},
        )
        url = answer.body["token"]["url"].replace("http://", "ws://")
        with connect(url, compression=None) as watcher:
            assert watcher.recv(PATIENCE) == b"x"

            def listed() -> dict[str, str]:
                rows = second.request("GET", "/v1/sessions", key=MEMBER_KEY).body["sessions"]
                return {row["role"]: row["id"] for row in rows}

            until(second, "both are listed", lambda: set(listed()) == {"writer", "observer"})
            path = f"/v1/sessions/{listed()['observer']}"
            assert second.request("DELETE", path, key=STRANGER_KEY).status == 404
            ended = second.request("DELETE", path, key=MEMBER_KEY)
            assert [row["role"] for row in ended.body["sessions"]] == ["observer"]
            assert close_of(watcher) == (4410, "You were disconnected by max.")
        until(second, "the writer is alone", lambda: set(listed()) == {"writer"})
        echoes(writer)

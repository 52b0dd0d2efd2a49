"""A recording through the replica that has not its file: two daemons with a state of their own."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from backends import backend, echo
from fault_world import address, described, new_token, until, uuid_of
from websockets.sync.client import connect

from tools.lab.daemon import MEMBER_KEY, Config, Daemon, static_daemon

STRANGE = "3e0e3ce5-6f2d-4d44-8a3b-5a9a4a2f9b11"


class Cell:
    """Two daemons over one database; the first one has recorded, and the second one is asked."""

    def __init__(self, first: Daemon, second: Daemon) -> None:
        self.first = first
        self.second = second

    def record(self) -> str:
        """Records a session that says hello; the recording's id."""
        before = {row["id"] for row in self._listed()}
        with connect(address(self.first, new_token(self.first, "vm")), compression=None) as client:
            client.send(b"hello\r\n")
            assert client.recv(60) == b"hello\r\n"
        until(self.first, "it is over", lambda: self._over(before) is not None)
        found = self._over(before)
        assert found is not None
        return found

    def _over(self, before: set[str]) -> str | None:
        new = (row for row in self._listed() if row["id"] not in before)
        return next((str(row["id"]) for row in new if row["state"] == "complete"), None)

    def _listed(self) -> list[dict[str, object]]:
        return list(self.second.request("GET", "/v1/recordings").body["recordings"])

    def file(self, recording: str) -> Path:
        """Where the first daemon has it."""
        return self.first.folder / "state" / "recordings" / f"{recording}.cast"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """The cell. A recording is complete when its session is over: nobody lingers."""
    folder = tmp_path_factory.mktemp("cell")
    config: Config = {
        "database": {"connection": f"sqlite:///{folder}/cell.sqlite"},
        "serial_console": {"record": True},
        "proxy": {"linger": 0},
    }
    with backend(echo) as guest, ExitStack() as stack:
        daemons = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            instances = [described("vm", guest.port)]
            daemons.append(stack.enter_context(static_daemon(folder / name, instances, config)))
        yield Cell(*daemons)


def read(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body of an address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def content(daemon: Daemon, recording: str, **headers: str) -> tuple[int, bytes]:
    """A download over the API."""
    url = f"{daemon.api_url}/v1/recordings/{recording}/content"
    return read(url, {"X-Auth-Token": MEMBER_KEY, **headers})


def test_download(cell: Cell) -> None:
    """The file comes byte for byte, or a range of it, and leaves nothing behind on its way."""
    recording = cell.record()
    kept = cell.file(recording).read_bytes()
    assert content(cell.first, recording) == content(cell.second, recording) == (200, kept)
    assert content(cell.second, recording, Range="bytes=10-19") == (206, kept[10:20])
    assert not list((cell.second.folder / "state" / "recordings").glob("*"))
    lent = [e["path"] for e in cell.first.events() if "replica" in str(e.get("path"))]
    assert lent == [f"/v1/replica/recordings/{recording}"] * 2


def test_replay(cell: Cell) -> None:
    """A link plays on whichever replica the load balancer chooses."""
    recording = cell.record()
    issued = cell.first.request("POST", f"/v1/recordings/{recording}/tokens", key=MEMBER_KEY)
    token = issued.body["token"]["url"].partition("token=")[2]
    url = f"http://127.0.0.1:{cell.second.port}/replay/content"
    answer = read(url, {"Authorization": f"Bearer {token}"})
    assert answer == (200, cell.file(recording).read_bytes())


def test_delete(cell: Cell) -> None:
    """It is deleted where it is; not while its session goes on."""
    recording = cell.record()
    assert cell.second.request("DELETE", f"/v1/recordings/{recording}").status == 204
    assert not cell.file(recording).exists()
    assert cell.first.request("GET", f"/v1/recordings/{recording}").status == 404
    with connect(address(cell.first, new_token(cell.first, "vm")), compression=None) as client:
        client.send(b"hello")
        assert client.recv(60) == b"hello"
        path = f"/v1/servers/{uuid_of('vm')}/sessions"
        cell.first.wait_for_event("session_opened")
        rows = cell.second.request("GET", "/v1/sessions").body["sessions"]
        goes_on = rows[0]["id"]
        until(cell.first, "it is noted", lambda: cell.file(goes_on).exists())
        answer = cell.second.request("DELETE", f"/v1/recordings/{goes_on}")
        assert (answer.status, cell.file(goes_on).exists()) == (409, True)
        cell.second.request("DELETE", path)


def test_for_replicas_only(cell: Cell) -> None:
    """Without a ticket of the cell's nobody gets a file by the replicas' own way."""
    recording = cell.record()
    url = f"http://127.0.0.1:{cell.first.port}/v1/replica/recordings/{recording}"
    assert read(url, {"X-Consoled-Ticket": "guess"})[0] == 403
    assert read(url, {})[0] == 404
    strange = url.replace(recording, STRANGE)
    assert read(strange, {"X-Consoled-Ticket": "guess"})[0] == 403


def test_a_replica_that_is_away(cell: Cell) -> None:
    """What cannot be had is said so, and again once it can."""
    recording = cell.record()
    kept = cell.file(recording).read_bytes()
    cell.first.stop()
    assert content(cell.second, recording)[0] == 404
    said = len(cell.first.events())
    cell.first.start()
    cell.first.wait_for_event("replica_registered", since=said)
    assert content(cell.second, recording) == (200, kept)

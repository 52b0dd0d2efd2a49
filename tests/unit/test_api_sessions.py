"""The routes about sessions: who sees them, who ends them."""

from __future__ import annotations

from typing import Any

import pytest
from api_client import ApiClient
from attrs import evolve
from fakes import FOREIGN, WEB_1, FakeDirectory, FakeDriver

from consoled.leasing.values import ConsoleKey, Holder, LeaseRow

MINE = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b0001"
THEIRS = "8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b0002"


def row(session_id: str, uuid: str, index: int = 0, user: str = "mia") -> LeaseRow:
    """A held console."""
    return LeaseRow(
        key=ConsoleKey(uuid, index),
        epoch=3,
        replica_id="r1",
        owner_dead=False,
        session_id=session_id,
        holder=Holder(user, "demo"),
        since=1_767_225_600,
    )


def lingering(one: LeaseRow) -> LeaseRow:
    """The same, waiting for its viewer."""
    return evolve(one, lingers=True)


def directory() -> FakeDirectory:
    """One session on an own instance, one on another project's."""
    return FakeDirectory([row(MINE, WEB_1), row(THEIRS, FOREIGN)])


VIEW = {
    "id": MINE,
    "server_id": WEB_1,
    "console_index": 0,
    "console_type": "serial",
    "user_id": "mia",
    "project_id": "demo",
    "role": "writer",
    "since": "2026-01-01T00:00:00Z",
    "state": "open",
}


@pytest.mark.parametrize(
    ("key", "ids"), [("reader-key", [MINE]), ("member-key", [MINE]), ("admin-key", [MINE, THEIRS])]
)
def test_the_list(key: str, ids: list[str]) -> None:
    """A caller sees the sessions on the instances of the own project, an admin all."""
    sessions = ApiClient(key=key, directory=directory()).get("/v1/sessions").json["sessions"]
    assert [session["id"] for session in sessions] == ids
    assert sessions[0] == VIEW


def test_the_list_asks_the_driver_once() -> None:
    """However many sessions there are, one answer of the driver is enough; for none, none."""

    class Counting(FakeDriver):
        asked = 0

        def instances(self) -> Any:
            self.asked += 1
            return super().instances()

        def instance(self, uuid: str) -> Any:
            raise AssertionError("asked for each one")

    driver = Counting()
    rows = [row(MINE, WEB_1), row(THEIRS, FOREIGN), row(MINE, WEB_1, 1)]
    client = ApiClient(key="admin-key", driver=driver, directory=FakeDirectory(rows))
    assert len(client.get("/v1/sessions").json["sessions"]) == 3
    assert driver.asked == 1
    client = ApiClient(driver=driver)
    assert client.get("/v1/sessions").json == {"sessions": []}
    assert driver.asked == 1


def test_a_lingering_session() -> None:
    """A session that waits for its viewer is listed as such."""
    client = ApiClient(directory=FakeDirectory([lingering(row(MINE, WEB_1))]))
    (session,) = client.get("/v1/sessions").json["sessions"]
    assert session == VIEW | {"state": "lingering"}


def test_ending_one() -> None:
    """A member disconnects a session of the own project, and is named to its viewer."""
    client = ApiClient(directory=directory())
    answer = client.ask("DELETE", f"/v1/sessions/{MINE}")
    assert (answer.status, answer.json) == (202, {"sessions": [VIEW]})
    assert client.directory.requests == [
        ("mia", "You were disconnected by mia.", {"session": MINE, "instance": None})
    ]


def test_ending_all_of_an_instance() -> None:
    """All sessions of an instance end at once; an instance without any is no error."""
    client = ApiClient(directory=directory())
    answer = client.ask("DELETE", f"/v1/servers/{WEB_1}/sessions")
    assert (answer.status, answer.json) == (202, {"sessions": [VIEW]})
    client = ApiClient()
    answer = client.ask("DELETE", f"/v1/servers/{WEB_1}/sessions")
    assert (answer.status, answer.json) == (202, {"sessions": []})


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        ("reader-key", f"/v1/sessions/{MINE}", 403),
        ("reader-key", f"/v1/servers/{WEB_1}/sessions", 403),
        ("member-key", f"/v1/sessions/{THEIRS}", 404),
        ("member-key", f"/v1/servers/{FOREIGN}/sessions", 404),
        ("member-key", "/v1/sessions/8c1fb5e2-5c6e-4f6e-9b0a-1d1f6f6b00ff", 404),
        ("member-key", "/v1/sessions/nonsense", 404),
        (None, f"/v1/sessions/{MINE}", 401),
    ],
)
def test_refusals(key: str | None, path: str, status: int) -> None:
    """Who may not end a session changes nothing, and learns nothing of other projects'."""
    client = ApiClient(key=key, directory=directory())
    assert client.ask("DELETE", path).status == status
    assert client.directory.requests == []


@pytest.mark.parametrize(
    ("rows", "outsiders", "states"),
    [
        ([row(MINE, WEB_1)], set(), [("in_use", True), ("free", False)]),
        ([lingering(row(MINE, WEB_1))], set(), [("lingering", False), ("free", False)]),
        ([], {0}, [("held_elsewhere", True), ("free", False)]),
        ([row(MINE, WEB_1)], {0, 1}, [("in_use", True), ("held_elsewhere", True)]),
    ],
)
def test_consoles_in_use(
    rows: list[LeaseRow], outsiders: set[int], states: list[tuple[str, bool]]
) -> None:
    """The list of consoles says who has each: what yields to anybody is not in use."""
    client = ApiClient(directory=FakeDirectory(rows), outsiders=frozenset(outsiders))
    consoles = client.get(f"/v1/servers/{WEB_1}/consoles").json["consoles"]
    assert [(console["state"], console["in_use"]) for console in consoles] == states


def test_the_next_free_console() -> None:
    """get-serial-console gives the next console that is not in use (bug 1425640)."""
    client = ApiClient(directory=directory())
    client.post(f"/v3/servers/{WEB_1}/get-serial-console", b"")
    assert [issued.token.index for issued in client.authority.issued] == [1]


def test_an_own_console_again() -> None:
    """Where all are in use and one is the caller's own, that one is given again."""
    held = FakeDirectory([row(MINE, WEB_1, 0, "zoe"), row(THEIRS, WEB_1, 1, "mia")])
    client = ApiClient(directory=held)
    client.post(f"/v3/servers/{WEB_1}/get-serial-console", b"")
    assert [issued.token.index for issued in client.authority.issued] == [1]


@pytest.mark.parametrize(
    ("rows", "outsiders", "index"),
    [
        ([lingering(row(MINE, WEB_1, 0, "zoe"))], set(), 1),
        ([lingering(row(MINE, WEB_1, 0, "zoe")), row(THEIRS, WEB_1, 1, "mia")], set(), 1),
        ([row(MINE, WEB_1, 0, "zoe"), lingering(row(THEIRS, WEB_1, 1, "zoe"))], set(), 1),
        ([lingering(row(MINE, WEB_1, 0, "zoe"))], {1}, 0),
        ([], {0}, 1),
    ],
)
def test_the_order_of_choice(rows: list[LeaseRow], outsiders: set[int], index: int) -> None:
    """First what nobody has, then the caller's own, then what has lost its viewer."""
    client = ApiClient(directory=FakeDirectory(rows), outsiders=frozenset(outsiders))
    assert client.post(f"/v3/servers/{WEB_1}/get-serial-console", b"").status == 202
    assert [issued.token.index for issued in client.authority.issued] == [index]


def test_a_console_in_the_hands_of_an_outsider_is_not_free() -> None:
    """Where outsiders and others have all of them: 409, as if sessions had them."""
    held = FakeDirectory([row(MINE, WEB_1, 0, "zoe")])
    client = ApiClient(directory=held, outsiders=frozenset({1}))
    assert client.post(f"/v3/servers/{WEB_1}/get-serial-console", b"").status == 409


def test_no_free_console() -> None:
    """Where others hold all of them: 409, no free serial port."""
    held = FakeDirectory([row(MINE, WEB_1, 0, "zoe"), row(THEIRS, WEB_1, 1, "zoe")])
    client = ApiClient(directory=held)
    answer = client.post(f"/v3/servers/{WEB_1}/get-serial-console", b"")
    assert answer.status == 409
    assert "no free serial port" in answer.json["conflictingRequest"]["message"]
    assert client.authority.issued == []

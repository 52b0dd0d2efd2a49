"""The route that sends BREAK and SysRq, over a real opener whose sockets are in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_client import ApiClient
from breaks import FakeBreaks
from fakes import ABSENT, FOREIGN, STOPPED, WEB_1, result
from receptions import House
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from wires import answer_dial

from consoled.errors import Conflict, Unavailable
from consoled.leasing.values import Holder

BREAK = f"/v1/servers/{WEB_1}/consoles/1/break"


class World:
    """An API whose driver can send a BREAK, and the console's port."""

    def __init__(self, key: str = "admin-key", **options: Any) -> None:
        self.house = House(MemoryReactorClock())
        self.breaks: FakeBreaks | None = FakeBreaks()
        self.client = ApiClient(
            key=key,
            driver=self.house.driver,
            opener=self.house.reception.opener,
            breaks=self.breaks,
            **options,
        )

    @property
    def sent(self) -> list[tuple[str, int]]:
        """The BREAKs that were sent."""
        assert self.breaks is not None
        return self.breaks.sent

    def ask(self, path: str = BREAK, body: bytes = b"") -> Any:
        """A request that is answered when the console's port has taken the connection."""
        headers = {"Content-Type": "application/json"} if body else {}
        connection = self.client.start("POST", path, body, headers)
        if connection.answer("POST") is None:
            self.wire = answer_dial(self.house.reactor)
        answer = connection.answer("POST")
        assert answer is not None
        return answer

    @property
    def free(self) -> bool:
        """Whether the console is free again."""
        return not self.house.leases._held


def test_a_break() -> None:
    """The console's port is had for the moment, and what happened is in the log."""
    world = World()
    with capturedLogs() as logs:
        answer = world.ask()
    assert answer.status == 200
    view = {"server_id": WEB_1, "console_index": 1, "console_type": "serial", "sysrq": None}
    assert answer.json == {"break": view}
    assert world.sent == [(WEB_1, 1)]
    assert (world.wire.written, world.wire.connected) == (b"", False)
    assert world.free
    assert world.house.registrar.recorded == [(WEB_1, 1)]
    (event,) = (log for log in logs if log.get("event") == "break_sent")
    fields = ("user_id", "project_id", "instance_uuid", "index", "sysrq", "request_id")
    request_id = answer.headers["X-Openstack-Request-Id"]
    assert [event[name] for name in fields] == ["ada", "ops", WEB_1, 1, None, request_id]


@pytest.mark.parametrize("body", [b"{}", b'{"sysrq": null}', b"null"])
def test_bodies_of_a_break_alone(body: bytes) -> None:
    """No body and an empty one mean the same."""
    world = World()
    assert world.ask(body=body).json["break"]["sysrq"] is None
    assert world.wire.written == b""


def test_a_sysrq() -> None:
    """The key is typed after the BREAK, and before the connection ends."""
    world = World()
    assert world.breaks is not None
    world.breaks.pending = pending = []
    connection = world.client.start("POST", BREAK, b'{"sysrq": "s"}')
    wire = answer_dial(world.house.reactor)
    assert (wire.written, connection.answer("POST")) == (b"", None)
    pending[0].callback(None)
    assert wire.written == b"s"
    answer = connection.answer("POST")
    assert answer is not None
    assert answer.json["break"]["sysrq"] == "s"
    assert world.free


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"sysrq": "a"}', "A SysRq key is a digit or a lower-case letter"),
        (b'{"sysrq": ""}', "A SysRq key is a digit or a lower-case letter"),
        (b'{"sysrq": "reboot"}', "A SysRq key is a digit or a lower-case letter"),
        (b'{"sysrq": 1}', "sysrq must be a string or null, not a number."),
        (b'{"key": "b"}', 'The body has the unknown member "key"; it may hold "sysrq".'),
        (b"[]", "The body must be an object, not an array."),
    ],
)
def test_bad_bodies(body: bytes, words: str) -> None:
    """400 with the name of the field, and nothing is sent."""
    world = World()
    answer = world.ask(body=body)
    assert answer.status == 400
    assert words in answer.message
    assert world.sent == []


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        ("member-key", BREAK, 403),
        ("reader-key", BREAK, 403),
        ("member-key", f"/v1/servers/{FOREIGN}/consoles/0/break", 404),
        ("admin-key", f"/v1/servers/{ABSENT}/consoles/0/break", 404),
        ("admin-key", f"/v1/servers/{WEB_1}/consoles/7/break", 404),
        ("admin-key", f"/v1/servers/{WEB_1}/consoles/x/break", 404),
        ("admin-key", f"/v1/servers/{STOPPED}/consoles/0/break", 409),
    ],
)
def test_refusals(key: str, path: str, status: int) -> None:
    """Policy, existence and state are judged as for a URL; by default an admin alone may."""
    world = World(key)
    assert world.ask(path).status == status
    assert world.sent == []


def test_a_policy_for_members(tmp_path: Path) -> None:
    """One line of the policy gives it to whoever may type."""
    path = tmp_path / "policy.yaml"
    path.write_text('"consoled:consoles:break": "rule:consoled:tokens:create"\n')
    assert World("member-key", policy_file=path).ask().status == 200
    assert World("reader-key", policy_file=path).ask().status == 403


def test_disabled_consoles() -> None:
    """A cell without consoles has no BREAK either."""
    answer = World(enabled=False).ask()
    assert (answer.status, "disabled in this cell" in answer.message) == (400, True)


def test_a_driver_that_cannot() -> None:
    """400, and which driver it is."""
    world = World()
    client = ApiClient(key="admin-key", opener=world.house.reception.opener, breaks=None)
    answer = client.post(BREAK)
    assert answer.status == 400
    assert answer.message == (
        f"Console 1 of instance {WEB_1} takes no BREAK: the driver fake knows nothing of it but "
        "its address."
    )


def test_somebody_is_on_the_console() -> None:
    """409: the next byte, which they type, would be the key."""
    world = World()
    result(world.house.leases.take(WEB_1, 1, "theirs", holder=Holder("mia", "demo")))
    answer = world.ask(body=b'{"sysrq": "b"}')
    assert answer.status == 409
    assert answer.message.startswith(f"Somebody is on console 1 of instance {WEB_1}")
    assert "mia" not in answer.message
    assert world.sent == []
    assert not world.house.reactor.tcpClients


def test_an_outsider_is_on_the_console() -> None:
    """409 where QEMU has another client: the bytes that follow are that one's."""
    world = World()
    world.house.ports.held = frozenset({1})
    answer = world.ask()
    assert (answer.status, "outside of consoled" in answer.message) == (409, True)
    assert world.sent == []
    assert world.free


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Conflict("The hypervisor refused."), 409),
        (Unavailable("QEMU did not answer in time."), 503),
    ],
)
def test_a_hypervisor_that_does_not(error: Exception, status: int) -> None:
    """Its reason is the answer's and the log's; no key is typed, and the console is free."""
    world = World()
    assert world.breaks is not None
    world.breaks.error = error
    with capturedLogs() as logs:
        answer = world.ask(body=b'{"sysrq": "b"}')
    assert (answer.status, answer.message) == (status, str(error))
    (event,) = (log for log in logs if log.get("event") == "break_failed")
    assert (event["sysrq"], event["reason"], event["user_id"]) == ("b", str(error), "ada")
    assert world.wire.written == b""
    assert world.free


def test_a_port_that_refuses() -> None:
    """502, and no BREAK."""
    world = World()
    connection = world.client.start("POST", BREAK)
    factory = world.house.reactor.tcpClients[-1][2]
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
    answer = connection.answer("POST")
    assert answer is not None
    assert answer.status == 502
    assert world.sent == []
    assert world.free


def test_a_lease_that_ends_meanwhile() -> None:
    """The key is not typed into what may be another replica's console (invariant 1)."""
    world = World()
    assert world.breaks is not None
    world.breaks.pending = pending = []
    connection = world.client.start("POST", BREAK, b'{"sysrq": "b"}')
    wire = answer_dial(world.house.reactor)
    (lease,) = world.house.leases._held.values()
    lease.valid = False
    pending[0].callback(None)
    answer = connection.answer("POST")
    assert answer is not None
    assert (answer.status, "but not the key" in answer.message) == (503, True)
    assert wire.written == b""


def test_a_client_that_goes_away() -> None:
    """The console is given back."""
    world = World()
    assert world.breaks is not None
    world.breaks.pending = []
    connection = world.client.start("POST", BREAK, b'{"sysrq": "b"}')
    wire = answer_dial(world.house.reactor)
    connection.leave()
    assert (wire.written, wire.connected) == (b"", False)
    assert world.free

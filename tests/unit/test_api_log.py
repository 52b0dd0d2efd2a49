"""What the log says of requests, what it never says, and what a client's leaving ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from api_client import ApiClient
from fakes import WEB_1, FakeAuthority, FakeDriver
from twisted.logger import LogLevel, capturedLogs, formatEvent

from consoled.errors import Unavailable

SERVER = f"/v1/servers/{WEB_1}"
V3 = f"/v3/servers/{WEB_1}/get-serial-console"


def named(events: Sequence[Any], name: str) -> list[Any]:
    return [event for event in events if event.get("event") == name]


@pytest.mark.parametrize(
    ("key", "method", "target", "route", "status", "user"),
    [
        ("member-key", "GET", "/v1/servers?a=b", "/v1/servers", 200, "mia"),
        (
            "member-key",
            "POST",
            f"{SERVER}/consoles/1/tokens",
            "/v1/servers/{server_id}/consoles/{index}/tokens",
            201,
            "mia",
        ),
        ("reader-key", "POST", V3, "/v3/servers/{server_id}/get-serial-console", 403, "ron"),
        (None, "GET", SERVER, "/v1/servers/{server_id}", 401, None),
        ("member-key", "GET", "/nothing/here", None, 404, None),
        ("member-key", "PUT", SERVER, None, 405, None),
        ("member-key", "OPTIONS", SERVER, None, 204, None),
        ("member-key", "get", SERVER, None, 400, None),
    ],
)
def test_one_access_line_for_each_request(
    key: str | None, method: str, target: str, route: str | None, status: int, user: str | None
) -> None:
    """Method, template, status, duration, id, who and from where; not the path or the query."""
    with capturedLogs() as events:
        answer = ApiClient(key=key).ask(method, target)
    (line,) = named(events, "request_answered")
    assert answer.status == status
    assert {name: line[name] for name in ("method", "route", "status", "user_id", "src")} == {
        "method": method,
        "route": route,
        "status": status,
        "user_id": user,
        "src": "192.0.2.77",
    }
    assert line["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert line["duration_s"] == 0
    assert line["log_level"] is LogLevel.info
    assert formatEvent(line) == f"{method} {route} {status} in 0.0 s"
    assert "a=b" not in repr(events)
    assert "nothing" not in repr(events)


def test_every_line_of_a_request_has_its_id() -> None:
    """The audit line and the access line are found by the id in the answer."""
    with capturedLogs() as events:
        answer = ApiClient().post(V3)
    assert [event["event"] for event in events] == ["token_issued", "request_answered"]
    ids = {event["request_id"] for event in events}
    assert ids == {answer.headers["X-Openstack-Request-Id"]}


@pytest.mark.parametrize("target", [V3, f"{SERVER}/consoles/0/tokens"])
def test_neither_token_nor_key_is_in_a_log(target: str) -> None:
    """The clear token is in the answer only, the caller's key nowhere."""
    with capturedLogs() as events:
        answer = ApiClient().post(f"{target}?token=query-token", b"{}")
    assert b"clear-token-1" in answer.body
    text = repr(events) + "".join(str(formatEvent(event)) for event in events)
    for secret in ("clear-token", "query-token", "member-key"):
        assert secret not in text


def test_a_defect_is_logged_with_the_traceback_and_no_key() -> None:
    """A 500 leaves the traceback and a warning in the log, found by the same id."""
    with capturedLogs() as events:
        answer = ApiClient(driver=FakeDriver(error=ZeroDivisionError("why"))).get(SERVER)
    (failed,) = named(events, "request_failed")
    (line,) = named(events, "request_answered")
    assert failed["route"] == line["route"] == "/v1/servers/{server_id}"
    assert failed["request_id"] == line["request_id"]
    assert line["log_level"] is LogLevel.warn
    assert "ZeroDivisionError: why" in failed["log_failure"].getTraceback()
    assert "member-key" not in failed["log_failure"].getTraceback()
    assert b"why" not in answer.body


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("req-" + "0123abcd" * 4 + "-0-0", True),
        ("req-" + "0" * 500, False),
        ("req-<script>", False),
        ("0" * 36, False),
    ],
)
def test_a_sent_id_is_only_logged(sent: str, kept: bool) -> None:
    """A sent request id is a field of its own in the access line, if it is nothing but an id."""
    with capturedLogs() as events:
        ApiClient().ask("GET", SERVER, headers={"X-Openstack-Request-Id": sent})
    (line,) = named(events, "request_answered")
    assert line["global_request_id"] == (sent if kept else None)


def test_forwarded_headers_are_not_believed() -> None:
    """The address in the log is the peer's, whatever X-Forwarded-For says."""
    with capturedLogs() as events:
        ApiClient().ask("GET", SERVER, headers={"X-Forwarded-For": "203.0.113.9"})
    assert named(events, "request_answered")[0]["src"] == "192.0.2.77"


def test_the_duration_ends_with_the_answer() -> None:
    """A slow part shows in the access line, which comes when the answer does."""
    client = ApiClient(driver=FakeDriver(pending=[]))
    assert client.driver.pending is not None
    with capturedLogs() as events:
        connection = client.start("GET", SERVER)
        assert connection.answer("GET") is None
        assert not events
        client.clock.advance(1.5)
        client.driver.pending[0].errback(Unavailable("Away."))
    answer = connection.answer("GET")
    assert answer is not None
    assert answer.status == 503
    (line,) = named(events, "request_answered")
    assert line["duration_s"] == 1.5
    assert line["reason"] == "Away."


def test_a_client_that_leaves_cancels_its_work() -> None:
    """What waits is cancelled, no token is issued, and one line says the client has gone."""
    client = ApiClient(driver=FakeDriver(pending=[]), authority=FakeAuthority())
    with capturedLogs() as events:
        connection = client.start("POST", V3)
        connection.leave()
    assert client.driver.cancelled == 1
    assert not client.authority.issued
    (line,) = events
    assert (line["event"], line["status"]) == ("request_abandoned", None)
    assert re.fullmatch(r"req-[0-9a-f-]{36}", line["request_id"])

"""The log: one JSON object a line, known fields, no token, no control characters."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from consoled import log
from consoled.errors import ConfigError


def event(**fields: Any) -> dict[str, Any]:
    """A log event as Twisted makes it."""
    base = {
        "log_level": LogLevel.info,
        "log_time": 0.0,
        "log_namespace": "some.module",
        "log_format": "hello {name}",
        "name": "you",
    }
    return base | fields


def test_line() -> None:
    """A line says when, how bad, what, and the fields that are known."""
    line = json.loads(log.render(event(event="greeted", request_id="req-1", bytes_in=0, odd=5)))
    assert line == {
        "ts": "1970-01-01T00:00:00+00:00",
        "level": "info",
        "event": "greeted",
        "message": "hello you",
        "request_id": "req-1",
        "bytes_in": 0,
    }


def test_library_events() -> None:
    """An event without a name is known by its module."""
    assert json.loads(log.render(event()))["event"] == "some.module"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202eevil", '"}{"', "\x00"])
def test_control_characters(name: str) -> None:
    """Names of guests and users stay on one line, escaped (faults.md L3)."""
    rendered = log.render(event(name=name, user_id=name))
    assert "\n" not in rendered
    assert rendered.isascii()
    assert "\x1b" not in rendered
    assert json.loads(rendered)["user_id"] == name


def test_tokens_of_libraries_are_masked() -> None:
    """A library that logs a URL does not log its token (faults.md T7)."""
    try:
        raise ValueError("GET /serial.html?token=clear-secret&x=1")
    except ValueError:
        failure = Failure()
    rendered = log.render(
        event(
            name="/?token=clear-secret HTTP/1.1", reason="TOKEN=clear-secret", log_failure=failure
        )
    )
    assert "clear-secret" not in rendered
    assert "token=***" in rendered


def test_failures_carry_their_traceback() -> None:
    """An unexpected error is in the log in full."""
    try:
        raise ZeroDivisionError("by design")
    except ZeroDivisionError:
        failure = Failure()
    line = json.loads(log.render(event(log_failure=failure)))
    assert "ZeroDivisionError: by design" in line["traceback"]


def test_file(tmp_path: Path) -> None:
    """With a file, lines go there."""
    path = tmp_path / "consoled.log"
    log.make_observer(False, str(path))(event())
    assert json.loads(path.read_text())["message"] == "hello you"


def test_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A log that cannot be written is one clear line."""
    with pytest.raises(ConfigError, match=r"the log .* cannot be written: No such file"):
        log.make_observer(False, str(tmp_path / "absent" / "log"))


@pytest.mark.parametrize(("debug", "expected"), [(True, 1), (False, 0)])
def test_debug(tmp_path: Path, debug: bool, expected: int) -> None:
    """Debug events are written where they are wanted, autobahn's never."""
    path = tmp_path / "log"
    observe = log.make_observer(debug, str(path))
    observe(event(log_level=LogLevel.debug))
    observe(event(log_level=LogLevel.debug, log_namespace="autobahn.websocket.protocol"))
    assert len(path.read_text().splitlines()) == expected


def test_standard_logging_arrives() -> None:
    """What libraries log through the standard logging is in the same log."""
    logger = logging.getLogger("some.library")
    handler = log.ToTwisted()
    logger.addHandler(handler)
    try:
        with capturedLogs() as events:
            logger.warning("low on %s", "patience")
            try:
                raise ValueError("odd")
            except ValueError:
                logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    assert [(e["log_level"], e["text"]) for e in events] == [
        (LogLevel.warn, "low on patience"),
        (LogLevel.error, "failed"),
    ]
    assert isinstance(events[1]["log_failure"].value, ValueError)


@pytest.mark.parametrize(
    "fields",
    [
        {"log_format": "{name} of {count:03d}, {name!r}", "name": "a {brace}", "count": 7},
        {"log_format": "{name.real} {parts[0]}", "name": 3, "parts": ["x"]},
        {"log_format": "{now()} is called", "now": lambda: "it"},
        {"log_format": "{missing} of it"},
        {"log_format": "an open { brace"},
        {"log_format": b"bytes of {count}", "count": 1},
        {"log_format": ""},
        {},
    ],
)
def test_a_message_is_worded_as_twisted_words_it(fields: dict[str, Any]) -> None:
    """The short way to a message says the same, also of a format that is wrong."""
    assert json.loads(log.render(fields))["message"] == formatEvent(fields)

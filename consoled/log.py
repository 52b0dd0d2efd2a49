"""Logs as JSON lines: one event a line, known fields only, no token ever.

Fields are those of reference/operations.md. Control characters of guests,
users and browsers arrive JSON-escaped.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from zope.interface import implementer

from consoled.errors import ConfigError

FIELDS = (
    "request_id",
    "global_request_id",
    "session_id",
    "token_id",
    "role",
    "holder",
    "user_id",
    "project_id",
    "instance_uuid",
    "index",
    "console_type",
    "transport",
    "way",
    "host",
    "cell",
    "hypervisor",
    "sysrq",
    "src",
    "origin",
    "method",
    "route",
    "path",
    "status",
    "close_code",
    "reason",
    "bytes_in",
    "bytes_out",
    "bytes_dropped",
    "paused_s",
    "duration_s",
)

# A net under the rule that no event carries a token: URLs in messages of libraries.
_TOKEN = re.compile(r"(token=)[^&\s\"'<>]+", re.IGNORECASE)


def render(event: LogEvent) -> str:
    """One JSON line of a log event, without the line break."""
    line = _render(event, str)
    # Hardly any event speaks of a token, and looking for one in each field takes long.
    return line if "token=" not in line.lower() else _render(event, _mask)


def _render(event: LogEvent, mask: Callable[[str], str]) -> str:
    level: LogLevel = event.get("log_level", LogLevel.info)
    line: dict[str, Any] = {
        "ts": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(),
        "level": level.name,
        "event": event.get("event") or event.get("log_namespace", "-"),
        "message": mask(_message(event)),
    }
    for name in FIELDS:
        value = event.get(name)
        if value is not None:
            line[name] = value if isinstance(value, int | float) else mask(str(value))
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["traceback"] = mask(failure.getTraceback())
    return "{" + ", ".join([f'"{name}": {_json(value)}' for name, value in line.items()]) + "}"


def _json(value: object) -> str:
    """As :func:`json.dumps` writes it; for most values there is a shorter way."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    plain = type(value) is int or (type(value) is float and isfinite(value))
    return repr(value) if plain else json.dumps(value)


def _message(event: LogEvent) -> str:
    """As Twisted words it, by the shorter way where there is one."""
    text = event.get("log_format")
    # A call in a format is Twisted's own; so is what it says of a bad one.
    if isinstance(text, str) and "(" not in text:
        with suppress(Exception):
            return text.format_map(event)
    return formatEvent(event)


def _mask(text: str) -> str:
    return _TOKEN.sub(r"\1***", text)


def make_observer(debug: bool, logfile: str | None) -> ILogObserver:
    """What writes the events: one for twistd's application.

    :param debug: whether debug events are written.
    :param logfile: a file that is rotated; None or ``-`` for the standard error stream.
    :raises consoled.errors.ConfigError: the file cannot be written.
    """
    stream: Any = sys.__stderr__
    if logfile not in (None, "-"):
        try:
            stream = LogFile.fromFullPath(logfile)
        except OSError as error:
            raise ConfigError(f"the log {logfile} cannot be written: {error.strerror}") from error

    @implementer(ILogObserver)
    def write(event: LogEvent) -> None:
        stream.write(render(event) + "\n")
        stream.flush()

    level = LogLevel.debug if debug else LogLevel.info
    predicate = LogLevelFilterPredicate(defaultLogLevel=level)
    # autobahn's debug log prints handshakes; it is of no use here.
    predicate.setLogLevelForNamespace("autobahn", LogLevel.warn)
    return FilteringLogObserver(write, [predicate])


class ToTwisted(logging.Handler):
    """Sends what libraries log through the standard logging to Twisted's log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Passes one record on."""
        level = LogLevel.levelWithName(_LEVELS.get(record.levelno, "info"))
        failure = None
        if record.exc_info and record.exc_info[1]:
            failure = Failure(record.exc_info[1])
        Logger(record.name).emit(
            level,
            "{text}",
            text=record.getMessage(),
            **({"log_failure": failure} if failure else {}),
        )


_LEVELS = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "critical",
}


def adopt_standard_logging() -> None:
    """Routes warnings and worse of the standard logging into Twisted's log."""
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.WARNING, handlers=[ToTwisted()])

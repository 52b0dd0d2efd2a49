"""``consolectl recording``: what was recorded, and how it is played, checked and kept."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import click

from consoled.cli.api import ApiClient, path
from consoled.cli.api import query as query_text
from consoled.cli.failure import Failure
from consoled.cli.invocation import Invocation, format_option, pass_invocation
from consoled.cli.naming import server_id
from consoled.cli.output import Column, say
from consoled.errors import ConfigError
from consoled.recording.chain import Outcome, Verdict, verify
from consoled.recording.keyfile import read_key
from consoled.recording.reading import NotARecording, events, lines_of
from consoled.recording.replay import RESTORE, play
from consoled.recording.values import is_session_id

RECORDINGS = (
    Column("id", "ID"),
    Column("server_name", "SERVER", shrinks=True),
    Column("console_index", "CONSOLE"),
    Column("console_type", "TYPE"),
    Column("user_id", "USER", shrinks=True),
    Column("project_id", "PROJECT", shrinks=True),
    Column("started_at", "STARTED"),
    Column("ended_at", "ENDED"),
    Column("bytes", "BYTES"),
    Column("state", "STATE"),
    Column("archive", "ARCHIVE"),
    Column("image_id", "IMAGE"),
    Column("host", "HOST"),
)

ALL = (*RECORDINGS, Column("archive_reason", "REASON"), Column("digest", "DIGEST"))

PIECE = 8 * 1024 * 1024
"""Bytes of a recording that one request asks for."""

_RECORDING = "RECORDING is an id of the list, or a file."


@click.group()
def recording() -> None:
    """Recordings of sessions."""


@recording.command("list")
@click.option("--server", metavar="SERVER", help="Of this server only, a name or uuid.")
@click.option("--user", metavar="USER", help="Of this user's sessions only.")
@click.option("--since", metavar="TIME", help="Begun then or later, as 2026-01-01, in UTC.")
@click.option("--until", metavar="TIME", help="Begun before, as 2026-01-01T00:00:00Z, in UTC.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, help="How many at most; 100 by default."
)
@format_option
@pass_invocation
def list_recordings(invocation: Invocation, /, server: str | None, **query: Any) -> None:
    """List the recordings that the key may see, the newest first."""
    api = invocation.api()
    if server is not None:
        query["server"] = server if is_session_id(server) else server_id(api, server)
    found = api.get_list(path("v1", "recordings") + query_text(query), "recordings")
    invocation.show_table(RECORDINGS, found, "There are no such recordings that this key may see.")


@recording.command("show")
@click.argument("recording", metavar="RECORDING")
@format_option
@pass_invocation
def show_recording(invocation: Invocation, /, recording: str) -> None:
    """Show all that is known of RECORDING, an id of the list."""
    found = invocation.api().get(path("v1", "recordings", _checked(recording)), "recording")
    invocation.show_object(ALL, found)


@recording.command("download")
@click.argument("recording", metavar="RECORDING")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@pass_invocation
def download(invocation: Invocation, recording: str, file: Path | None) -> None:
    """Write RECORDING, an id of the list, to FILE, by default ID.cast here."""
    target = file or Path(f"{_checked(recording)}.cast")
    api = invocation.api()
    pieces = _pieces(api, _checked(recording))
    first = next(pieces)
    try:
        # Others learn nothing of it, and no file that is there is lost.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failure(f"{target}: cannot make this file: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(first)
            for piece in pieces:
                sink.write(piece)
    except BaseException as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, OSError):
            raise Failure(f"{target}: cannot write this file: {error.strerror}") from None
        raise
    say(str(target))


@recording.command("delete")
@click.argument("recording", metavar="RECORDING")
@pass_invocation
def delete(invocation: Invocation, recording: str) -> None:
    """Delete RECORDING, an id of the list, for good."""
    invocation.api().delete(path("v1", "recordings", _checked(recording)))


@recording.command("verify", epilog=_RECORDING)
@click.argument("recording", metavar="RECORDING")
@click.option(
    "--key-file",
    "chain_key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key of the recordings' chains: [recording] key_file of the daemon.",
)
@format_option
@pass_invocation
def verify_recording(invocation: Invocation, recording: str, chain_key: Path | None) -> None:
    """Tell whether RECORDING is whole, and exit with 1 if it is cut or altered.

    Of an id, the last digest is compared with the one in the cell database, too.
    """
    try:
        key = None if chain_key is None else read_key(chain_key)
    except ConfigError as error:
        raise Failure(str(error)) from None
    with _opened(invocation, recording) as (file, about):
        try:
            verdict = verify(lines_of(file), key)
        except NotARecording as error:
            raise Failure(f"{recording}: this is no recording: {error}") from None
    replaced = _is_replaced(verdict, about)
    outcome = Outcome.ALTERED if replaced else verdict.outcome
    text = verdict.text
    if replaced:
        text = "altered: its last digest is not the one in the cell database"
    elif verdict.outcome is Outcome.WHOLE and about is not None:
        text += ", and as the cell database has it"
    value = {"outcome": outcome.value, "line": verdict.line, "keyed": verdict.keyed, "text": text}
    if outcome is not Outcome.WHOLE and not invocation.wants_json:
        raise Failure(f"{recording}: {text}")
    invocation.show(value, f"{recording}: {text}")
    if outcome is not Outcome.WHOLE:
        raise SystemExit(1)


@recording.command("play", epilog=_RECORDING)
@click.argument("recording", metavar="RECORDING")
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    metavar="N",
    help="How many times as fast as it was.",
)
@click.option(
    "--idle-limit",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="The longest pause; without it all are as they were.",
)
@pass_invocation
def play_recording(
    invocation: Invocation, recording: str, speed: float, idle_limit: float | None
) -> None:
    """Play RECORDING in this terminal; ^C ends it.

    Only what draws is shown: nothing in a recording reaches the clipboard, the title or the
    keyboard of this terminal.
    """
    with _opened(invocation, recording) as (file, _), _quiet_terminal():
        try:
            play(
                events(lines_of(file)),
                _write,
                time.sleep,
                speed=speed,
                idle_limit=idle_limit,
            )
        except NotARecording as error:
            raise Failure(f"{recording}: this is no recording: {error}") from None
        except (KeyboardInterrupt, BrokenPipeError):
            pass


def _is_replaced(verdict: Verdict, about: dict[str, Any] | None) -> bool:
    """Whether a file that is right in itself is not the one that was written."""
    digest = "" if about is None else about.get("digest")
    return bool(digest) and verdict.outcome is Outcome.WHOLE and digest != verdict.digest


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def _quiet_terminal() -> Iterator[None]:
    """No echo while it plays; afterwards the terminal as it was, and nothing typed left."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        try:
            yield
        finally:
            if sys.stdout.isatty():
                _write(RESTORE)
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    silent = termios.tcgetattr(descriptor)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        _write(RESTORE)
        # Also drops whatever the terminal has answered.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _checked(recording: str) -> str:
    if not is_session_id(recording):
        raise click.UsageError("RECORDING must be an id of `consolectl recording list`.")
    return recording


@contextmanager
def _opened(
    invocation: Invocation, recording: str
) -> Iterator[tuple[BinaryIO, dict[str, Any] | None]]:
    """The content, and what the API says of it; None for a file."""
    if is_session_id(recording):
        api = invocation.api()
        about = api.get(path("v1", "recordings", recording), "recording")
        with io.BufferedReader(_Pieces(_pieces(api, recording)), 64 * 1024) as remote:
            yield remote, about
        return
    try:
        file = Path(recording).open("rb")  # noqa: SIM115 - closed by `with file` below
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"{recording}: cannot read this file: {reason}") from None
    with file:
        yield file, None


def _pieces(api: ApiClient, recording: str) -> Iterator[bytes]:
    """The content, as it is at the first request."""
    route = path("v1", "recordings", recording, "content")
    start, total = 0, 1
    while start < total:
        piece, length = api.fetch(route, start, PIECE)
        total = length if start == 0 else total
        if not piece and start < total:
            raise Failure("the API broke off the recording; try again")
        yield piece[: total - start]
        start += len(piece)


class _Pieces(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

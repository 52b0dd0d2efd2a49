"""One recording's file while it is written: lines gathered, sealed, and written whole.

For one thread. What a write did not take is taken back, so that the file ends with a whole
line whatever happens; only a kill in the middle of a write can leave a piece of one, and
:meth:`consoled.recording.folder.RecordingFolder.trim` takes that away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from attrs import define, field

from consoled.recording.cast import PIECE, CastWriter, Header
from consoled.recording.chain import Chain
from consoled.recording.echo import HIDDEN, EchoFilter, Found
from consoled.recording.values import Ending, Facts

TICK = 0.015
"""Seconds of output that become one event at most."""


@define(eq=False)
class Tape:
    """An open file.

    :ivar descriptor: closed by :meth:`release`.
    :ivar began: the moment of the beginning, in seconds of the clock that ``at`` is of.
    :ivar echo: judges the input; None records none.
    """

    descriptor: int
    facts: Facts
    began: float
    chain: Chain
    echo: EchoFilter | None
    size: int = field(default=0, init=False)
    _cast: CastWriter = field(init=False)
    _lines: list[bytes] = field(factory=list, init=False)
    _output: list[bytes] = field(factory=list, init=False)
    _output_at: float = field(default=0.0, init=False)
    _output_size: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._cast = CastWriter(self.began)
        self._lines.append(Header(self.facts.started, self.facts.instance_name).line())
        self._lines.append(self.facts.line())

    def output(self, at: float, data: bytes) -> None:
        """What the guest printed."""
        if self.echo is not None:
            self._found(self.echo.printed(at, data))
        if self._output and (at - self._output_at >= TICK or self._output_size >= PIECE):
            self._end_output()
        if not self._output:
            self._output_at = at
        self._output.append(data)
        self._output_size += len(data)

    def input(self, at: float, data: bytes) -> None:
        """What the viewer typed; most of it is not recorded."""
        if self.echo is not None:
            self._found(self.echo.typed(at, data))

    def marker(self, at: float, text: str) -> None:
        """Something that happened."""
        self._end_output()
        self._lines.append(self._cast.marker(at, text))

    def resize(self, at: float, cols: int, rows: int) -> None:
        """The terminal's new size."""
        self._end_output()
        self._lines.append(self._cast.resize(at, cols, rows))

    def flush(self) -> None:
        """Writes what has been gathered.

        :raises OSError: it could not be written, and nothing of it is in the file.
        """
        self._end_output()
        lines = b"".join(self._lines)
        self._lines.clear()
        if lines:
            self._write(self.chain.seal(lines))

    def close(self, at: float, complete: bool) -> Ending:
        """Writes the rest and the closing line.

        :param complete: whether everything is in it that was to be recorded.
        :raises OSError: it could not be written.
        """
        if self.echo is not None:
            self._found(self.echo.close(at))
        self._end_output()
        lines = b"".join(self._lines) + self._cast.close(at)
        self._write(self.chain.close(lines))
        return Ending(self.size, self.chain.digest, complete)

    def release(self) -> None:
        """Closes the file, and so its lock."""
        with suppress(OSError):
            os.close(self.descriptor)

    def _found(self, found: Iterable[Found]) -> None:
        for at, data in found:
            if data is None:
                self.marker(at, HIDDEN)
            else:
                self._end_output()
                self._lines.append(self._cast.input(at, data))

    def _end_output(self) -> None:
        if self._output:
            self._lines.append(self._cast.output(self._output_at, b"".join(self._output)))
            self._output.clear()
            self._output_size = 0

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(data)

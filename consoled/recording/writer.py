"""Recordings as sessions feed them, and the one thread that writes them all.

The reactor's part of a keystroke is one entry in a queue. Ten times a second, and
when much has come, the thread takes it, makes lines of it and writes them. While nothing comes
it sleeps.

The memory of a recording is bounded, also if the disk does not keep up: over :data:`HIGH`
bytes waiting, a strict recording asks the session to hold the guest's output back, as a slow
viewer does; another one leaves out what comes over :data:`LIMIT`, and a marker says how much.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen

from consoled.recording.cast import INPUT, MARKER, OUTPUT, RESIZE
from consoled.recording.chain import Chain
from consoled.recording.echo import EchoFilter
from consoled.recording.folder import RecordingFolder
from consoled.recording.tape import Tape
from consoled.recording.values import Ending, Facts

LIMIT = 256 * 1024
"""Bytes that wait in one recording at most, what keeps them included."""

HIGH = 128 * 1024
LOW = 32 * 1024
"""Bytes waiting above which a strict recording holds the guest, and below which it lets go."""

MUCH = 64 * 1024
"""Bytes waiting above which the thread comes at once."""

TURN = 16 * 1024
"""Bytes of one recording that are written before the next one's turn."""

ROOM_INTERVAL = 1.0
"""Seconds between two looks at the free space."""

_COST = 128
"""Bytes that an entry of the queue takes besides its data."""

_CLOSE = "close"
_PAUSE = 0.1
"""Seconds between two turns of the thread while little comes: what one takes, a keystroke at that
moment waits for."""

_QUIET = 10
"""Turns without work after which the thread waits to be woken."""

_YIELD = 0.0005
"""Seconds that the reactor has between two turns while a line floods."""


class Listener(Protocol):
    """Who hears of a recording's troubles, on the reactor's thread."""

    def recording_failed(self, reason: str) -> None:
        """It must be whole and cannot be: the session ends. Once.

        :param reason: a sentence for people.
        """

    def recording_suffers(self, reason: str) -> None:
        """Something is not recorded, and the session goes on. Once.

        :param reason: a sentence for people.
        """

    def recording_lags(self, lags: bool) -> None:
        """Whether the guest's output is to be held back for now."""


class Silent:
    """A listener that does nothing."""

    def recording_failed(self, reason: str) -> None:
        """Nothing."""

    def recording_suffers(self, reason: str) -> None:
        """Nothing."""

    def recording_lags(self, lags: bool) -> None:
        """Nothing."""


_Entry = tuple[float, str, bytes]


@define(eq=False)
class Recording:
    """One session's recording, for the reactor's thread.

    What is fed after the end, or after a failure, goes nowhere.

    :ivar strict: whether the session may not go on unrecorded.
    :ivar finished: called once, when the file is closed; None where it never was made.
    """

    facts: Facts
    strict: bool
    listener: Listener
    finished: Callable[[Ending | None], None]
    writer: RecordingWriter
    # Of both threads; each operation on them is atomic.
    queue: deque[_Entry] = field(factory=deque, init=False)
    _append: Callable[[_Entry], None] = field(init=False)
    _now: Callable[[], float] = field(init=False)
    dirty: bool = field(default=False, init=False)
    held: bool = field(default=False, init=False)
    taken: int = field(default=0, init=False)
    # Of the writer's thread.
    tape: Tape | None = field(default=None, init=False)
    done: bool = field(default=False, init=False)
    gaps: bool = field(default=False, init=False)
    _fed: int = field(default=0, init=False)
    _missed: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)
    _complained: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._append, self._now = self.queue.append, self.writer.seconds

    def output(self, data: bytes) -> None:
        """What the guest printed."""
        # The path of each keystroke's echo: no call but the clock's, while there is room.
        fed = self._fed + len(data) + _COST
        if self._over or self._missed or fed - self.taken > MUCH:
            self._put(OUTPUT, data)
            return
        self._fed = fed
        self._append((self._now(), OUTPUT, data))
        if not self.dirty:
            self.dirty = True
            self.writer.enlist(self)

    def input(self, data: bytes) -> None:
        """What the viewer typed. Recorded if the configuration says so, and the guest echoes it."""
        if self.writer.records_input:
            self._put(INPUT, data)

    def marker(self, text: str) -> None:
        """Something that happened: attach, detach, take-over, BREAK."""
        self._put(MARKER, text.encode("utf-8", "replace"))

    def resize(self, cols: int, rows: int) -> None:
        """The terminal's new size."""
        self._put(RESIZE, b"%dx%d" % (cols, rows))

    def close(self) -> None:
        """The session's end; called once or more."""
        if not self._over:
            self._over = True
            self._note_missed()
            self._enter(_CLOSE, b"")

    def fail(self, reason: str) -> None:
        """Ends the recording before its session's end, and tells the listener.

        :param reason: a sentence for people.
        """
        if not self._over:
            self._over = self.gaps = True
            self._enter(_CLOSE, b"")
            self._tell(reason)

    def broke(self, reason: str) -> None:
        """As :meth:`fail`, where the file is closed already."""
        if not self._over:
            self._over = True
            self._tell(reason)

    def relieve(self) -> None:
        """The writer has caught up."""
        if self.held:
            self.held = False
            self.listener.recording_lags(False)

    def _put(self, code: str, data: bytes) -> None:
        if self._over:
            return
        fed = self._fed + len(data) + _COST
        waiting = fed - self.taken
        if waiting > LIMIT or self._missed:
            if not self._makes_room(waiting, len(data)):
                return
            fed = self._fed + len(data) + _COST
        self._fed = fed
        self._append((self._now(), code, data))
        if waiting > HIGH and self.strict and not self.held:
            self.held = True
            self.listener.recording_lags(True)
        # After the entry and after `held`: the writer looks at both once more then.
        if not self.dirty:
            self.dirty = True
            self.writer.enlist(self)
        if waiting > MUCH:
            self.writer.hurry()

    def _makes_room(self, waiting: int, size: int) -> bool:
        if waiting <= HIGH:
            self._note_missed()
            return True
        if self.strict:
            self.fail("This session must be recorded, and its recording does not keep up.")
            return False
        self._missed += size
        self._complain("The recording of this session does not keep up, and has gaps.")
        return False

    def _note_missed(self) -> None:
        missed, self._missed = self._missed, 0
        if missed:
            self.gaps = True
            self._enter(MARKER, b"%d bytes are missing here" % missed)

    def _enter(self, code: str, data: bytes) -> None:
        self._fed += len(data) + _COST
        self._append((self._now(), code, data))
        if not self.dirty:
            self.dirty = True
            self.writer.enlist(self)

    def _tell(self, reason: str) -> None:
        if self.strict:
            self.listener.recording_failed(reason)
        else:
            self._complain(reason)
        if self.held:
            self.held = False
            self.listener.recording_lags(False)

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            self.listener.recording_suffers(reason)


@frozen
class Rules:
    """What holds for all recordings of a daemon.

    :ivar records_input: ``[recording] input``.
    :ivar headroom: bytes that must stay free on the disk.
    :ivar key: of the chains' HMAC, or None.
    """

    records_input: bool = False
    headroom: int = 0
    key: bytes | None = field(default=None, repr=False)


@define(eq=False)
class RecordingWriter:
    """Writes recordings, in a thread of its own.

    :ivar seconds: the clock of the events; it does not step.
    :ivar to_reactor: has a call made on the reactor's thread (``callFromThread``).
    :ivar free: bytes that the disk still has.
    """

    folder: RecordingFolder
    rules: Rules
    to_reactor: Callable[[Callable[[], None]], object]
    seconds: Callable[[], float] = time.monotonic
    free: Callable[[], int] = field()
    records_input: bool = field(init=False)
    _ready: deque[Recording] = field(factory=deque, init=False)
    _asleep: bool = field(default=False, init=False)
    _wake: threading.Event = field(factory=threading.Event, init=False)
    _stopping: bool = field(default=False, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _looked: float | None = field(default=None, init=False)
    _full: bool = field(default=False, init=False)

    @free.default
    def _free_of_the_disk(self) -> Callable[[], int]:
        return self.folder.free

    def __attrs_post_init__(self) -> None:
        self.records_input = self.rules.records_input

    def start(self) -> None:
        """Starts the thread; called after twistd's fork."""
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Ends the thread when all that was fed is written.

        :param stopped: called on the reactor's thread then.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            stopped()
            return
        self._stopping = True
        self._wake.set()

        def wait() -> None:
            thread.join()
            self.to_reactor(stopped)

        threading.Thread(target=wait, name="recordings-end", daemon=True).start()

    def enlist(self, recording: Recording) -> None:
        """There is something to write. From any thread."""
        self._ready.append(recording)
        if self._asleep:
            self._wake.set()

    def hurry(self) -> None:
        """Much waits to be written. From any thread."""
        if not self._wake.is_set():
            self._wake.set()

    def step(self) -> bool:
        """One turn for each recording that has something; whether there was any."""
        count = len(self._ready)
        for _ in range(count):
            recording = self._ready.popleft()
            # First, so that whatever is fed from now on enlists it again.
            recording.dirty = False
            if recording.done:
                recording.queue.clear()
            else:
                self._turn(recording)
            if recording.queue and not recording.dirty:
                recording.dirty = True
                self._ready.append(recording)
            elif recording.held and len(recording.queue) * _COST < LOW:
                self.to_reactor(recording.relieve)
        return count > 0

    def _run(self) -> None:
        quiet = 0
        while True:
            quiet = 0 if self.step() else quiet + 1
            if self._ready:
                time.sleep(_YIELD)
            elif self._stopping:
                return
            elif quiet < _QUIET:
                # Woken by much only: an Event set from the reactor would cost each keystroke.
                self._wake.wait(_PAUSE)
                self._wake.clear()
            else:
                self._asleep = True
                if not self._ready and not self._stopping:
                    self._wake.wait()
                self._asleep = False
                self._wake.clear()
                quiet = 0

    def _turn(self, recording: Recording) -> None:
        try:
            tape = recording.tape or self._begin(recording)
            if not self._has_room():
                self._no_room(recording, tape)
                return
            closing = self._feed(recording, tape)
            if closing is None:
                tape.flush()
            else:
                self._end(recording, tape.close(closing, not recording.gaps))
        except OSError as error:
            reason = f"The recording of this session cannot be written: {error.strerror}."
            self._break(recording, reason)
        except Exception as error:
            reason = f"The recording of this session failed: {type(error).__name__}."
            self._break(recording, reason)

    def _begin(self, recording: Recording) -> Tape:
        facts, at = recording.facts, recording.queue[0][0]
        self.folder.make()
        self._looked = None
        echo = EchoFilter() if self.records_input else None
        descriptor = self.folder.create(facts.session_id)
        recording.tape = Tape(descriptor, facts, at, Chain(self.rules.key), echo)
        return recording.tape

    def _feed(self, recording: Recording, tape: Tape) -> float | None:
        """Hands what waits to the tape, in turn; the moment of the close if it is among that."""
        size = 0
        while recording.queue and size < TURN:
            at, code, data = recording.queue.popleft()
            if code == OUTPUT:
                tape.output(at, data)
            elif code == INPUT:
                tape.input(at, data)
            elif code == MARKER:
                tape.marker(at, data.decode())
            elif code == RESIZE:
                cols, _, rows = data.partition(b"x")
                tape.resize(at, int(cols), int(rows))
            else:
                return at
            size += len(data)
            recording.taken += len(data) + _COST
        return None

    def _has_room(self) -> bool:
        now = self.seconds()
        if self._looked is None or now - self._looked >= ROOM_INTERVAL:
            self._looked = now
            self._full = self.rules.headroom > 0 and self.free() < self.rules.headroom
        return not self._full

    def _no_room(self, recording: Recording, tape: Tape) -> None:
        at = recording.queue[0][0] if recording.queue else self.seconds()
        tape.marker(at, "the recording stops here: the disk is nearly full")
        self._end(recording, tape.close(at, False))
        reason = "The recording of this session cannot go on: the disk is nearly full."
        self.to_reactor(lambda: recording.broke(reason))

    def _break(self, recording: Recording, reason: str) -> None:
        tape = recording.tape
        ending = None if tape is None else Ending(tape.size, "", False)
        self._end(recording, ending)
        self.to_reactor(lambda: recording.broke(reason))

    def _end(self, recording: Recording, ending: Ending | None) -> None:
        recording.done = True
        recording.queue.clear()
        tape, recording.tape = recording.tape, None
        if tape is not None:
            tape.release()
        self.to_reactor(lambda: recording.finished(ending))

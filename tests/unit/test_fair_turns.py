"""A line that floods yields: by a clock that counts work, as time would tell of the machine.

The rule is two milliseconds for each line at a time (reference: issue, "Fair and bounded"). A
read of a guest's output takes some 50 us and has a most; so does what a viewer's tiny frames are
taken in (``SIP``), which is test_relay.py's.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from test_turning import Peer, Room

from consoled.proxy.gate import InputThrottle
from consoled.proxy.leg import READ_SIZE, Leg

FLOOD = 4 * 1024 * 1024


class Work:
    """Counts what is done, in the order of its doing.

    :ivar since: bytes of the flood that were taken since the typist had the last turn.
    :ivar reads: in so many reads.
    :ivar most: the most of both that ever came between two turns of the typist.
    :ivar total: bytes of the flood in all.
    """

    def __init__(self) -> None:
        self.since = self.reads = self.total = 0
        self.most = (0, 0)

    def flooded(self, data: bytes) -> None:
        """The guest's output."""
        self.since += len(data)
        self.reads += 1
        self.total += len(data)

    def typed(self) -> None:
        """The typist has had a turn."""
        self.most = max(self.most, (self.reads, self.since))
        self.since = self.reads = 0


@pytest.fixture
def room() -> Iterator[Room]:
    """A reactor of its own, turned by hand."""
    found = Room()
    yield found
    found.close()


def connected_leg(room: Room, work: Work) -> socket.socket:
    """The guest's end of a leg whose output is counted."""
    leg = Leg()
    found = room.accepted(leg)  # type: ignore[arg-type]  # it wants a transport, as a peer does
    leg.start(work.flooded, lambda: None, InputThrottle())
    return found


def test_one_read_between_two_turns(room: Room) -> None:
    """However much waits in a guest's socket, everybody has a turn after one bounded read."""
    work, typist = Work(), Peer()
    typist.on_data = work.typed
    with connected_leg(room, work) as guest, room.accepted(typist) as keyboard:
        guest.setblocking(False)
        keyboard.setblocking(False)
        while work.total < FLOOD:
            fill(guest)
            keyboard.send(b"k")
            room.reactor.doIteration(1)
        room.turn(lambda: typist.heard)
    assert work.most[0] == 1
    assert 0 < work.most[1] <= READ_SIZE


def test_floods_share(room: Room) -> None:
    """Of several floods each gets one read a turn: none waits for another's end."""
    works = [Work(), Work(), Work()]
    guests = [connected_leg(room, work) for work in works]
    for guest in guests:
        guest.setblocking(False)
    while min(work.total for work in works) < FLOOD:
        for guest in guests:
            fill(guest)
        before = [work.reads for work in works]
        room.reactor.doIteration(1)
        assert [w.reads - b for w, b in zip(works, before, strict=True)] == [1, 1, 1]
    for guest in guests:
        guest.close()


def fill(guest: Any) -> None:
    """Writes all that the kernel takes."""
    try:
        while guest.send(bytes(256 * 1024)):
            pass
    except BlockingIOError:
        return

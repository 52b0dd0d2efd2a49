"""The WebSocket subprotocols, without I/O: what a frame means and how bytes become one.

* ``consoled.v1`` (the page): binary frames are the wire, text frames are JSON
  control messages, docs/protocol.rst lists them.
* ``binary``, or none at all: nothing but the wire. Text is taken as input, so
  that an old client which sends text is not cut off at its first key.
* ``base64``: the wire in base64 text frames, both ways.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from consoled.model import PTY, SERIAL, TCP

CONSOLED_V1 = "consoled.v1"
BINARY = "binary"
BASE64 = "base64"

LONGEST_SIDE = 2000
"""Columns or rows of the largest terminal that is believed."""

_BY_PREFERENCE = (CONSOLED_V1, BINARY, BASE64)


class BadMessage(Exception):
    """The client's message has no meaning; the text is the close reason."""


@frozen
class Acknowledged:
    """The page has shown this many bytes of output, in all.

    :ivar count: bytes since hello.
    """

    count: int


@frozen
class Confirmed:
    """The person wants to type although the guest has said nothing yet."""


@frozen
class HandedOver:
    """The person gives the console to whoever asks for it."""


@frozen
class Pasting:
    """So many bytes of input from here on are a paste, whose way the page wants to know.

    :ivar count: bytes.
    """

    count: int


@frozen
class Cancelled:
    """The person wants no more of the paste."""


@frozen
class BreakWanted:
    """The person wants to send a BREAK.

    :ivar sysrq: the key that follows it, or None for a BREAK alone.
    """

    sysrq: str | None


@frozen
class Resized:
    """The page's terminal has this size.

    :ivar columns: characters in a row.
    :ivar rows: lines.
    """

    columns: int
    rows: int


Message = (
    bytes
    | Acknowledged
    | Confirmed
    | HandedOver
    | Pasting
    | Cancelled
    | BreakWanted
    | Resized
    | None
)
"""What a frame of the client is: input, a control message, or nothing to us."""


class Subprotocol(Protocol):
    """How one subprotocol speaks.

    :cvar controls: whether it carries control messages.
    :cvar is_wire: whether its binary frames are the wire itself.
    """

    controls: bool
    is_wire: bool

    def encode(self, data: bytes) -> tuple[bytes, bool]:
        """``(payload, is_binary)`` of a frame with these bytes of output."""

    def decode(self, payload: bytes, is_binary: bool) -> Message:
        """The input bytes or control message of a frame; None says nothing to us.

        :raises BadMessage: the frame has no meaning here.
        """


class Binary:
    """``binary``, and no subprotocol."""

    controls = False
    is_wire = True

    def encode(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes as they are."""
        return data, True

    def decode(self, payload: bytes, is_binary: bool) -> Message:
        """The bytes as they are, of text as well."""
        return payload


class Base64:
    """``base64``."""

    controls = False
    is_wire = False

    def encode(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes in base64."""
        return base64.b64encode(data), False

    def decode(self, payload: bytes, is_binary: bool) -> Message:
        """The bytes that the base64 text stands for."""
        try:
            return base64.b64decode(payload, validate=True)
        except binascii.Error:
            raise BadMessage("The frame is not base64.") from None


class ConsoledV1:
    """``consoled.v1``."""

    controls = True
    is_wire = True

    def encode(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes as they are, in a binary frame."""
        return data, True

    def decode(self, payload: bytes, is_binary: bool) -> Message:
        """Input from binary frames, control messages from text; unknown types mean nothing."""
        if is_binary:
            return payload
        try:
            message: Any = json.loads(payload)
        except (ValueError, RecursionError):
            raise BadMessage("The control message is not JSON.") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise BadMessage("A control message is an object with a type.")
        return _meaning(message)


_BARE: dict[str, Message] = {
    "confirm": Confirmed(),
    "handover": HandedOver(),
    "cancel": Cancelled(),
}
"""The control messages that carry nothing else."""


def _meaning(message: dict[str, Any]) -> Message:
    if message["type"] == "ack":
        return Acknowledged(_count(message, "An ack"))
    if message["type"] == "paste":
        return Pasting(_count(message, "A paste"))
    if message["type"] == "break":
        return BreakWanted(_sysrq(message))
    if message["type"] == "resize":
        return Resized(_side(message, "columns"), _side(message, "rows"))
    return _BARE.get(message["type"])


def _count(message: dict[str, Any], what: str) -> int:
    count = message.get("bytes")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise BadMessage(f"{what} needs its bytes, a whole number.")
    return count


def _side(message: dict[str, Any], name: str) -> int:
    side = message.get(name)
    if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= LONGEST_SIDE:
        raise BadMessage(
            f"A resize needs its columns and rows, whole numbers from 1 to {LONGEST_SIDE}."
        )
    return side


def _sysrq(message: dict[str, Any]) -> str | None:
    key = message.get("sysrq")
    if key is not None and not isinstance(key, str):
        raise BadMessage("A break's sysrq is a key, a text.")
    return key


_SPEAKERS: dict[str | None, Subprotocol] = {
    None: Binary(),
    BINARY: Binary(),
    BASE64: Base64(),
    CONSOLED_V1: ConsoledV1(),
}


def choose(offered: Sequence[str]) -> str | None:
    """The subprotocol to speak, or None where none was offered.

    :param offered: the client's list, in its order.
    :raises ValueError: a list without any that consoled speaks.
    """
    names = [name.strip() for name in offered if name.strip()]
    if not names:
        return None
    for name in _BY_PREFERENCE:
        if name in names:
            return name
    raise ValueError(f"none of the offered subprotocols is one of {', '.join(_BY_PREFERENCE)}")


def speaker(name: str | None) -> Subprotocol:
    """The speaker of a chosen subprotocol."""
    return _SPEAKERS[name]


def hello(
    *,
    session_id: str,
    resume: str,
    instance: Mapping[str, str],
    index: int,
    console_type: str = SERIAL,
    kind: str = TCP,
    role: str,
    offset: int,
    lost: int,
    replay: int,
    unproven: bool,
    paste_rate: float,
    breaks: bool = False,
    linger: float = 0.0,
) -> bytes:
    """The first control message of ``consoled.v1``: the guest's port is connected.

    :param console_type: said where it is not a serial port.
    :param kind: how the console is reached; said where it is a pty.
    :param role: ``writer`` or ``observer``.
    :param resume: the key by which this viewer comes back to its session.
    :param offset: the line's count of output bytes before the next one.
    :param lost: output bytes that the viewer asked for and that are gone.
    :param replay: how many of the next bytes were shown before: their queries are answered.
    :param unproven: whether input is dropped until the guest's first byte, or ``confirm``.
    :param paste_rate: bytes of input a second that go to the guest; 0 is without limit.
    :param breaks: whether this viewer may send a BREAK.
    :param linger: seconds that a page may wait for an instance that stopped.
    """
    more: dict[str, object] = {}
    if console_type != SERIAL:
        more["console_type"] = console_type
    if kind == PTY:
        more["kind"] = kind
    if lost:
        more["lost"] = lost
    if replay:
        more["replay"] = replay
    if unproven:
        more["unproven"] = True
    if breaks:
        more["breaks"] = True
    if linger:
        more["linger"] = linger
    return _message(
        "hello",
        session=session_id,
        resume=resume,
        role=role,
        instance=instance,
        console=index,
        offset=offset,
        paste_rate=paste_rate,
        **more,
    )


def busy(user: str | None, since: str | None, *, takeover: bool, ask: bool, force: bool) -> bytes:
    """Who has the console, before a close with 4409.

    :param since: a time in ISO 8601.
    :param takeover: whether this user may take it over at once: it is the own one.
    :param ask: whether this user may ask for it.
    :param force: whether this user may take it from its holder at once.
    """
    return _message("busy", user=user, since=since, takeover=takeover, ask=ask, force=force)


def viewers(writer: str | None, observers: Sequence[str]) -> bytes:
    """Who is on the line: the user in the writer's seat, and those who watch."""
    return _message("viewers", writer=writer, observers=list(observers))


def takeover(user: str | None, seconds: float) -> bytes:
    """Somebody asks for the console and gets it in that time; None: not any more."""
    return _message("takeover", user=user, seconds=seconds)


def waiting(user: str | None, seconds: float) -> bytes:
    """The console was asked of its holder; this viewer has it in that time at the latest."""
    return _message("waiting", user=user, seconds=seconds)


def pasted(count: int, dropped: int | None) -> bytes:
    """So much of the announced paste is at the console.

    :param dropped: where the paste is over before its end: input bytes that waited and never come.
    """
    more = {} if dropped is None else {"dropped": dropped}
    return _message("pasted", bytes=count, **more)


def warning(text: str, *, until_typing: bool = False) -> bytes:
    """A line that the page shows to the person until it is dismissed.

    :param until_typing: or until the person types.
    """
    more = {"until": "typing"} if until_typing else {}
    return _message("notice", text=text, kind="warning", **more)


def _message(of_type: str, /, **fields: object) -> bytes:
    return json.dumps({"type": of_type, **fields}, ensure_ascii=True).encode()

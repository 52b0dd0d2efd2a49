"""The subprotocols: what a frame means, and how bytes become one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.proxy import subprotocol
from consoled.proxy.subprotocol import Acknowledged, BadMessage, Resized, choose, speaker


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        ([""], None),
        (["binary"], "binary"),
        (["binary", " base64"], "binary"),
        (["base64", "binary"], "binary"),
        (["base64"], "base64"),
        (["binary", "consoled.v1"], "consoled.v1"),
        (["chat", "binary"], "binary"),
    ],
)
def test_choice(offered: list[str], chosen: str | None) -> None:
    """The page's protocol comes before nova's, binary before base64; names are trimmed."""
    assert choose(offered) == chosen


@pytest.mark.parametrize("offered", [["chat"], ["Binary"], ["binary.v2", "x"]])
def test_unknown_subprotocols_only(offered: list[str]) -> None:
    """A client that speaks nothing we do is told what we speak."""
    with pytest.raises(ValueError, match=r"consoled\.v1, binary, base64"):
        choose(offered)


@given(data=st.binary(min_size=1), name=st.sampled_from([None, "binary", "base64", "consoled.v1"]))
def test_bytes_survive(data: bytes, name: str | None) -> None:
    """What is encoded for one side and decoded from the other is the same bytes."""
    payload, is_binary = speaker(name).encode(data)
    assert speaker(name).decode(payload, is_binary) == data


def test_text_is_input_for_binary() -> None:
    """An old client that sends text is not cut off."""
    assert speaker("binary").decode(b"ls\r", False) == b"ls\r"
    assert speaker(None).decode(b"ls\r", False) == b"ls\r"


@given(count=st.integers(min_value=0))
def test_ack(count: int) -> None:
    """An ack carries the cumulative count."""
    message = json.dumps({"type": "ack", "bytes": count}).encode()
    assert speaker("consoled.v1").decode(message, False) == Acknowledged(count)


def test_unknown_control_messages_mean_nothing() -> None:
    """A newer page may say more than we know."""
    assert speaker("consoled.v1").decode(b'{"type": "sparkle", "x": 1}', False) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"[]",
        b"1",
        b"{}",
        b'{"type": 5}',
        b'{"type": "ack"}',
        b'{"type": "ack", "bytes": -1}',
        b'{"type": "ack", "bytes": true}',
        b'{"type": "ack", "bytes": 1.5}',
        b'{"type": "ack", "bytes": "1"}',
        b'{"type": "break", "sysrq": 1}',
        b'{"type": "paste"}',
        b'{"type": "paste", "bytes": -1}',
        b"\xff\xfe",
        b"[" * 60_000,
    ],
)
def test_bad_control_messages(payload: bytes) -> None:
    """A control message without a meaning is refused with a reason."""
    with pytest.raises(BadMessage):
        speaker("consoled.v1").decode(payload, False)


@pytest.mark.parametrize("payload", [b"a", b"aGk", b"aGk=\n", b"****", b"\xff"])
def test_bad_base64(payload: bytes) -> None:
    """Base64 is strict: nothing is skipped silently."""
    with pytest.raises(BadMessage):
        speaker("base64").decode(payload, False)


def test_hello_escapes_names() -> None:
    """An instance's name arrives as JSON text, in ASCII, whatever is in it."""
    name = '</script>\u202e"\x1b[31m'
    message = subprotocol.hello(
        session_id="s",
        resume="s.k",
        instance={"uuid": "u", "name": name},
        index=1,
        role="writer",
        offset=7,
        lost=0,
        replay=0,
        unproven=False,
        paste_rate=11_520,
    )
    assert message.isascii()
    assert b"\x1b" not in message
    assert json.loads(message) == {
        "type": "hello",
        "session": "s",
        "resume": "s.k",
        "role": "writer",
        "instance": {"uuid": "u", "name": name},
        "console": 1,
        "offset": 7,
        "paste_rate": 11_520,
    }


def test_hello_of_a_shell() -> None:
    """A page is told the type of a console that is no serial port."""
    greeting = {
        "session_id": "s",
        "resume": "s.k",
        "instance": {},
        "index": 0,
        "role": "writer",
        "offset": 0,
        "lost": 0,
        "replay": 0,
        "unproven": False,
        "paste_rate": 0,
    }
    assert json.loads(subprotocol.hello(**greeting, console_type="ssh"))["console_type"] == "ssh"
    assert "console_type" not in json.loads(subprotocol.hello(**greeting))
    assert json.loads(subprotocol.hello(**greeting, kind="pty"))["kind"] == "pty"
    assert "kind" not in json.loads(subprotocol.hello(**greeting, kind="tls"))


def test_resize() -> None:
    """A page says its terminal's size."""
    message = speaker("consoled.v1").decode(b'{"type":"resize","columns":132,"rows":43}', False)
    assert message == Resized(132, 43)


@pytest.mark.parametrize(
    "size",
    [
        {},
        {"columns": 80},
        {"columns": 0, "rows": 24},
        {"columns": 80, "rows": -1},
        {"columns": 80.5, "rows": 24},
        {"columns": True, "rows": 24},
        {"columns": "80", "rows": 24},
        {"columns": 2001, "rows": 24},
        {"columns": 80, "rows": 10**30},
    ],
)
def test_bad_resize(size: dict[str, object]) -> None:
    """A size that no terminal has breaks the protocol."""
    with pytest.raises(BadMessage):
        speaker("consoled.v1").decode(json.dumps({"type": "resize", **size}).encode(), False)


def test_hello_of_a_gap() -> None:
    """A page is told what is lost, and that its input is held back, only where that is so."""
    message = subprotocol.hello(
        session_id="s",
        resume="s.k",
        instance={},
        index=0,
        role="observer",
        offset=9,
        lost=2,
        replay=5,
        unproven=True,
        paste_rate=0,
    )
    assert json.loads(message).items() >= {"lost": 2, "replay": 5, "unproven": True}.items()


def test_warning() -> None:
    """A warning carries its text, and stays until it is dismissed."""
    expected = {"type": "notice", "text": "hi", "kind": "warning"}
    assert json.loads(subprotocol.warning("hi")) == expected
    typing = json.loads(subprotocol.warning("hi", until_typing=True))
    assert typing == expected | {"until": "typing"}


def test_busy() -> None:
    """Who has it, and what may be done about it, is told before the close."""
    message = subprotocol.busy("mia", None, takeover=True, ask=False, force=False)
    assert json.loads(message) == {
        "type": "busy",
        "user": "mia",
        "since": None,
        "takeover": True,
        "ask": False,
        "force": False,
    }


def test_company() -> None:
    """Who is on the line, who asks for the seat, and how long whoever asked has to wait."""
    assert json.loads(subprotocol.viewers("mia", ["noa"])) == {
        "type": "viewers",
        "writer": "mia",
        "observers": ["noa"],
    }
    expected = {"type": "takeover", "user": "noa", "seconds": 10}
    assert json.loads(subprotocol.takeover("noa", 10)) == expected
    assert json.loads(subprotocol.waiting(None, 10)) == {
        "type": "waiting",
        "user": None,
        "seconds": 10,
    }
    decoded = subprotocol.speaker("consoled.v1").decode(b'{"type": "handover"}', False)
    assert decoded == subprotocol.HandedOver()


def test_paste() -> None:
    """A page announces a paste and cancels it, and is told where it is and what never comes."""
    v1 = speaker("consoled.v1")
    assert v1.decode(b'{"type": "paste", "bytes": 65536}', False) == subprotocol.Pasting(65536)
    assert v1.decode(b'{"type": "cancel"}', False) == subprotocol.Cancelled()
    assert json.loads(subprotocol.pasted(1024, None)) == {"type": "pasted", "bytes": 1024}
    over = json.loads(subprotocol.pasted(1024, 0))
    assert over == {"type": "pasted", "bytes": 1024, "dropped": 0}


def test_break() -> None:
    """A page asks for a BREAK, with a SysRq's key or without, and is told whether it may."""
    v1 = speaker("consoled.v1")
    for text, key in ((b'{"type": "break"}', None), (b'{"type": "break", "sysrq": null}', None)):
        assert v1.decode(text, False) == subprotocol.BreakWanted(key)
    wanted = v1.decode(b'{"type": "break", "sysrq": "h"}', False)
    assert wanted == subprotocol.BreakWanted("h")
    greeting: dict[str, Any] = {
        "session_id": "s",
        "resume": "s.k",
        "instance": {},
        "index": 0,
        "role": "writer",
        "offset": 0,
        "lost": 0,
        "replay": 0,
        "unproven": False,
        "paste_rate": 0,
    }
    assert json.loads(subprotocol.hello(**greeting, breaks=True))["breaks"] is True
    assert "breaks" not in json.loads(subprotocol.hello(**greeting))
    # A page waits for an instance that stopped only where it is told how long.
    assert json.loads(subprotocol.hello(**greeting, linger=30.0))["linger"] == 30
    assert "linger" not in json.loads(subprotocol.hello(**greeting))


def test_confirm() -> None:
    """The page's person may type blindly."""
    decoded = subprotocol.speaker("consoled.v1").decode(b'{"type": "confirm"}', False)
    assert decoded == subprotocol.Confirmed()

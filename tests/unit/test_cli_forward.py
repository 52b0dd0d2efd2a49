"""``consolectl forward``: what its arguments mean, and what it says of refusals."""

from __future__ import annotations

import pytest

from consoled.cli.forward import Spec, parse_spec
from consoled.cli.tunnels import Teller, _length, _sentence


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("2222:22", Spec("127.0.0.1", 2222, 22)),
        ("0:22", Spec("127.0.0.1", 0, 22)),
        ("localhost:2222:22", Spec("127.0.0.1", 2222, 22)),
        ("0.0.0.0:8080:80", Spec("0.0.0.0", 8080, 80)),
        ("[::1]:8080:80", Spec("::1", 8080, 80)),
    ],
)
def test_local_ports_are_written_as_for_ssh(text: str, spec: Spec) -> None:
    """An address to listen on, else loopback, then both ports."""
    assert parse_spec(text) == spec
    assert spec.loopback == (spec.bind != "0.0.0.0")


@pytest.mark.parametrize(
    "text",
    ["22", "22:", ":22", "2222:web:22", "::1:22:22", "x:1:2:3", "70000:22", "22:0", "22:70000"],
)
def test_other_words_are_refused(text: str) -> None:
    """What is no local port says what would be one."""
    with pytest.raises(ValueError, match=r"give one such as|address to listen|outside 1"):
        parse_spec(text)


def test_refusals_are_told_in_the_daemons_words() -> None:
    """The sentence of a fault; else the status, or that it is no HTTP."""
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 12"
    body = b'{"forbidden": {"code": 403, "message": "No."}}'
    assert _length(head) == 12
    assert _length(b"HTTP/1.1 200 OK\r\nContent-Length: x") is None
    assert _sentence(head, body) == "No. (403)"
    assert _sentence(head, b"<html>") == "the API answers 403 Forbidden"
    assert _sentence(head, b"[1]") == "the API answers 403 Forbidden"
    assert "not HTTP" in _sentence(b"SSH-2.0-x", b"")


def test_people_get_lines_and_scripts_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go to the standard error stream, objects to the standard output."""
    counts = {"bytes_in": 1234, "bytes_out": 5}
    people = Teller("id", "web\x1b1", wants_json=False)
    people.listening("::1", 2222, 22)
    people.opened(1, "127.0.0.1:5", 22)
    people.ended(1, counts, 3.21, "it broke")
    people.refused(2, "127.0.0.1:6", "No. (403)")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "consolectl: [::1]:2222 leads to port 22 of web\\x1b1; ^C ends it",
        "consolectl: #1 127.0.0.1:5 is connected to web\\x1b1:22",
        "consolectl: #1 ended after 3.2 s: 1,234 bytes there, 5 back; it broke",
        "consolectl: #2 127.0.0.1:6 is refused: No. (403)",
    ]
    scripts = Teller("id", "web", wants_json=True)
    scripts.ended(1, counts, 3.21, "")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        '{"event": "ended", "connection": 1, "bytes_in": 1234, "bytes_out": 5, '
        '"duration_s": 3.21, "reason": null}\n'
    )

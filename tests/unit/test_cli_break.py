"""``consolectl console break``."""

from __future__ import annotations

import json

import pytest
from cli_client import FakeApi, ask

ONE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"


def answers(index: int = 0, sysrq: str | None = None) -> FakeApi:
    """An API that has sent it."""
    sent = {"server_id": ONE, "console_index": index, "console_type": "serial", "sysrq": sysrq}
    return FakeApi({f"POST /v1/servers/{ONE}/consoles/{index}/break": (200, {"break": sent})})


def test_a_break_alone() -> None:
    """Console 0 by default; the request has no body, and the answer is a line of a table."""
    api = answers()
    result = ask(["console", "break", ONE], api)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [ONE, "0", "-"]
    assert [sent.body for sent in api.sent] == [None]


def test_a_sysrq() -> None:
    """The key goes with the request; scripts get the API's object."""
    api = answers(1, "h")
    words = ["console", "break", ONE, "1", "--sysrq", "h", "--format", "json"]
    result = ask(words, api)
    assert json.loads(result.stdout) == {
        "server_id": ONE,
        "console_index": 1,
        "console_type": "serial",
        "sysrq": "h",
    }
    assert [json.loads(sent.body or b"null") for sent in api.sent] == [{"sysrq": "h"}]


def test_by_name() -> None:
    """A server may be named."""
    api = answers()
    api.answers["GET /v1/servers"] = (200, {"servers": [{"id": ONE, "name": "web-1"}]})
    assert ask(["console", "break", "web-1"], api).exit_code == 0


@pytest.mark.parametrize("words", [["--sysrq", "a"], ["--sysrq", "help"], ["--sysrq", ""], ["-1"]])
def test_bad_words(words: list[str]) -> None:
    """A key that no kernel knows, or an index that is none, is never sent."""
    api = answers()
    result = ask(["console", "break", ONE, *words], api)
    assert result.exit_code == 2
    assert api.sent == []


def test_refused() -> None:
    """The API's reason is the command's."""
    api = FakeApi()
    message = {"conflictingRequest": {"code": 409, "message": "Somebody is on console 0."}}
    api.answers[f"POST /v1/servers/{ONE}/consoles/0/break"] = (409, message)
    result = ask(["console", "break", ONE], api)
    assert result.exit_code == 1
    assert result.stderr == "consolectl: Somebody is on console 0. (409)\n"

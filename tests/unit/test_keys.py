"""The keys file."""

import os
import re
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from consoled import yamlfile
from consoled.auth.keys import digest, ensure_keys_file, parse_keys, read_keys
from consoled.errors import ConfigError
from consoled.model import Caller

KEY = "0123456789abcdef"
ONE = f"- key: {KEY}\n  user_id: alice\n  project_id: demo\n  roles: [Member]\n"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_keys(text, "keys.yaml")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_keys_become_digests() -> None:
    """A file gives callers by the SHA-256 of their key, and the keys nowhere."""
    keys = parse_keys(ONE, "keys.yaml")
    assert keys == {digest(KEY.encode()): Caller("alice", "demo", frozenset({"member"}))}
    assert KEY not in repr(keys)


def test_a_key_without_a_project() -> None:
    """project_id may be absent or null."""
    for line in ("", "  project_id:\n"):
        text = ONE.replace("  project_id: demo\n", line)
        assert [caller.project_id for caller in parse_keys(text, "k").values()] == [None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": this keys file holds no keys"),
        ("[]", ":1: this keys file holds no keys"),
        (f"key: {KEY}", ":1: the keys file is a mapping; write a list"),
        (f"- {KEY}", ":1: this entry is a single value"),
        (f"- {KEY}: admin", ":1: this entry has no such key; its keys are key, user_id"),
        (f"- key: {KEY}", ":1: this entry lacks user_id, roles"),
        (ONE.replace(KEY, KEY[1:]), ":1: key is shorter than 16 characters"),
        (ONE.replace(KEY, KEY + " x"), ":1: key holds a space"),
        (ONE.replace(KEY, KEY + "\xe9"), ":1: key holds a space or a character that is not ASCII"),
        (ONE.replace(KEY, KEY * 16), ":1: key is longer than 255"),
        (ONE.replace(KEY, f"[{KEY}]"), ":1: key is a list"),
        (ONE.replace(KEY, f"*{KEY}"), ":1: this is not YAML: found undefined alias"),
        (ONE.replace(KEY, f"!{KEY}!x y"), ":1: this is not YAML: found undefined tag handle"),
        (ONE.replace(KEY, f"'{KEY}"), "this is not YAML: "),
        (ONE + ONE, ":5: key is the same as on line 1"),
        (ONE.replace("[Member]", "[]"), ":4: roles is empty"),
        (ONE.replace("[Member]", "admin"), ":4: roles is a single value; write a list"),
        (ONE.replace("roles", "role"), ":4: this entry has no such key; did you mean 'roles'?"),
    ],
)
def test_errors_name_the_line_never_the_key(text: str, problem: str) -> None:
    """Whatever is wrong is one line with the place and the rule, and without any key."""
    line = refusal(text)
    assert line.startswith("keys.yaml:")
    assert problem in line
    assert KEY[1:] not in line


@settings(deadline=None)
@given(st.one_of(st.text(), st.text("ab:-[]{}*&!'\" \n", max_size=60)))
def test_arbitrary_text_is_taken_or_refused(text: str) -> None:
    """No text makes the parser raise anything but one line."""
    try:
        parse_keys(text, "keys.yaml")
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o601, 0o666])
def test_others_may_have_no_access(tmp_path: Path, mode: int) -> None:
    """A file that group or others can use is refused with the command to run."""
    path = tmp_path / "my keys.yaml"
    path.write_text(ONE)
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert str(caught.value) == (
        f"{path}: others than its owner have access to this keys file (mode {mode:04o});"
        f" run: chmod 600 '{path}'"
    )
    for private in (0o600, 0o400):
        path.chmod(private)
        assert len(read_keys(path)) == 1


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A missing file and a folder are each one line with the path."""
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: cannot read this keys"):
            read_keys(path)


def test_the_first_start_makes_a_key(tmp_path: Path) -> None:
    """Where there is no file, a private one with a random admin key appears."""
    path = tmp_path / "state" / "keys.yaml"
    assert ensure_keys_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    [entry] = yaml.safe_load(path.read_text())
    assert len(entry["key"]) >= 43
    assert read_keys(path) == {
        digest(entry["key"].encode()): Caller("admin", "admin", frozenset({"admin"}))
    }
    other = tmp_path / "other.yaml"
    assert ensure_keys_file(other)
    assert read_keys(other).keys() != read_keys(path).keys()


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    """What stands at the path stays, a dangling link included."""
    path = tmp_path / "keys.yaml"
    path.write_text("mine")
    assert not ensure_keys_file(path)
    assert path.read_text() == "mine"
    link = tmp_path / "link.yaml"
    link.symlink_to(tmp_path / "nowhere")
    assert not ensure_keys_file(link)
    assert not (tmp_path / "nowhere").exists()


def test_a_race_has_one_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two daemons that start at once one makes the file, and the other leaves it."""
    path = tmp_path / "keys.yaml"
    path.write_text("theirs")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    assert not ensure_keys_file(path)
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where no file can be made, the line says so and what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot make this keys file: .*\[api\] keys_file"):
        ensure_keys_file(tmp_path / "file" / "deep" / "keys.yaml")


@pytest.mark.parametrize("bad", [f"*{KEY}", f"!{KEY}!x y", f"&{KEY} *{KEY}x"])
def test_the_pure_python_parser_quotes_no_key(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """Where PyYAML has no libyaml its own parser's messages, which quote names, are trimmed."""
    monkeypatch.setattr(yamlfile, "_LOADER", yaml.SafeLoader)
    line = refusal(ONE.replace(KEY, bad))
    assert "this is not YAML" in line
    assert KEY not in line

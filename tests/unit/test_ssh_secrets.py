"""Secrets of node groups: encrypted with the keys of a file."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest

from consoled.errors import ConfigError
from consoled.reaching.secrets import SecretBox

PRIVATE = "a private key \udcff ✓"


def key() -> str:
    """As ``openssl rand -base64 32`` prints one."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of one key."""
    path = tmp_path / "secret.key"
    path.touch(0o600)
    path.write_text(key() + "\n")
    return path


def test_sealed_and_back(file: Path) -> None:
    """What comes out is what went in; in between nothing of it can be read."""
    box = SecretBox.open(file)
    sealed = box.seal(PRIVATE)
    assert sealed.isascii()
    assert "private" not in sealed
    assert box.unseal(sealed) == PRIVATE
    assert box.seal(PRIVATE) != sealed


def test_a_new_key_goes_before_the_old_one(file: Path) -> None:
    """Old secrets can be read as long as their key stands in the file, and new ones with it."""
    old = SecretBox.open(file).seal(PRIVATE)
    first, before = key(), file.read_text()
    file.write_text(f"# the new one\n{first}\n\n{before}")
    both = SecretBox.open(file)
    assert both.unseal(old) == PRIVATE
    file.write_text(first)
    alone = SecretBox.open(file)
    assert alone.unseal(both.seal(PRIVATE)) == PRIVATE
    with pytest.raises(ConfigError, match="with a key that is not in") as caught:
        alone.unseal(old)
    assert old not in str(caught.value)


def test_altered_secrets_are_refused(file: Path) -> None:
    """Whoever can write the database cannot change a secret unseen."""
    box = SecretBox.open(file)
    sealed = box.seal(PRIVATE)
    with pytest.raises(ConfigError):
        box.unseal(sealed[:-6] + ("AAAA" if sealed[-6:-2] != "AAAA" else "BBBB") + sealed[-2:])


def test_no_key_is_shown(file: Path) -> None:
    """Neither repr nor an error has a key in it."""
    text = file.read_text().strip()
    assert text not in repr(SecretBox.open(file))
    file.write_text(text + "x" * 9)
    with pytest.raises(ConfigError, match="must hold 32 bytes in base64") as caught:
        SecretBox.open(file)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("", 0o600, "holds no key; make one with: openssl rand -base64 32"),
        ("é", 0o600, "must hold 32 bytes in base64"),
        (base64.b64encode(b"x" * 31).decode(), 0o600, "must hold 32 bytes in base64"),
        (base64.b64encode(b"x" * 32).decode(), 0o640, "others than its owner have access to it"),
    ],
)
def test_files_that_cannot_be_used(file: Path, content: str, mode: int, problem: str) -> None:
    """Each is told with the file's name and what to do."""
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=problem) as caught:
        SecretBox.open(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match="missing cannot be read: No such file"):
        SecretBox.open(tmp_path / "missing")


def test_both_alphabets_of_base64(file: Path) -> None:
    """openssl writes + and /, Python's Fernet - and _: both are the same key."""
    raw = b"\xff\xfb" * 16
    file.write_text(base64.b64encode(raw).decode())
    standard = SecretBox.open(file)
    file.write_text(base64.urlsafe_b64encode(raw).decode())
    assert SecretBox.open(file).unseal(standard.seal(PRIVATE)) == PRIVATE

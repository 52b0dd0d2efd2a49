"""Authentication by keys from a file."""

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from consoled.auth.static import StaticIdentity
from consoled.errors import ConfigError, Unauthorized
from consoled.interfaces import Identity
from consoled.workers import InlineWorker

ALICE = "alices-key-0123456789"
BOB = "bobs-key-0123456789-x"


def outcome(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired; a failure is raised."""
    results: list[Any] = []
    failures: list[BaseException] = []
    deferred.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    [result] = results
    return result


def write(path: Path, key: str, user: str) -> None:
    path.touch(0o600)
    path.write_text(f"- key: {key}\n  user_id: {user}\n  project_id: demo\n  roles: [member]\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    write(path, ALICE, "alice")
    return path


def sent(*keys: bytes) -> Headers:
    return Headers({b"x-auth-token": list(keys)}) if keys else Headers()


def test_a_key_names_its_caller(path: Path) -> None:
    """The caller is the one whose key was sent, whatever the header's case."""
    identity: Identity = StaticIdentity.open(path, InlineWorker())
    assert outcome(identity.authenticate(sent(ALICE.encode()))).user_id == "alice"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ([], "needs a key"),
        ([b""], "not known"),
        ([ALICE.encode(), ALICE.encode()], "more than one"),
        ([BOB.encode()], "not known"),
        ([ALICE.encode()[:-1]], "not known"),
        ([b"\xff" * 9000], "not known"),
    ],
)
def test_anything_else_is_unauthorized(path: Path, keys: list[bytes], problem: str) -> None:
    """No key, two keys or a wrong one is Unauthorized with a sentence that quotes nothing."""
    identity = StaticIdentity.open(path, InlineWorker())
    with pytest.raises(Unauthorized, match=problem) as caught:
        outcome(identity.authenticate(sent(*keys)))
    assert "key-0" not in str(caught.value)


def test_keys_are_not_kept(path: Path) -> None:
    """Neither the repr nor any attribute holds a key in clear."""
    identity = StaticIdentity.open(path, InlineWorker())
    assert ALICE not in repr(identity)
    assert ALICE.encode() not in b"".join(identity._keys)


def test_reload_swaps_and_a_bad_file_keeps_the_old(path: Path) -> None:
    """After a reload only the new keys count; a bad or open file leaves the old ones."""
    identity = StaticIdentity.open(path, InlineWorker())
    write(path, BOB, "bob")
    assert outcome(identity.reload()) is None
    assert outcome(identity.authenticate(sent(BOB.encode()))).user_id == "bob"
    with pytest.raises(Unauthorized):
        outcome(identity.authenticate(sent(ALICE.encode())))
    write(path, "short", "eve")
    with pytest.raises(ConfigError, match=":1: key is shorter"):
        outcome(identity.reload())
    write(path, ALICE, "alice")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        outcome(identity.reload())
    assert outcome(identity.authenticate(sent(BOB.encode()))).user_id == "bob"


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    """Without a keys file there is no identity."""
    with pytest.raises(ConfigError, match="cannot read this keys file"):
        StaticIdentity.open(tmp_path / "none.yaml", InlineWorker())

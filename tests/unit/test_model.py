"""consoled.model: what a token may hold."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, fields

from consoled.db.tables import console_auth_tokens
from consoled.model import ConsoleAuthToken, FieldError, hash_token

TOKEN = ConsoleAuthToken(
    token_hash=hash_token("x"),
    instance_uuid="2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001",
    index=0,
    host="127.0.0.1",
    port=10000,
    generation=1,
    access_url="http://x/",
    expires=0,
)
TEXTS = {
    name: column.type.length
    for name, column in console_auth_tokens.columns.items()
    if getattr(column.type, "length", None) and name != "token_hash"
}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"token_hash": "x"}, "token_hash is not a SHA-256"),
        ({"token_hash": "A" * 64}, "token_hash is not a SHA-256"),
        ({"port": 0}, "port is neither None nor a port from 1 to 65535"),
        ({"port": 65536}, "port is neither None nor a port from 1 to 65535"),
        ({"index": -1}, "index is below 0"),
        ({"generation": -1}, "generation is below 0"),
        ({"expires": -1}, "expires is below 0"),
    ],
)
def test_a_bad_field_is_refused(changes: dict[str, Any], fault: str) -> None:
    """The error names the field and what is wrong with it."""
    with pytest.raises(FieldError, match=fault):
        evolve(TOKEN, **changes)


@pytest.mark.parametrize(("name", "length"), TEXTS.items())
def test_texts_fit_their_columns(name: str, length: int) -> None:
    """What is longer than its column is refused here, the same on every database."""
    assert name in {field.name for field in fields(ConsoleAuthToken)}
    assert getattr(evolve(TOKEN, **{name: "x" * length}), name) == "x" * length
    with pytest.raises(FieldError, match=f"{name} is longer than {length} characters") as caught:
        evolve(TOKEN, **{name: "x" * (length + 1)})
    assert "xx" not in str(caught.value)


def test_bounds() -> None:
    """The first and the last port, and no user or project."""
    assert evolve(TOKEN, port=1, user_id=None).port == 1
    assert evolve(TOKEN, port=65535, project_id=None).port == 65535

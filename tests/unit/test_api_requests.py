"""Reading JSON strictly: what passes is what JSON says, and nothing raises another error."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.api.requests import DEPTH_LIMIT, check_media_type, decode_json
from consoled.api.schemas import CREATE_TOKEN, GET_SERIAL_CONSOLE, check, shown
from consoled.errors import BadRequest, UnsupportedMediaType

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=10,
)


@given(values)
def test_json_comes_through(value: Any) -> None:
    """Any JSON value within the depth is read as it was written; null is the empty object."""
    try:
        found = decode_json(json.dumps(value).encode())
    except BadRequest as error:
        assert "nested deeper" in str(error)
    else:
        assert found == ({} if value is None else value)


@given(
    st.binary(max_size=200) | st.text(alphabet='[]{}",:0eE+-.ntf \\u', max_size=60).map(str.encode)
)
def test_bytes_are_json_or_a_400(raw: bytes) -> None:
    """Whatever is sent, it is decoded or refused; no other error comes out."""
    try:
        found = decode_json(raw)
        check(found, GET_SERIAL_CONSOLE)
    except BadRequest as error:
        assert str(error)


@given(values)
def test_the_schema_lets_nothing_else_through(value: Any) -> None:
    """Only the empty object, and an empty or null member of the right name, fit."""
    fits = value in ({}, {"token": None}, {"token": {}})
    try:
        check(value, CREATE_TOKEN)
    except BadRequest:
        assert not fits
    else:
        assert fits


def test_the_schema_is_the_specifications() -> None:
    """The schema of get-serial-console is the one of the serial-ports specification."""
    assert GET_SERIAL_CONSOLE == {
        "type": "object",
        "properties": {
            "serial_console": {
                "type": ["object", "null"],
                "properties": {},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def test_the_depth_limit_is_where_it_says() -> None:
    """The deepest allowed value passes, one more level does not."""
    decode_json(b"[" * (DEPTH_LIMIT - 1) + b"1" + b"]" * (DEPTH_LIMIT - 1))
    with pytest.raises(BadRequest, match=f"deeper than {DEPTH_LIMIT}"):
        decode_json(b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1))


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_what_python_calls_a_number(name: str) -> None:
    """Numbers that JSON does not have are refused by name; a huge exponent is only infinite."""
    with pytest.raises(BadRequest, match=f"{name} is not a JSON number"):
        decode_json(f'{{"a": [{name}]}}'.encode())
    assert decode_json(b"[1e999]") == [math.inf]


def test_a_name_twice_is_refused_at_any_depth() -> None:
    """Two readers could take different ones of two equal names."""
    with pytest.raises(BadRequest, match='member "b" twice'):
        decode_json(b'{"a": {"b": 1, "b": 1}}')


def test_an_error_has_its_place() -> None:
    """Broken JSON is told with line and column."""
    with pytest.raises(BadRequest, match="line 2, column 1"):
        decode_json(b'{"a":\n}')


@pytest.mark.parametrize("kind", ["text/json", "application/jsonx", "json", "*/*", "a;b"])
def test_other_media_types(kind: str) -> None:
    """Only application/json is JSON, and the text says what to send."""
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json"):
        check_media_type(kind)


@given(st.text())
def test_shown_names_are_short_and_printable(name: str) -> None:
    """A quoted name is at most a line, without control or bidirectional characters."""
    quoted = shown(name)
    assert len(quoted) <= 70
    assert quoted.isprintable()

"""consoled.tokens.objects: the versioned object of a console token."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from consoled.errors import BadRequest
from consoled.model import NO_GENERATION, ConsoleAuthToken, FieldError, hash_token
from consoled.tokens.objects import (
    VERSIONS,
    TokenObject,
    from_primitive,
    to_primitive,
)

INSTANCE = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
CLEAR = "b3a1c0de-0000-4000-8000-00000000feed"
TOKEN = ConsoleAuthToken(
    token_hash=hash_token(CLEAR),
    instance_uuid=INSTANCE,
    index=1,
    host="192.0.2.1",
    port=10001,
    generation=7,
    access_url="ws://127.0.0.1:6083/",
    expires=1_767_225_600,
    project_id="demo",
    user_id="mia",
    options={"internal_access_path": "/vm/1", "usetls": True},
)
V10 = {
    "console_type",
    "host",
    "port",
    "internal_access_path",
    "instance_uuid",
    "access_url_base",
}
KEYS = {"1.0": V10, "1.1": V10, "1.2": V10 | {"expires"}, "1.3": V10 | {"expires", "tls_port"}}


def primitive(version: object = "1.3", **data: object) -> dict[str, Any]:
    """A primitive of ours with some of its data changed."""
    made = to_primitive(TOKEN)
    made["nova_object.version"] = version
    made["nova_object.data"] |= data
    return made


def refusal(value: object) -> str:
    with pytest.raises(BadRequest) as caught:
        from_primitive(value)
    return str(caught.value)


def test_the_envelope_is_nova_s() -> None:
    """The five keys, and the data of the newest version with the specification's words."""
    made = to_primitive(TOKEN)
    assert made == {
        "nova_object.name": "ConsoleAuthToken",
        "nova_object.namespace": "nova",
        "nova_object.version": "1.3",
        "nova_object.data": {
            "console_type": "serial",
            "host": "192.0.2.1",
            "port": 10001,
            "tls_port": None,
            "internal_access_path": "/vm/1",
            "instance_uuid": INSTANCE,
            "access_url_base": "ws://127.0.0.1:6083/",
            "expires": 1_767_225_600,
        },
        "nova_object.changes": [],
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_peer_gets_what_it_knows(version: str) -> None:
    """Writing an older version leaves out exactly the fields that it lacks."""
    made = to_primitive(TOKEN, version)
    assert made["nova_object.version"] == version
    assert set(made["nova_object.data"]) == KEYS[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_older_versions_are_read(version: str) -> None:
    """What a version lacks is None; the rest is what was written."""
    found = from_primitive(to_primitive(TOKEN, version, CLEAR))
    assert found == TokenObject(
        instance_uuid=INSTANCE,
        console_type="serial",
        host="192.0.2.1",
        port=10001,
        access_url="ws://127.0.0.1:6083/",
        internal_access_path="/vm/1",
        expires=None if version < "1.2" else 1_767_225_600,
        clear=CLEAR,
    )


def test_a_field_that_its_version_lacks_is_not_read() -> None:
    """An old envelope decides what its data means."""
    assert from_primitive(primitive("1.1", expires="nonsense")).expires is None


@pytest.mark.parametrize("version", ["1.4", "1.10", "2.0", "10.0", "1.4.1"])
def test_a_newer_version_is_refused(version: str) -> None:
    """The words say which version came, which is known, and what to do."""
    said = refusal(primitive(version))
    assert ".".join(version.split(".")[:2]) in said
    assert "newer than 1.3" in said
    assert "upgrade" in said


def test_a_revision_changes_nothing() -> None:
    """A third number in the version is for the sender's own bookkeeping."""
    assert from_primitive(primitive("1.3.2")) == from_primitive(primitive("1.3"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not an object with keys"),
        ([], "not an object with keys"),
        ({}, "nova_object.name"),
        (primitive() | {"nova_object.name": "Instance"}, "nova_object.name is not"),
        (primitive() | {"nova_object.namespace": "cinder"}, "nova_object.namespace is not nova"),
        (primitive() | {"nova_object.data": None}, "nova_object.data is not"),
        (primitive(None), "nova_object.version is not a version"),
        (primitive(1.3), "nova_object.version is not a version"),
        (primitive("1"), "nova_object.version is not a version"),
        (primitive("1.3\n"), "nova_object.version is not a version"),
        (primitive("0.9"), "0.9 is none of those"),
        (primitive(instance_uuid="web-1"), "instance_uuid is not a UUID"),
        (primitive(instance_uuid=None), "instance_uuid is not a UUID"),
        (primitive(host=""), "host is not a text"),
        (primitive(host="a b"), "host is not a text"),
        (primitive(host=17), "host is not a text"),
        (primitive(port=0), "port is neither"),
        (primitive(port=65536), "port is neither"),
        (primitive(port=True), "port is neither"),
        (primitive(port="ten"), "port is neither"),
        (primitive(port=1.5), "port is neither"),
        (primitive(tls_port=-1), "tls_port is neither"),
        (primitive(expires=-1), "expires is neither"),
        (primitive(expires=1.5), "expires is neither"),
        (primitive(access_url_base="ws://h/\r\nx"), "access_url_base is neither"),
        (primitive(internal_access_path="/x HTTP/1.1\r\nHost: y"), "internal_access_path is"),
        (primitive(console_type=""), "console_type is not a text"),
        (primitive(token=""), "token is neither"),
        (primitive(id="x"), "id is neither"),
    ],
)
def test_errors_name_the_key(value: object, words: str) -> None:
    """Whoever sent a bad primitive reads which key is wrong, in the primitive's own words."""
    assert words in refusal(value)


@pytest.mark.parametrize("key", ["instance_uuid", "console_type", "host"])
def test_a_missing_key_is_named(key: str) -> None:
    """These three make a token; nothing stands in for them."""
    made = primitive()
    del made["nova_object.data"][key]
    assert refusal(made) == f"nova_object.data lacks {key}"


def test_no_error_repeats_a_value() -> None:
    """A clear token that breaks the rule is not in the refusal."""
    secret = "sec ret"
    assert secret not in refusal(primitive(token=secret))


def test_ports_as_text_are_numbers() -> None:
    """Services of some ages send digits (launchpad bug 1809418)."""
    found = from_primitive(primitive(port="10001", expires="5", tls_port=None))
    assert (found.port, found.expires) == (10001, 5)


def test_an_object_without_a_port() -> None:
    """None is left out, because nova's field takes no null; nobody can dial it."""
    found = TokenObject(INSTANCE, "serial", "192.0.2.1")
    assert "port" not in found.primitive()["nova_object.data"]
    assert from_primitive(found.primitive()) == found
    with pytest.raises(FieldError, match="port is null"):
        found.bound(0, TOKEN.token_hash)


def test_the_clear_token_is_in_it_only_when_given() -> None:
    """Between issue and answer; never by itself, never in a repr."""
    assert CLEAR not in repr(to_primitive(TOKEN))
    assert to_primitive(TOKEN, clear=CLEAR)["nova_object.data"]["token"] == CLEAR
    assert CLEAR not in repr(TokenObject.of(TOKEN, CLEAR))


def test_another_token_s_clear_text_is_refused() -> None:
    """The pair of object and clear token cannot be mixed up, and the error tells neither."""
    with pytest.raises(FieldError, match="clear does not belong") as caught:
        to_primitive(TOKEN, clear="another")
    assert "another" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_hash": "abc"}, "token_hash is not a SHA-256"),
        ({"token_hash": "Z" * 64}, "token_hash is not a SHA-256"),
        ({"instance_uuid": "x"}, "instance_uuid is not a UUID"),
        ({"port": 0}, "port is neither None nor a port"),
        ({"host": "\n"}, "host is not a text"),
        ({"options": {"internal_access_path": 5}}, "internal_access_path is not a text"),
        ({"options": {"tls_port": "x"}}, "tls_port is not a port"),
    ],
)
def test_a_bad_token_is_not_written(changes: dict[str, Any], words: str) -> None:
    """What leaves is checked as what arrives, and names the field."""
    with pytest.raises(FieldError, match=words):
        to_primitive(evolve(TOKEN, **changes))


@pytest.mark.parametrize("version", ["1.4", "0.9", ""])
def test_an_unknown_version_is_not_written(version: str) -> None:
    """A peer's version that consoled does not know is a mistake of the caller's."""
    with pytest.raises(ValueError, match="none of the versions"):
        to_primitive(TOKEN, version)


def test_the_object_is_frozen() -> None:
    """Nobody changes a token after it was checked."""
    with pytest.raises(FrozenInstanceError):
        TokenObject.of(TOKEN).port = 1  # type: ignore[misc]  # the test is that this fails


def test_bound_is_what_the_other_rooms_take() -> None:
    """The place and options stay, the index is the driver's, and there is no generation."""
    token = from_primitive(to_primitive(TOKEN)).bound(1, TOKEN.token_hash)
    assert token == evolve(
        TOKEN,
        generation=NO_GENERATION,
        project_id=None,
        user_id=None,
        options={"internal_access_path": "/vm/1"},
    )
    assert len({token, evolve(token)}) == 1
    with pytest.raises(FieldError, match="token_hash"):
        from_primitive(to_primitive(TOKEN)).bound(1, "no hash")
    with pytest.raises(FieldError, match="expires"):
        from_primitive(to_primitive(TOKEN, "1.0")).bound(1, TOKEN.token_hash)


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
ports = st.integers(1, 65535)
objects = st.builds(
    TokenObject,
    instance_uuid=st.uuids().map(str),
    console_type=words,
    host=words,
    port=st.none() | ports,
    access_url=st.none() | words,
    internal_access_path=st.none() | words,
    tls_port=st.none() | ports,
    expires=st.none() | st.integers(0, 2**40),
    clear=st.none() | words,
    id=st.none() | st.integers(0, 2**31),
)


@given(objects, st.sampled_from(VERSIONS))
def test_written_and_read_again(made: TokenObject, version: str) -> None:
    """In every version an object comes back as it was, but for what the version lacks."""
    lacks: dict[str, Any] = {}
    if version < "1.2":
        lacks["expires"] = None
    if version < "1.3":
        lacks["tls_port"] = None
    assert from_primitive(made.primitive(version)) == evolve(made, **lacks)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(KEYS["1.3"] | {"id", "token"})), junk)
def test_junk_is_refused_or_taken(key: str, value: object) -> None:
    """Whatever stands in a field, the answer is an object or a BadRequest."""
    try:
        assert isinstance(from_primitive(primitive(**{key: value})), TokenObject)
    except BadRequest as error:
        assert key in str(error)

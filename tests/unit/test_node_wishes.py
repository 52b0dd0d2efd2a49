"""What a body may say of a node group: consoled.reaching.wishes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.errors import BadRequest
from consoled.reaching.values import Member
from consoled.reaching.wishes import allowed, reachable, wish_of

WEB = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLyYzbQsPLRtNW7s0rIL1yt5z8aBvZkNm8uWIxMdV/k"
NETWORKS = ("10.0.0.0/24", "2001:db8::/64", "127.0.0.0/8")


def test_all_fields() -> None:
    """Each field has its value; secrets are apart from the others and not shown."""
    wish = wish_of(
        {
            "name": "gateways",
            "project_id": None,
            "is_proxy": True,
            "user_name": "jump",
            "private_key": "SECRET",
            "passphrase": "WORD",
            "known_hosts": [f"  {KEY} root@gw ", f"[10.0.0.5]:2222 {KEY}"],
            "proxy_group_id": WEB,
            "hosts": ["rack2", "rack1"],
            "members": [{"host": "10.0.0.5", "port": 2222}, {"instance_id": WEB}],
        },
        NETWORKS,
    )
    assert wish.fields == {
        "name": "gateways",
        "project_id": None,
        "is_proxy": True,
        "user_name": "jump",
        "key_file": None,
        "private_key": None,
        "passphrase": None,
        "known_hosts": (f"{KEY} root@gw", f"[10.0.0.5]:2222 {KEY}"),
        "proxy_group_id": WEB,
        "hosts": ("rack1", "rack2"),
        "members": (Member(address="10.0.0.5", port=2222), Member(instance_uuid=WEB)),
    }
    assert (wish.private_key, wish.passphrase) == ("SECRET", "WORD")
    assert "SECRET" not in repr(wish)
    assert "WORD" not in repr(wish)


def test_what_is_not_given_stays() -> None:
    """An empty object changes nothing, not even the key."""
    wish = wish_of({}, ())
    assert wish.fields == {}
    assert not wish.key_given


@pytest.mark.parametrize(
    ("member", "value", "problem"),
    [
        ("name", "", "name must be text of 1 to 255"),
        ("name", "a\nb", "name must be text"),
        ("name", " a", "name must be text"),
        ("name", "a" * 256, "name must be text"),
        ("name", "a\u202eb", "name must be text"),
        ("project_id", "", "project_id must be text"),
        ("user_name", "-oProxyCommand", "user_name must be a user's name"),
        ("user_name", "a b", "user_name must be"),
        ("user_name", "a:b", "user_name must be"),
        ("user_name", "", "user_name must be"),
        ("key_file", "../keys", "key_file must be the name of a file"),
        ("key_file", "a/b", "key_file must be"),
        ("key_file", ".hidden", "key_file must be"),
        ("key_file", "..", "key_file must be"),
        ("key_file", "a\0", "key_file must be"),
        ("key_file", "-x", "key_file must be"),
        ("key_file", "", "key_file must be"),
        ("private_key", "x" * 16385, "private_key must not be longer than 16384"),
        ("passphrase", "x", "passphrase must come with"),
        ("passphrase", None, "passphrase must come with"),
        ("known_hosts", ["x"], r"known_hosts\.0 has no key"),
        ("known_hosts", [KEY, "# x"], r"known_hosts\.1 has no key"),
        ("known_hosts", [f"{KEY}\n{KEY}"], r"known_hosts\.0 must be one line"),
        ("known_hosts", ["ssh-dss AAAA"], r"known_hosts\.0 has"),
        ("known_hosts", [KEY] * 257, "known_hosts must not have more than 256"),
        ("known_hosts", [KEY + " " + "x" * 9000] * 4, "known_hosts must not hold more than"),
        ("proxy_group_id", "gateways", "proxy_group_id must be a UUID"),
        ("hosts", ["rack1", "rack1"], "hosts must not have rack1 twice"),
        ("hosts", [""], r"hosts\.0 must be text"),
        ("members", [{}], r"members\.0 must have either an instance_id or a host"),
        ("members", [{"host": "10.0.0.1", "instance_id": WEB}], r"members\.0 must have either"),
        ("members", [{"instance_id": "web-1"}], r"members\.0\.instance_id must be a UUID"),
        ("members", [{"instance_id": WEB}] * 2, f"members must not have {WEB} twice"),
        ("members", [{"host": "gw.example.org"}], r"members\.0\.host must be an IP address"),
        ("members", [{"host": "10.0.1.1"}], r"10\.0\.1\.1 is not in a network of"),
        ("members", [{"host": "::ffff:10.9.0.1"}], r"10\.9\.0\.1 is not in a network of"),
        ("members", [{"host": "fe80::1%eth0"}], "is not in a network of"),
        ("members", [{"host": "10.0.0.1"}, {"host": "::ffff:10.0.0.1"}], r"10\.0\.0\.1 twice"),
        ("members", [{"host": "10.0.0.1", "port": 0}], r"members\.0\.port must be a port"),
        ("members", [{"host": "10.0.0.1", "port": 65536}], r"members\.0\.port must be a port"),
        ("members", [{"host": "10.0.0.1", "port": 22.0}], r"members\.0\.port must be a port"),
        ("members", [{"host": "10.0.0.1"}] * 129, "members must not have more than 128"),
    ],
)
def test_what_is_refused(member: str, value: Any, problem: str) -> None:
    """The field is named, and what it may hold."""
    with pytest.raises(BadRequest, match=problem):
        wish_of({member: value}, NETWORKS)


def test_one_key() -> None:
    """A file and a text exclude each other; either replaces the whole key, null takes it away."""
    with pytest.raises(BadRequest, match="exclude each other"):
        wish_of({"key_file": "a", "private_key": "x"}, ())
    with pytest.raises(BadRequest, match="passphrase must come with"):
        wish_of({"key_file": None, "passphrase": "x"}, ())
    none = {"key_file": None, "private_key": None, "passphrase": None}
    assert wish_of({"private_key": None}, ()).fields == none
    assert wish_of({"key_file": "a.b-c_1"}, ()).fields == {**none, "key_file": "a.b-c_1"}


def test_no_host_without_networks() -> None:
    """By default members are instances only."""
    with pytest.raises(BadRequest, match="is not in a network of"):
        wish_of({"members": [{"host": "10.0.0.1"}]}, ())


@pytest.mark.parametrize(
    ("address", "is_reachable"),
    [
        ("198.51.100.5", True),
        ("2001:db8:1::5", True),
        ("127.0.0.1", True),  # NETWORKS has it
        ("::1", False),
        ("::ffff:169.254.169.254", False),
        ("169.254.1.1", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("not an address", False),
        ("10.0.0.5 ", False),
    ],
)
def test_what_an_instance_says_of_itself(address: str, is_reachable: bool) -> None:
    """A guest cannot lead the daemon to its own host or to what is on its link."""
    assert reachable(address, NETWORKS) == is_reachable
    if address.startswith("127."):
        assert not reachable(address, ())


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    """No address, however odd, is more than refused."""
    assert allowed(text, NETWORKS) in (True, False)
    assert reachable(text, ()) in (True, False)

"""consoled.openstack.endpoints and consoled.openstack.retrying: where, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consoled.openstack.endpoints import versioned_url
from consoled.openstack.retrying import RetryRule


@pytest.mark.parametrize(
    ("service", "url", "expected"),
    [
        ("image", "http://h:9292", "http://h:9292/v2"),
        ("image", "http://h:9292/", "http://h:9292/v2"),
        ("image", "https://h/image/v2/", "https://h/image/v2"),
        ("image", "https://h/image/v2.9", "https://h/image/v2"),
        ("image", "https://h/image/v1", None),
        ("network", "http://h:9696", "http://h:9696/v2.0"),
        ("network", "http://h:9696/v2", "http://h:9696/v2.0"),
        ("block-storage", "http://h/v3/own", "http://h/v3/theirs"),
        ("block-storage", "http://h/volume/v3/AUTH_own/", "http://h/volume/v3/AUTH_theirs"),
        ("block-storage", "http://h/v2/own", None),
        ("block-storage", "http://h/v3", "http://h/v3"),
        ("block-storage", "http://[2001:db8::1]:8776", "http://[2001:db8::1]:8776/v3"),
        ("compute", "http://h/v2.1", "http://h/v2.1"),
    ],
)
def test_urls(service: str, url: str, expected: str | None) -> None:
    """Every form of an endpoint leads to the same base; another version leads nowhere."""
    assert versioned_url(service, url, "own", "theirs") == expected


def test_projects() -> None:
    """Without a project to ask about there is none in the URL; one's own stays."""
    url = "http://h/v3/own"
    assert versioned_url("block-storage", url, "own", None) == "http://h/v3"
    assert versioned_url("block-storage", url, "own", "own") == url
    assert versioned_url("block-storage", url, None, "theirs") == url


def test_waits_double() -> None:
    """Each wait is twice the one before, up to the longest, and the last question is soon over."""
    rule = RetryRule(most=5, first=1.0, longest=5.0, within=100.0)
    waits = [rule.wait(done, 0.0, 0.0, 1.0) for done in range(7)]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, None, None]
    assert rule.wait(1, 0.0, 0.0, 0.0) == 1.0


def test_what_the_service_asks_for() -> None:
    """Retry-After makes a wait longer; one that would go past the end is not begun."""
    rule = RetryRule()
    assert rule.wait(0, 0.0, 17.0, 0.0) == 17.0
    assert rule.wait(0, 0.0, rule.within + 1, 0.0) is None
    assert rule.wait(0, rule.within, 0.0, 0.0) is None


@given(st.lists(st.floats(0, 0.999), min_size=10, max_size=10), st.floats(0, 60))
def test_bounded(parts: list[float], told: float) -> None:
    """However the waits fall and whatever a service asks for, both bounds hold."""
    rule = RetryRule()
    passed, done = 0.0, 0
    for part in parts:
        wait = rule.wait(done, passed, told, part)
        if wait is None:
            break
        passed, done = passed + wait, done + 1
    assert done <= rule.most
    assert passed <= rule.within

"""What clients of the compute API read of a server."""

from __future__ import annotations

import hashlib

import pytest

from consoled.api import server_views
from consoled.api.microversions import NEWEST, OLDEST, Microversion
from consoled.model import Instance, InstanceState

BASE = "http://api.test:8774"
WEB = Instance(
    uuid="2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001",
    name="web-1",
    project_id="demo",
    host="rack1",
    state=InstanceState.RUNNING,
)
NOBODYS = Instance(
    uuid="2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002",
    name="stray",
    project_id=None,
    host="rack1",
    state=InstanceState.STOPPED,
)


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("locked", 9),
        ("description", 19),
        ("tags", 26),
        ("trusted_image_certificates", 63),
        ("locked_reason", 73),
        ("pinned_availability_zone", 96),
        ("scheduler_hints", 100),
    ],
)
def test_a_field_begins(name: str, since: int) -> None:
    """A field is there from its microversion on, and not before."""
    before, first = (
        server_views.full(WEB, BASE, Microversion(2, minor)) for minor in (since - 1, since)
    )
    assert name not in before
    assert name in first
    assert name in server_views.full(WEB, BASE, NEWEST)


def test_groups_of_one() -> None:
    """Groups are told of a server by itself from 2.71 on, and never in a list."""
    asked = (Microversion(2, 70), Microversion(2, 71), NEWEST)
    there = ["server_groups" in server_views.alone(WEB, BASE, version) for version in asked]
    assert there == [False, True, True]
    assert "server_groups" not in server_views.full(WEB, BASE, NEWEST)


def test_flavor() -> None:
    """It is an id up to 2.46, and then its contents; both are unknown."""
    assert server_views.full(WEB, BASE, Microversion(2, 46))["flavor"] == {"id": "", "links": []}
    contents = server_views.full(WEB, BASE, Microversion(2, 47))["flavor"]
    assert {*contents} == {"original_name", "vcpus", "ram", "disk", "ephemeral", "swap"}


def test_host_id() -> None:
    """It is the same for one project and host, and does not tell the host: nova's digest."""
    found = server_views.full(WEB, BASE, OLDEST)["hostId"]
    assert found == hashlib.sha224(b"demorack1").hexdigest()
    assert found != server_views.full(NOBODYS, BASE, OLDEST)["hostId"]


def test_nobodys() -> None:
    """A server without a project has an empty one, as clients take it for text."""
    assert server_views.full(NOBODYS, BASE, OLDEST)["tenant_id"] == ""

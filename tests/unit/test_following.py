"""consoled.compute.following: which rows of instances differ from the domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from cells import instance

from consoled.compute.following import Differences, Row, differences
from consoled.db.instances import row
from consoled.model import Instance, InstanceState

WEB = instance(1)


def compared(found: list[Instance], rows: list[Mapping[str, Any]]) -> Differences:
    """The differences as rack1 sees them."""
    return differences(
        [(one, row(one, "libvirt")) for one in found],
        {one["uuid"]: one for one in rows},
        host="rack1",
        driver="libvirt",
    )


def test_what_agrees_is_left_alone() -> None:
    """Nothing is written for it."""
    assert compared([WEB], [row(WEB, "libvirt")]) == Differences()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "shop"},
        {"project_id": "other"},
        {"project_id": None},
        {"state": InstanceState.STOPPED},
        {"metadata": {"domain": "d2"}},
    ],
)
def test_what_differs_is_written(change: dict[str, Any]) -> None:
    """Whatever of it: name, project, state, metadata."""
    now = evolve(WEB, **change)
    assert compared([now], [row(WEB, "libvirt")]) == Differences(changed=(now,))


def test_new_and_missed() -> None:
    """A domain without a row gets one; a row without a domain is missed."""
    other = instance(2)
    assert compared([other], [row(WEB, "libvirt")]) == Differences((other,), (WEB.uuid,))


@pytest.mark.parametrize(("host", "driver"), [("rack2", "libvirt"), ("rack1", "static")])
def test_rows_of_others_are_not_missed(host: str, driver: str) -> None:
    """Another host's, and another driver's, are not this host's to take away."""
    theirs = row(evolve(WEB, host=host), driver)
    assert compared([], [theirs]) == Differences()


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        (InstanceState.RUNNING, True),
        (InstanceState.PAUSED, False),
        (InstanceState.STOPPED, False),
    ],
)
def test_a_domain_on_two_hosts(state: InstanceState, taken: bool) -> None:
    """Where it runs has the row; one that waits for a migration, or is off, does not take it."""
    theirs: Row = row(evolve(WEB, host="rack2"), "libvirt")
    here = evolve(WEB, state=state)
    assert compared([here], [theirs]).changed == ((here,) if taken else ())

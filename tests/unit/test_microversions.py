"""consoled.api.microversions: what a request's headers ask for."""

from __future__ import annotations

import pytest

from consoled.api.microversions import (
    NEWEST,
    OLDEST,
    Microversion,
    VersionNotAcceptable,
    requested,
)
from consoled.errors import BadRequest


@pytest.mark.parametrize(
    ("headers", "legacy", "version"),
    [
        ([], [], OLDEST),
        (["compute 2.6"], [], Microversion(2, 6)),
        (["Compute 2.6"], ["2.3"], Microversion(2, 6)),
        (["volume 3.50, compute 2.104"], [], Microversion(2, 104)),
        (["volume 3.50", "compute 2.30"], [], Microversion(2, 30)),
        (["volume 3.50"], [], OLDEST),
        ([], ["2.99"], Microversion(2, 99)),
        (["compute latest"], [], NEWEST),
        ([], ["latest"], NEWEST),
    ],
)
def test_requested(headers: list[str], legacy: list[str], version: Microversion) -> None:
    """The newer header counts first, for this service alone; none is the oldest version."""
    assert requested(headers, legacy) == version


@pytest.mark.parametrize("text", ["2", "2.", "2.01", "v2.1", "2.1.1", "newest", "2.x", "٢.1"])
def test_not_a_version(text: str) -> None:
    """What is not written as one is a bad request."""
    with pytest.raises(BadRequest, match="not written as a version"):
        requested([], [text])


@pytest.mark.parametrize("text", ["2.0", "1.9", "2.105", "3.1", "2.99999"])
def test_no_such_version(text: str) -> None:
    """What is written well and does not exist is not acceptable, and told the range."""
    with pytest.raises(VersionNotAcceptable, match=r"Minimum is 2\.1 and maximum is 2\.104"):
        requested([f"compute {text}"], [])


def test_order() -> None:
    """2.10 comes after 2.9."""
    assert Microversion(2, 9) < Microversion(2, 10) < Microversion(3, 0)

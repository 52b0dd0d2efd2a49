"""consoled.descriptors: a limit that is too low is said at the start."""

from __future__ import annotations

import resource

import pytest

from consoled.descriptors import needed, refuse_too_few
from consoled.errors import ConfigError


def test_how_many_are_needed() -> None:
    """A viewer, a console and perhaps a recording for each session, and a reserve."""
    assert needed(5000, recorded=True) == 15512
    assert needed(5000, recorded=False) == 10512


@pytest.mark.parametrize("hard", [10512, 1_048_576, resource.RLIM_INFINITY])
def test_enough(hard: int) -> None:
    """At the limit and above it, and where there is none, nothing is said."""
    refuse_too_few(5000, recorded=False, hard=hard)


@pytest.mark.parametrize(
    ("hard", "recorded", "advice"),
    [
        (10511, False, "or set max_sessions to 4999 or less"),
        (4096, True, "or set max_sessions to 1194 or less"),
        (514, False, "or set max_sessions to 1 or less"),
        (513, False, "raise LimitNOFILE (ulimit -Hn)"),
        (64, False, "raise LimitNOFILE (ulimit -Hn)"),
    ],
)
def test_too_few(hard: int, recorded: bool, advice: str) -> None:
    """One line with both numbers, and what to do that really helps."""
    with pytest.raises(ConfigError) as caught:
        refuse_too_few(5000, recorded=recorded, hard=hard)
    text = str(caught.value)
    assert f"may have {hard}" in text
    assert str(needed(5000, recorded=recorded)) in text
    assert text.endswith(advice)


@pytest.mark.parametrize("hard", range(514, 600))
def test_the_advice_holds(hard: int) -> None:
    """What is named as fitting fits, and one more would not."""
    with pytest.raises(ConfigError) as caught:
        refuse_too_few(5000, recorded=False, hard=hard)
    fitting = int(str(caught.value).split()[-3])
    refuse_too_few(fitting, recorded=False, hard=hard)
    with pytest.raises(ConfigError):
        refuse_too_few(fitting + 1, recorded=False, hard=hard)

"""The keys of SysRq."""

from __future__ import annotations

import pytest

from consoled import sysrq
from consoled.errors import BadRequest


@pytest.mark.parametrize("key", ["h", "b", "s", "0", "9", "z"])
def test_keys(key: str) -> None:
    """Digits and letters that a kernel knows are taken."""
    sysrq.check_key(key)


@pytest.mark.parametrize("key", ["", " ", "a", "H", "hh", "\n", "é", "٣", "1\n"])
def test_other_keys(key: str) -> None:
    """Anything else is refused with what there is; the text does not repeat it."""
    with pytest.raises(BadRequest, match="digit or a lower-case letter from b to z; h is help"):
        sysrq.check_key(key)


def test_words() -> None:
    """A recording and a person can tell a SysRq from a BREAK alone."""
    assert [sysrq.marker(None), sysrq.marker("b")] == ["BREAK", "BREAK, SysRq b"]
    assert [sysrq.name(None), sysrq.name("b")] == ["BREAK", "SysRq b"]

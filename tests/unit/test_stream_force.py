"""Consoles that somebody outside of the cell has, and users who may take them with force."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from test_session import TOKEN, Bench
from twisted.internet.defer import fail

from consoled.errors import HeldOutside
from consoled.proxy.presence import Busy

MAY = evolve(TOKEN, options={"rights": "force"})
HELD = "Somebody has this console open through libvirt."


@pytest.fixture
def bench() -> Bench:
    """A replica with one instance."""
    return Bench()


class Held:
    """A transport, and its endpoint, for consoles that somebody has."""

    def endpoint(self, *_: object) -> Any:
        """Itself."""
        return self

    def connect(self, _factory: object) -> Any:
        """It does not open."""
        return fail(HeldOutside(HELD))


def test_an_outsider_is_thrown_off_a_port(bench: Bench) -> None:
    """Who may force gets a port that is proven to be empty, and types at once."""
    bench.ports.can, bench.ports.held = True, frozenset({0})
    session, viewer, wire = bench.opened(token=MAY, force=True)
    assert bench.ports.freed == [(TOKEN.instance_uuid, 0)]
    assert not viewer.greeted[0].unproven
    session.typed(b"root\r")
    assert wire.written == b"root\r"


@pytest.mark.parametrize(("token", "force"), [(TOKEN, True), (MAY, False)])
def test_nobody_is_thrown_off_unasked(bench: Bench, token: Any, force: bool) -> None:
    """It takes the right, and the wish."""
    bench.ports.can, bench.ports.held = True, frozenset({0})
    _, viewer, _ = bench.opened(token=token, force=force)
    assert bench.ports.freed == []
    assert viewer.greeted[0].unproven


@pytest.mark.parametrize("token", [TOKEN, MAY])
def test_a_console_that_does_not_open_twice(bench: Bench, token: Any) -> None:
    """The person reads who has it, and may force where policy lets them; the lease is free."""
    object.__setattr__(bench.reception.opener, "transport", Held())
    _, viewer = bench.begin(token)
    assert viewer.dismissed == (4409, HELD)
    assert viewer.busy == Busy(HELD, None, None, force=token is MAY)
    assert bench.free

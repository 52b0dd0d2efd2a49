"""What every unit test leaves behind: nothing on the reactor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_timer_outlives_its_test() -> Iterator[None]:
    """autobahn's handshake and ping timers run on the global reactor, whatever clock we give.

    Those of a connection that a test leaves open would be the next trial test's dirty reactor.
    """
    from twisted.internet import reactor

    yield
    for timer in reactor.getDelayedCalls():  # type: ignore[attr-defined]  # not in its stub
        timer.cancel()

"""One other cell: whether it is there, and questions to it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from consoled.cells.asking import CellAnswer, CellClient, TooLarge, Unreachable, Wish
from consoled.cells.hop import CELL, Hop
from consoled.errors import CellAway, Conflict

log = Logger()


class State(enum.Enum):
    """What is known of a cell."""

    UNKNOWN = "unknown"
    UP = "up"
    AWAY = "away"


@frozen
class Sight:
    """How a cell looked when it was last looked at.

    :ivar since: when its state became this one, seconds since the epoch.
    :ivar latency: seconds that its answer took.
    :ivar reason: why it is away.
    """

    state: State
    since: float
    latency: float | None = None
    version: str | None = None
    reason: str | None = None


@define(eq=False)
class Neighbour:
    """Another cell.

    Only a look makes it up or away, and a question that fails makes somebody look: one slow
    answer does not keep the others from a cell that is well. While it is away nobody waits. Before
    the first look nothing is sent there: it could be anybody who listens at the address.

    :ivar own: the name of the cell that asks.
    :ivar wall: the time of day.
    :ivar interval: seconds between two looks.
    """

    client: CellClient
    own: str
    clock: Any
    wall: Callable[[], float]
    interval: float
    sight: Sight = field(init=False)
    _looks: LoopingCall = field(init=False)
    _looking: Deferred[None] | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.sight = Sight(State.UNKNOWN, self.wall())
        self._looks = LoopingCall(self.look)
        self._looks.clock = self.clock

    @property
    def name(self) -> str:
        """The cell's."""
        return self.client.name

    @property
    def api_url(self) -> str:
        """Where its API is."""
        return self.client.api_url

    def start(self) -> None:
        """Looks now, and then again and again."""
        self._looks.start(self.interval, now=True)

    def stop(self) -> Deferred[Any]:
        """Looks no more."""
        if self._looks.running:
            self._looks.stop()
        if self._looking is not None:
            self._looking.cancel()
        return self.client.stop()

    def ask(self, wish: Wish) -> Deferred[CellAnswer]:
        """Its answer, whatever the status.

        :raises consoled.errors.CellAway: there is none.
        :raises consoled.errors.Conflict: it is too large.
        """
        return Deferred.fromCoroutine(self._ask(wish))

    def look(self) -> None:
        """Finds out whether it is there."""
        if self._looking is not None:
            return
        self._looking = Deferred.fromCoroutine(self._look())
        self._looking.addErrback(self._failed).addBoth(self._looked)

    def _seen(self) -> Deferred[None]:
        """Fires when it was looked at."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self.look()
        return done

    async def _ask(self, wish: Wish) -> CellAnswer:
        if self.sight.state is State.UNKNOWN:
            await self._seen()
        if self.sight.state is not State.UP:
            raise self.absence()
        try:
            answer = await self.client.ask(wish)
            if answer.status == HTTPStatus.UNAUTHORIZED and wish.plain is not None:
                # It may be our own token that is refused; the user's is good without it, too.
                answer = await self.client.ask(wish.plain)
            return answer
        except Unreachable as error:
            self.look()
            raise self.absence() from error
        except TooLarge:
            raise Conflict(
                f"The answer of cell {self.name} is too large to be brought here; ask its own API "
                f"at {self.api_url}."
            ) from None

    def absence(self) -> CellAway:
        """What a caller is told while the cell does not answer."""
        return CellAway(f"Cell {self.name} does not answer now; try again in a moment.")

    async def _look(self) -> None:
        begun = self.clock.seconds()
        wish = Wish(b"GET", b"/", Headers({CELL: [str(Hop(self.own))]}))
        try:
            answer = await self.client.ask(wish)
        except (Unreachable, TooLarge) as error:
            self._note(State.AWAY, reason=str(error) or "its answer is too large")
        else:
            latency = self.clock.seconds() - begun
            self._note(State.UP, latency=latency, version=answer.version)

    def _note(
        self,
        state: State,
        latency: float | None = None,
        version: str | None = None,
        reason: str | None = None,
    ) -> None:
        former, since = self.sight, self.sight.since
        if former.state is not state:
            since = self.wall()
            if state is State.AWAY:
                log.warn(
                    "cell {cell} does not answer at {url}: {reason}",
                    event="cell_away",
                    cell=self.name,
                    url=self.api_url,
                    reason=reason,
                )
            else:
                log.info(
                    "cell {cell} answers at {url}",
                    event="cell_up",
                    cell=self.name,
                    url=self.api_url,
                )
        self.sight = Sight(state, since, latency, version, reason)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("looking at cell {cell} failed", failure, cell=self.name)

    def _looked(self, _outcome: object) -> None:
        self._looking = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:  # Else its client has gone.
                one.callback(None)

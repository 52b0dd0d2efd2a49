"""Other cells in memory: each is a whole API of its own, asked without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from api_client import ApiClient, Connection
from attrs import define, field
from fakes import FakeDriver, FakeIdentity
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from consoled import __version__
from consoled.auth.policy import PolicyEnforcer
from consoled.cells.asking import CellAnswer, Unreachable, Wish
from consoled.cells.directory import CellDirectory
from consoled.cells.handing import Handover
from consoled.cells.hop import VERSION, HopIdentity
from consoled.cells.neighbour import Neighbour
from consoled.cells.parts import CellParts
from consoled.cells.wishing import ServiceToken, Wishes
from consoled.interfaces import Identity
from consoled.model import Instance
from consoled.workers import InlineWorker

BASE = "http://api.test:8774"
NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z, when everything happens."""


@define(eq=False)
class FakeCell:
    """What :class:`consoled.cells.asking.CellClient` is, over an API in memory.

    :ivar away: whether it cannot be reached.
    :ivar fixed: what it answers, whatever it is asked.
    :ivar pending: when a list, questions are put there, unanswered.
    :ivar heard: what it was asked, but for looks.
    """

    name: str
    api: ApiClient
    away: bool = False
    fixed: CellAnswer | None = None
    pending: list[Deferred[CellAnswer]] | None = None
    heard: list[Wish] = field(factory=list)

    @property
    def api_url(self) -> str:
        """Where it would be."""
        return f"http://{self.name}.test:8774"

    def ask(self, wish: Wish) -> Deferred[CellAnswer]:
        """Its answer."""
        if wish.target != b"/":
            self.heard.append(wish)
        elif not self.away:
            return succeed(CellAnswer(200, Headers(), b"{}", __version__))
        if self.pending is not None:
            self.pending.append(Deferred())
            return self.pending[-1]
        if self.away:
            return fail(Unreachable("it is asleep"))
        if self.fixed is not None:
            return succeed(self.fixed)
        connection = Connection(self.api.site)
        headers = {
            name.decode(): value.decode()
            for name, values in wish.headers.getAllRawHeaders()
            for value in values
        }
        connection.send(wish.method.decode(), wish.target.decode(), headers, wish.body)
        found = connection.answer(wish.method.decode())
        assert found is not None
        sent = Headers()
        for name, value in found.headers.items():
            sent.addRawHeader(name, value)
        [version] = sent.getRawHeaders(VERSION, [""])
        return succeed(CellAnswer(found.status, sent, found.body, version))

    def stop(self) -> Deferred[None]:
        """Nothing to stop."""
        return succeed(None)


def cell_parts(
    own: str,
    cells: Sequence[FakeCell] = (),
    *,
    identity: Identity | None = None,
    clock: Clock | None = None,
    service_token: ServiceToken | None = None,
) -> CellParts:
    """What a cell knows of others."""
    clock = clock or Clock()
    neighbours = [
        Neighbour(cast(Any, cell), own, clock, lambda: NOON, 5.0)  # it has all that is asked for
        for cell in cells
    ]
    judged = HopIdentity(identity or FakeIdentity())
    return CellParts(
        judged,
        Handover(own, neighbours, judged, Wishes(own, lambda _request: BASE, service_token)),
        CellDirectory(own, neighbours, PolicyEnforcer(InlineWorker()), NOON),
        (),
    )


def fake_cell(name: str, *instances: Instance, identity: FakeIdentity | None = None) -> FakeCell:
    """A cell with these instances."""
    identity = identity or FakeIdentity()
    api = ApiClient(
        driver=FakeDriver(list(instances)),
        identity=identity,
        cells=cell_parts(name, identity=identity),
    )
    return FakeCell(name, api)

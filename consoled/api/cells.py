"""The cells of the deployment.

``GET /v1/cells`` 200::

    {"cells": [{"name": "cell1", "own": true, "api_url": null, "state": "up",
                "since": "2026-01-01T00:00:00Z", "latency_ms": 0.0, "version": "0.1.0",
                "reason": null},
               {"name": "cell2", "own": false, "api_url": "https://cell2.example.org:8774",
                "state": "away", "since": "2026-01-01T00:00:00Z", "latency_ms": null,
                "version": null, "reason": "Connection was refused by other side: ..."}]}

The own cell first, then those of ``[cells] names``. ``state`` is ``up``, ``away`` or, until the
first look after a start, ``unknown``; ``since`` is when it became so; ``latency_ms`` the time of
the last answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from consoled.api.exchange import Call
from consoled.api.routes import Routes
from consoled.api.views import time_view
from consoled.cells.directory import CellDirectory, SeenCell

Json = Mapping[str, Any]


@frozen
class CellsApi:
    """The handler of the route."""

    directory: CellDirectory

    def mount(self, routes: Routes) -> None:
        """Adds the route."""
        routes.get("/v1/cells", self.list_cells)

    async def list_cells(self, call: Call) -> Json:
        """All cells, and how they are."""
        return {"cells": [cell_view(cell) for cell in await self.directory.cells(call.caller)]}


def cell_view(cell: SeenCell) -> Json:
    """A cell as JSON."""
    sight = cell.sight
    return {
        "name": cell.name,
        "own": cell.api_url is None,
        "api_url": cell.api_url,
        "state": sight.state.value,
        "since": time_view(int(sight.since)),
        "latency_ms": None if sight.latency is None else round(sight.latency * 1000, 1),
        "version": sight.version,
        "reason": sight.reason,
    }

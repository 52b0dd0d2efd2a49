"""What knows the other cells, put together as ``[cells]`` says."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from attrs import frozen
from twisted.web.server import Request

from consoled.cells.asking import CellClient
from consoled.cells.directory import CellDirectory
from consoled.cells.handing import Handover
from consoled.cells.hop import HopIdentity
from consoled.cells.neighbour import Neighbour
from consoled.cells.wishing import ServiceToken, Wishes
from consoled.interfaces import Identity, Policy
from consoled.replicas.dialling import authorities
from consoled.service import Part
from consoled.settings import CellSite, Settings


@frozen
class CellParts:
    """What knows the other cells.

    :ivar identity: says who sends a request, a client or a cell.
    :ivar handover: answers what this cell does not have.
    :ivar directory: shows the cells.
    """

    identity: Identity
    handover: Handover
    directory: CellDirectory
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        settings: Settings,
        reactor: Any,
        *,
        identity: Identity,
        policy: Policy,
        base: Callable[[Request], str],
        service_token: ServiceToken | None = None,
    ) -> Self:
        """For these settings; nothing is asked yet.

        :param base: where a client reached this API.
        :param service_token: vouches for users; None leaves it away.
        :raises consoled.errors.ConfigError: a file of certificates cannot be used.
        """
        group, own = settings.cells, settings.cell

        def neighbour(site: CellSite) -> Neighbour:
            client = CellClient(
                site.name, site.api_url, reactor, group.timeout, trusted(site.cafile, site.name)
            )
            return Neighbour(client, own, reactor, time.time, group.check_interval)

        neighbours = [neighbour(site) for site in group.sites]
        judged = HopIdentity(identity)
        wishes = Wishes(own, base, service_token)
        return cls(
            judged,
            Handover(own, neighbours, judged, wishes),
            CellDirectory(own, neighbours, policy, time.time()),
            tuple(Part(one.start, one.stop) for one in neighbours),
        )


def trusted(cafile: Path | None, cell: str) -> Any:
    """Who vouches for a cell's address; None for whom this system trusts.

    :raises consoled.errors.ConfigError: the file cannot be used.
    """
    return None if cafile is None else authorities(cafile, f"[cell:{cell}] cafile")

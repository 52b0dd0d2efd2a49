"""What cells say to each other in the headers of a request and of its answer.

A request that a cell hands on has ``X-Consoled-Cell: NAME``, the cell's own name, and is
never handed on again: there are no loops. Where the cell also vouches for the user by a service
token of its own, it says ``X-Consoled-Cell: NAME; vouched``: then the service's roles are not
the user's. Whoever else sends the header gets less by it, and never more.

Each answer to such a request has ``X-Consoled-Cell`` and ``X-Consoled-Version`` of the cell that
gives it. An answer without them is not a cell's: a load balancer gives it, or something else.
A 404 with ``X-Consoled-Not-Here`` says that the cell has nothing of that id; one without it is
about something that it has (an instance has no console of that index, say).
"""

from __future__ import annotations

from typing import Self

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from consoled.interfaces import Identity
from consoled.model import Caller

CELL = "X-Consoled-Cell"
VERSION = "X-Consoled-Version"
NOT_HERE = "X-Consoled-Not-Here"
_VOUCHED = "vouched"


@frozen
class Hop:
    """Which cell asks.

    :ivar vouched: whether it sends a service token of its own.
    """

    cell: str
    vouched: bool = False

    @classmethod
    def of(cls, headers: Headers) -> Self | None:
        """The cell that hands a request on, or None where a client asks."""
        sent = headers.getRawHeaders(CELL, [])
        if not sent:
            return None
        words = [word.strip() for word in ",".join(sent).split(";")]
        return cls(words[0], _VOUCHED in words[1:])

    def __str__(self) -> str:
        return f"{self.cell}; {_VOUCHED}" if self.vouched else self.cell


@frozen
class HopIdentity:
    """Implements :class:`consoled.interfaces.Identity`, for requests of other cells, too.

    A cell vouches for a token that expires on its way, and for nothing else.
    """

    inner: Identity

    def authenticate(self, headers: Headers) -> Deferred[Caller]:
        """The caller; without the roles of the cell that vouches for them.

        :raises consoled.errors.ConsoledError: as the inner one does.
        """
        found = self.inner.authenticate(headers)
        hop = Hop.of(headers)
        return found.addCallback(_alone) if hop is not None and hop.vouched else found


def _alone(caller: Caller) -> Caller:
    return evolve(caller, service_roles=frozenset())

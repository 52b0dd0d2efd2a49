"""What the books of ports should say, given what the hypervisor's domains say. Pure.

A port belongs to a domain for as long as the domain's XML names it, running or not: the live
XML, or the definition that the next start takes. A reservation is a port that was given out
for an XML to name it; it is left alone while it waits for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen


@frozen
class NamedPort:
    """A serial port of a domain that listens on TCP.

    :ivar index: the serial port's number in the guest.
    :ivar address: where it is dialled.
    """

    index: int
    address: str
    port: int


@frozen
class DomainPorts:
    """What the XML of one domain names.

    :ivar name: for people.
    :ivar active: whether it runs.
    :ivar ports: of its live XML and of its definition, each once; None where the XML cannot be
        read, so that nothing is known.
    """

    uuid: str
    name: str
    active: bool
    ports: tuple[NamedPort, ...] | None


@frozen
class HostPorts:
    """What all domains of a compute host name.

    :ivar host: the compute host's name.
    """

    host: str
    domains: tuple[DomainPorts, ...]


@frozen
class Allocation:
    """A port in the books.

    :ivar named: whether an XML was seen to name it.
    :ivar waits: whether it was reserved, now or anew, for an XML that may still come.
    :ivar turn: grows with each reservation on the host: of two readings with the same turn, the
        port was not given out anew in between.
    """

    port: int
    instance_uuid: str
    index: int
    named: bool
    waits: bool
    turn: int


@frozen
class Adoption:
    """A port that goes to the domain whose XML names it.

    :ivar instead_of: the row that it had, with another owner or another index.
    """

    domain: DomainPorts
    named: NamedPort
    instead_of: Allocation | None


@frozen
class Release:
    """A port that comes back.

    :ivar why: for the log.
    """

    row: Allocation
    why: str


@frozen
class Clash:
    """A port that a domain's XML names, and that belongs to somebody else.

    :ivar holder: the uuid of the domain that keeps it.
    """

    port: int
    name: str
    index: int
    holder: str


@frozen
class Plan:
    """What is to be done, in this order: releases, confirmations, adoptions.

    :ivar confirmed: reservations that an XML names now.
    :ivar clashes: what an operator has to settle.
    """

    released: tuple[Release, ...] = ()
    confirmed: tuple[Allocation, ...] = ()
    adopted: tuple[Adoption, ...] = ()
    clashes: tuple[Clash, ...] = ()


GONE = "there is no such domain any more"
CHANGED = "the domain's XML does not name it any more"
UNUSED = "it was reserved, and no XML came to name it"

_Claim = tuple[DomainPorts, NamedPort]


@frozen
class _Books:
    """Both sides, ready to look things up in.

    :ivar only: the uuid of the one domain that was looked at, or None for all.
    """

    domains: Mapping[str, DomainPorts]
    rows: Mapping[int, Allocation]
    only: str | None
    claims: Mapping[int, Sequence[_Claim]] = field(init=False)

    @claims.default
    def _claims(self) -> Mapping[int, Sequence[_Claim]]:
        found: dict[int, list[_Claim]] = {}
        for domain in sorted(self.domains.values(), key=_precedence):
            for named in sorted(domain.ports or (), key=lambda named: named.index):
                found.setdefault(named.port, []).append((domain, named))
        return found

    def unknown(self, uuid: str) -> bool:
        """Whether that domain's XML was not read: what it had, it keeps."""
        if self.only is not None and uuid != self.only:
            return True
        domain = self.domains.get(uuid)
        return domain is not None and domain.ports is None


def reconcile(
    domains: Iterable[DomainPorts], rows: Iterable[Allocation], *, only: str | None = None
) -> Plan:
    """What makes the books agree with the domains.

    The rows have to be read before the domains: a row that was reserved and named in between
    would otherwise look as if nobody wanted it.

    :param domains: all of the host, or the one of ``only`` (none where it is gone).
    :param rows: all of the host.
    :param only: the uuid of the one domain that was looked at; the others keep what they have.
    """
    books = _Books({one.uuid: one for one in domains}, {row.port: row for row in rows}, only)
    plan = Plan(released=tuple(_releases(books)))
    for port, claims in sorted(books.claims.items()):
        plan = _with_port(plan, books, books.rows.get(port), claims)
    return plan


def _releases(books: _Books) -> Iterable[Release]:
    for port, row in sorted(books.rows.items()):
        if port in books.claims or books.unknown(row.instance_uuid):
            continue
        if row.waits:
            continue
        if not row.named:
            yield Release(row, UNUSED)
        elif row.instance_uuid in books.domains:
            yield Release(row, CHANGED)
        else:
            yield Release(row, GONE)


def _with_port(plan: Plan, books: _Books, row: Allocation | None, claims: Sequence[_Claim]) -> Plan:
    if row is not None and books.unknown(row.instance_uuid):
        return evolve(plan, clashes=plan.clashes + _clashes(claims, None, row.instance_uuid))
    winner = _winner(row, claims)
    domain, named = winner
    clashes = plan.clashes + _clashes(claims, winner, domain.uuid)
    if row is None or (row.instance_uuid, row.index) != (domain.uuid, named.index):
        adopted = (*plan.adopted, Adoption(domain, named, row))
        return evolve(plan, adopted=adopted, clashes=clashes)
    confirmed = (*plan.confirmed, row) if row.waits or not row.named else plan.confirmed
    return evolve(plan, confirmed=confirmed, clashes=clashes)


def _winner(row: Allocation | None, claims: Sequence[_Claim]) -> _Claim:
    """Who has it keeps it; otherwise a running domain comes first."""
    if row is None:
        return claims[0]
    own = [claim for claim in claims if claim[0].uuid == row.instance_uuid]
    same = [claim for claim in own if claim[1].index == row.index]
    return (*same, *own, *claims)[0]


def _clashes(claims: Sequence[_Claim], winner: _Claim | None, holder: str) -> tuple[Clash, ...]:
    return tuple(
        Clash(named.port, domain.name, named.index, holder)
        for domain, named in claims
        if winner is None or (domain.uuid, named.index) != (winner[0].uuid, winner[1].index)
    )


def _precedence(domain: DomainPorts) -> tuple[bool, str, str]:
    return not domain.active, domain.name, domain.uuid

"""consoled.compute.reconciling: what the books of ports should say."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from consoled.compute.reconciling import (
    CHANGED,
    GONE,
    UNUSED,
    Adoption,
    Allocation,
    Clash,
    DomainPorts,
    NamedPort,
    Plan,
    Release,
    reconcile,
)

HOST = "192.0.2.7"


def domain(name: str, *ports: int, active: bool = True) -> DomainPorts:
    """A domain with these ports, one for each of its serial ports from 0 on."""
    named = (NamedPort(index, HOST, port) for index, port in enumerate(ports))
    return DomainPorts(f"uuid-{name}", name, active, tuple(named))


def row(
    name: str, port: int, index: int = 0, *, named: bool = True, waits: bool = False
) -> Allocation:
    """A port that the domain of that name has."""
    return Allocation(port, f"uuid-{name}", index, named, waits, turn=1)


def applied(rows: list[Allocation], plan: Plan) -> list[Allocation]:
    """The books after the plan."""
    books = {one.port: one for one in rows}
    for release in plan.released:
        del books[release.row.port]
    for one in plan.confirmed:
        books[one.port] = evolve(one, named=True, waits=False)
    for adopted in plan.adopted:
        port, index = adopted.named.port, adopted.named.index
        assert books.get(port) == adopted.instead_of
        books[port] = Allocation(port, adopted.domain.uuid, index, True, False, 2)
    return [books[port] for port in sorted(books)]


domains = st.lists(
    st.builds(
        lambda name, ports, active, known: evolve(
            domain(name, *ports, active=active),
            **({} if known else {"ports": None}),
        ),
        st.sampled_from("abcd"),
        st.lists(st.integers(1, 6), max_size=3),
        st.booleans(),
        st.integers(0, 5).map(bool),
    ),
    unique_by=lambda one: one.uuid,
)
books = st.lists(
    st.builds(
        lambda name, port, index, named, waits: row(name, port, index, named=named, waits=waits),
        st.sampled_from("abcde"),
        st.integers(1, 6),
        st.integers(0, 2),
        st.booleans(),
        st.booleans(),
    ),
    unique_by=lambda one: one.port,
)


@given(domains, books)
def test_each_named_port_is_in_the_books(there: list[DomainPorts], rows: list[Allocation]) -> None:
    """Nothing that an XML names is left to be given out, and its owner is one that names it."""
    after = {one.port: one for one in applied(rows, reconcile(there, rows))}
    unread = {one.uuid for one in there if one.ports is None}
    for one in there:
        for named in one.ports or ():
            owner = after[named.port]
            claims = {(d.uuid, n.index, n.port) for d in there for n in d.ports or ()}
            key = (owner.instance_uuid, owner.index, owner.port)
            assert key in claims or owner.instance_uuid in unread


@given(domains, books)
def test_what_nobody_names_comes_back(there: list[DomainPorts], rows: list[Allocation]) -> None:
    """All else is a reservation that still waits, or belongs to a domain that was not read."""
    named = {port.port for one in there for port in one.ports or ()}
    unread = {one.uuid for one in there if one.ports is None}
    for one in applied(rows, reconcile(there, rows)):
        assert one.port in named or one.waits or one.instance_uuid in unread


@given(domains, books)
def test_a_second_look_finds_nothing(there: list[DomainPorts], rows: list[Allocation]) -> None:
    """What was done is done; only clashes stay until somebody settles them."""
    first = reconcile(there, rows)
    assert reconcile(there, applied(rows, first)) == Plan(clashes=first.clashes)


@given(domains, books)
def test_each_claim_is_had_or_told(there: list[DomainPorts], rows: list[Allocation]) -> None:
    """A serial port whose port is another's is a clash, and no other one is."""
    plan = reconcile(there, rows)
    after = {one.port: one for one in applied(rows, plan)}
    lost = {
        (named.port, one.name, named.index, after[named.port].instance_uuid)
        for one in there
        for named in one.ports or ()
        if (after[named.port].instance_uuid, after[named.port].index) != (one.uuid, named.index)
    }
    assert {(c.port, c.name, c.index, c.holder) for c in plan.clashes} == lost


@given(domains, books, st.sampled_from("abcde"))
def test_one_domain_alone(there: list[DomainPorts], rows: list[Allocation], name: str) -> None:
    """A look at one domain touches nothing that is another one's."""
    uuid = f"uuid-{name}"
    plan = reconcile([one for one in there if one.uuid == uuid], rows, only=uuid)
    after = {one.port: one for one in applied(rows, plan)}
    for one in rows:
        if one.instance_uuid != uuid:
            assert after[one.port] == one


def test_a_stopped_domain_keeps_its_ports() -> None:
    """Its XML names them."""
    assert reconcile([domain("a", 1, 2, active=False)], [row("a", 1), row("a", 2, 1)]) == Plan()


def test_why_ports_come_back() -> None:
    """The domain is gone, its XML has changed, or nothing came of a reservation."""
    rows = [row("gone", 1), row("a", 2), row("a", 3, named=False), row("new", 4, named=False)]
    fresh = row("new", 5, named=False, waits=True)
    plan = reconcile([domain("a", 7)], [*rows, fresh])
    assert plan.released == (
        Release(rows[0], GONE),
        Release(rows[1], CHANGED),
        Release(rows[2], UNUSED),
        Release(rows[3], UNUSED),
    )
    assert [one.named.port for one in plan.adopted] == [7]


def test_a_reservation_is_confirmed() -> None:
    """The XML names what was reserved for it."""
    for named in (False, True):
        reserved = row("a", 1, named=named, waits=True)
        assert reconcile([domain("a", 1)], [reserved]) == Plan(confirmed=(reserved,))
        assert reconcile([domain("a")], [reserved]) == Plan()


def test_a_clash_in_hand_written_xml() -> None:
    """Who has the port keeps it; where nobody has it, a running domain comes first."""
    off, on = domain("a", 1, active=False), domain("b", 1)
    named = NamedPort(0, HOST, 1)
    assert reconcile([off, on], []) == Plan(
        adopted=(Adoption(on, named, None),), clashes=(Clash(1, "a", 0, "uuid-b"),)
    )
    assert reconcile([off, on], [row("a", 1)]) == Plan(clashes=(Clash(1, "b", 0, "uuid-a"),))
    reserved = row("c", 1, named=False, waits=True)
    assert reconcile([on], [reserved]) == Plan(adopted=(Adoption(on, named, reserved),))


def test_an_xml_that_cannot_be_read() -> None:
    """Nothing is known of the domain, so it keeps what it has."""
    unread = evolve(domain("a"), ports=None)
    assert reconcile([unread, domain("b", 1)], [row("a", 1), row("a", 2, 1)]) == Plan(
        clashes=(Clash(1, "b", 0, "uuid-a"),)
    )

"""Leases in the cell, and the way to its other replicas."""

from __future__ import annotations

from typing import Self

from attrs import frozen

from consoled.composition.inputs import Inputs
from consoled.composition.openstack import Cloud
from consoled.composition.store import Store
from consoled.leasing.cell import CellLeases
from consoled.recording.files import RecordingFiles
from consoled.recording.parts import RecordingParts
from consoled.replicas.borrowing import Borrower
from consoled.replicas.break_asking import BreakAsker
from consoled.replicas.break_taking import BreakTaker
from consoled.replicas.dialling import replica_endpoints
from consoled.replicas.doors import Doors
from consoled.replicas.hops import Hops
from consoled.replicas.lending import Lender
from consoled.replicas.tickets import TicketOffice


@frozen(eq=False)
class Replicas:
    """This replica, and what it has of and for the others.

    :ivar hops: carries viewers to them.
    :ivar recordings: those of the whole cell, wherever their files are.
    :ivar breaks: has them send a BREAK on a line of theirs.
    :ivar doors: takes what they ask for: files, and a BREAK.
    """

    leases: CellLeases
    hops: Hops
    recordings: RecordingParts
    breaks: BreakAsker
    doors: Doors

    @classmethod
    def of(cls, inputs: Inputs, store: Store, cloud: Cloud) -> Self:
        """Nothing is registered, and nothing dialled, before the start.

        :raises consoled.errors.ConfigError: ``[proxy] replica_ca`` cannot be used.
        """
        settings, reactor = inputs.settings, inputs.reactor
        own_url = settings.proxy.replica_url or ""
        dial = replica_endpoints(reactor, settings.proxy.replica_ca)
        leases = CellLeases(
            database=store.database,
            beats=store.beats,
            cell=settings.cell,
            url=own_url,
            clock=reactor,
            end=store.sessions.end,
            lose=store.sessions.lose,
            saw=lambda living: hops.keep(living),  # noqa: PLW0108  # made below
        )
        office = TicketOffice(store.database, lambda: leases.replica_id)
        hops = Hops(leases=leases, tickets=office, own_url=own_url, endpoint=dial, clock=reactor)

        def borrow(files: RecordingFiles) -> Borrower:
            return Borrower(store.database, office, files, reactor, dial)

        recordings = RecordingParts.of(
            settings,
            reactor,
            store.database,
            inputs.policy,
            inputs.recording_key,
            borrow=borrow,
            openstack=cloud.openstack,
            console_tokens=cloud.console_tokens,
        )
        lender = Lender(office, recordings.store.files)
        taker = BreakTaker(office, inputs.driver.breaks, store.sessions)
        asker = BreakAsker(leases, office, reactor, dial)
        return cls(leases, hops, recordings, asker, Doors((lender, taker)))

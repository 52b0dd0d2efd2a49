"""Tells open lines that their guest comes up on another compute host.

Whoever drives the migration, libvirt's events lead here (:mod:`consoled.compute.rounds`).
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred

from consoled.errors import NotFound
from consoled.interfaces import DomainDriver
from consoled.model import Instance
from consoled.proxy.book import SessionBook
from consoled.proxy.line import Line


@frozen(eq=False)
class Scout:
    """Looks on one compute host for the guests of lines that are on another one.

    :ivar driver: knows that host's domains.
    :ivar sessions: has the lines of this replica.
    """

    driver: DomainDriver
    sessions: SessionBook

    def look(self, uuid: str | None) -> Deferred[None]:
        """Tells the lines whose guest is here, too: it comes, or has come.

        :param uuid: of that instance only.
        :raises consoled.errors.Unavailable: the hypervisor does not answer.
        """
        return Deferred.fromCoroutine(self._look(None if uuid is None else uuid.lower()))

    async def _look(self, uuid: str | None) -> None:
        if not self.sessions.open_lines(uuid):
            return
        host = await self.driver.compute_host()
        lines = self.sessions.open_lines(uuid)
        elsewhere = [line for line in lines if line.console.instance.host != host]
        found = await self._instances(elsewhere, uuid)
        for line in elsewhere:
            if line.key.instance_uuid in found:
                line.switch.expect(found[line.key.instance_uuid])

    async def _instances(self, lines: list[Line], uuid: str | None) -> dict[str, Instance]:
        if not lines:
            return {}
        if uuid is None:
            return {instance.uuid: instance for instance in await self.driver.instances()}
        try:
            return {uuid: await self.driver.instance(uuid)}
        except NotFound:
            return {}

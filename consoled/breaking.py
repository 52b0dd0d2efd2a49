"""BREAK and SysRq for a caller of the REST API, who has no session on the console.

A BREAK makes the next byte of input a SysRq command. So it is input like any other, and whoever
sends it has the console for that moment, by a lease and a connection of their own; any replica can
do it. While somebody is on the console, the replica that has their line does it on that, whichever
replica was asked: what they type waits until the key has followed the BREAK.
"""

from __future__ import annotations

from typing import Protocol
from uuid import uuid4

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from consoled import sysrq
from consoled.auth.policy import Rule
from consoled.choosing import choose_console
from consoled.errors import BadRequest, Conflict, ConsoleBusy, ConsoledError, Unavailable
from consoled.interfaces import BreakControl
from consoled.issuing import ConsoleIssuer
from consoled.leasing.values import ConsoleKey, Holder
from consoled.model import (
    NO_GENERATION,
    Caller,
    Console,
    ConsoleAuthToken,
    Instance,
    hash_token,
)
from consoled.openstack.values import UserToken
from consoled.proxy.book import SessionBook
from consoled.proxy.breaking import LOST, break_on_line
from consoled.proxy.leg import OpenConsole
from consoled.proxy.opening import Opener

log = Logger()


class BreaksElsewhere(Protocol):
    """The lines of the cell's other replicas."""

    def send(self, key: ConsoleKey, sysrq: str | None, by: str) -> Deferred[bool]:
        """Whether another replica has the console's line, and has sent a BREAK on it."""


@frozen
class ConsoleBreaker:
    """What the REST API does with BREAK.

    :ivar issuer: which instances a caller may act on.
    :ivar opener: has the console for the moment.
    :ivar breaks: sends it; None where the driver cannot.
    :ivar sessions: the lines of this replica; None has none.
    :ivar elsewhere: those of the other replicas; None asks none.
    """

    issuer: ConsoleIssuer
    opener: Opener
    breaks: BreakControl | None
    clock: IReactorTime
    sessions: SessionBook | None = None
    elsewhere: BreaksElsewhere | None = None

    def send(
        self, caller: Caller, uuid: str, index: int, key: str | None, request_id: str
    ) -> Deferred[Console]:
        """Sends a BREAK to a console, past whoever is on it.

        :param key: of a SysRq, typed after it; None for a BREAK alone.
        :param request_id: for the audit line.
        :returns: the console that got it.
        :raises consoled.errors.NotFound: no such instance (for this caller) or console.
        :raises consoled.errors.Forbidden: policy says no.
        :raises consoled.errors.BadRequest: the driver cannot, or no kernel knows that key.
        :raises consoled.errors.Conflict: the instance does not run, the input of whoever is on
            the console is on its way, or the hypervisor refuses.
        :raises consoled.errors.BackendUnreachable: the console's port does not answer.
        :raises consoled.errors.Unavailable: driver, policy or database are away.
        """
        return Deferred.fromCoroutine(self._send(caller, uuid, index, key, request_id))

    async def _send(
        self, caller: Caller, uuid: str, index: int, key: str | None, request_id: str
    ) -> Console:
        instance = await self.issuer.visible(caller, uuid, Rule.CONSOLES_BREAK)
        self.issuer.check_open(instance)
        console = choose_console(instance, index, (), caller)
        breaks = self.breaks
        if breaks is None:
            raise BadRequest(
                f"Console {index} of instance {uuid} takes no BREAK: the driver "
                f"{self.issuer.driver.name} knows nothing of it but its address."
            )
        if key is not None:
            sysrq.check_key(key)
        facts = {
            "what": sysrq.name(key),
            "sysrq": key,
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "instance_uuid": uuid,
            "index": console.index,
            "request_id": request_id,
        }
        try:
            await self._at(instance, console, key, caller, breaks)
        except ConsoledError as error:
            log.info(
                "{what} not sent to console {index} of {instance_uuid}: {reason}",
                event="break_failed",
                reason=str(error),
                **facts,
            )
            raise
        log.info(
            "{what} sent to console {index} of {instance_uuid} by {user_id}",
            event="break_sent",
            **facts,
        )
        return console

    async def _at(
        self,
        instance: Instance,
        console: Console,
        key: str | None,
        caller: Caller,
        breaks: BreakControl,
    ) -> None:
        session_id = str(uuid4())
        holder = Holder(caller.user_id, caller.project_id)
        token = _paper(instance, console, caller, session_id)
        try:
            opened = await self.opener.open(
                token, session_id, holder, lambda: succeed(None), user=UserToken.of(caller)
            )
        except ConsoleBusy as error:
            if await self._past(instance, console, key, caller, breaks):
                return
            raise Conflict(
                f"Somebody is on console {console.index} of instance {instance.uuid}, and a BREAK "
                "makes a SysRq command of what they type next. Send it from the console's page, "
                "have their session disconnected first, or try again in a moment."
            ) from error
        try:
            if opened.unproven:
                raise Conflict(
                    f"Something outside of consoled is connected to console {console.index} of "
                    f"instance {instance.uuid}, and a BREAK would make a SysRq command of what it "
                    "sends next."
                )
            await breaks.send_break(instance.uuid, console.index)
            if key is not None:
                _type(opened, key)
        finally:
            await opened.close(self.clock)

    async def _past(
        self,
        instance: Instance,
        console: Console,
        key: str | None,
        caller: Caller,
        breaks: BreakControl,
    ) -> bool:
        """Sends it on the line of the console, wherever in the cell; whether there is one."""
        where, by = ConsoleKey(instance.uuid, console.index, console.type), caller.user_id
        book = self.sessions
        if book is not None and await break_on_line(book, where, breaks, key, by):
            return True
        return self.elsewhere is not None and await self.elsewhere.send(where, key, by)


def _type(opened: OpenConsole, key: str) -> None:
    if not opened.lease.valid:
        raise Unavailable(LOST)
    opened.leg.write(key.encode("ascii"))


def _paper(
    instance: Instance, console: Console, caller: Caller, session_id: str
) -> ConsoleAuthToken:
    """What an opening asks for; it is in no table, and opens nothing for anybody."""
    return ConsoleAuthToken(
        token_hash=hash_token(session_id),
        instance_uuid=instance.uuid,
        index=console.index,
        host=console.host,
        port=console.port,
        generation=NO_GENERATION,
        access_url="",
        expires=0,
        project_id=caller.project_id,
        user_id=caller.user_id,
    )

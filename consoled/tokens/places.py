"""Binds a token that names only a place to the console that has this place now.

nova's tokens, and those of the retired consoleauth service, carry an instance, a host and
a port: no generation, no user, no console index. nova looks at neither the power state nor
the guest, so there the token of a stopped instance reaches whoever got its port next
(reference: nova-contract, "Defects"). Here the instance must run, and its driver must say
at this moment that one of its consoles is at that host and port (design.md, invariant 3).
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.errors import BadRequest, InstanceNotRunning, NotFound, TokenInvalid
from consoled.interfaces import Driver
from consoled.model import SERIAL, ConsoleAuthToken, FieldError, Instance
from consoled.tokens.objects import TokenObject

log = Logger()


def invalid() -> TokenInvalid:
    """The one answer to every token that opens nothing, whatever the reason."""
    return TokenInvalid("This console link is not valid, or has expired; ask for a new one.")


def no_role(keeper: str) -> BadRequest:
    """The answer to whoever asks for a token to watch with.

    :param keeper: where the tokens are.
    """
    return BadRequest(
        f"This cell keeps its tokens in {keeper}, which has no room for a role: it gives out "
        "URLs to type with only. Leave the role away."
    )


def no_place(keeper: str) -> BadRequest:
    """The answer to whoever asks for a token for a console without a TCP port.

    :param keeper: where the tokens are.
    """
    return BadRequest(
        f"This cell keeps its tokens in {keeper}, which has no room for a console without a TCP "
        "port: give the instance a TCP serial port, or keep the tokens in the cell's own database."
    )


def console_at(found: TokenObject, instance: Instance) -> int:
    """The index of the console that the token names.

    :param instance: as its driver sees it at this moment.
    :raises consoled.errors.InstanceNotRunning: it has no live serial ports.
    :raises consoled.errors.TokenInvalid: none of its consoles is there, or it is not a
        serial console.
    """
    if found.console_type != SERIAL:
        raise TokenInvalid("This link is for another type of console; consoled opens serial ones.")
    if not instance.state.live:
        raise InstanceNotRunning(f"{instance.name} is not running. Start it and connect again.")
    for console in instance.consoles:
        if console.type == SERIAL and (console.host, console.port) == (found.host, found.port):
            return console.index
    raise TokenInvalid("This console has changed since its URL was made. Get a new URL.")


@frozen
class PlaceBinder:
    """Asks the driver where an instance's consoles are.

    :ivar driver: the one that opens the console afterwards, so that both see the same.
    """

    driver: Driver

    def bind(self, found: TokenObject, token_hash: str, left: float) -> Deferred[ConsoleAuthToken]:
        """The token with its console's index, and no generation.

        :param left: seconds until it expires.
        :raises consoled.errors.InstanceNotRunning: the instance has no live serial ports.
        :raises consoled.errors.TokenInvalid: no console of it is at that place.
        :raises consoled.errors.Unavailable: the driver does not answer.
        """
        return Deferred.fromCoroutine(self._bind(found, token_hash, left))

    async def _bind(self, found: TokenObject, token_hash: str, left: float) -> ConsoleAuthToken:
        try:
            instance = await self.driver.instance(found.instance_uuid)
        except NotFound:
            raise TokenInvalid("The instance of this URL does not exist any more.") from None
        try:
            return found.bound(console_at(found, instance), token_hash, left)
        except FieldError as error:
            log.warn("token {token_id}: {fault}", token_id=token_hash[:12], fault=str(error))
            raise invalid() from None

"""Logging in with keys (RFC 4252, section 7; RFC 8332 for RSA; RFC 8308 for what is taken)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from consoled.transports.ssh.errors import LoginRefused, SSHError
from consoled.transports.ssh.link import Link, Quiet
from consoled.transports.ssh.offers import Offer, signing_algorithm

log = Logger()

MOST_KEYS = 5
"""Keys that are shown; OpenSSH closes the connection at the sixth (MaxAuthTries)."""

_REQUEST, _FAILURE, _SUCCESS, _BANNER, _PK_OK = 50, 51, 52, 53, 60


class KeyLogin(SSHService):
    """The service ``ssh-userauth``, which makes way for the connection.

    :param user: the user's name on the server.
    :param offers: the keys, in the order in which to show them.
    :param then: what the server is used for.
    """

    name = b"ssh-userauth"
    _log = Quiet()
    protocolMessages = {  # noqa: RUF012 - Conch's name
        _FAILURE: "MSG_USERAUTH_FAILURE",
        _SUCCESS: "MSG_USERAUTH_SUCCESS",
        _BANNER: "MSG_USERAUTH_BANNER",
        _PK_OK: "MSG_USERAUTH_PK_OK",
    }

    def __init__(self, user: str, offers: Sequence[Offer], then: SSHService) -> None:
        self._user, self._then = user.encode(), then
        self._all = offers
        self._offers: Iterator[tuple[Offer, bytes]] = iter(())
        self._shown: list[str] = []
        self._current: tuple[Offer, bytes] | None = None
        self._signing: Deferred[Any] | None = None

    def serviceStarted(self) -> None:
        """The first key is shown."""
        taken = self._link.peerExtensions.get(b"server-sig-algs")
        server = None if taken is None else frozenset(taken.split(b","))
        usable = [(offer, offer.algorithm_for(server)) for offer in self._all]
        found = [(offer, name) for offer, name in usable if name is not None]
        self._offers = iter(found[:MOST_KEYS])
        self._show_next("it was shown no key")

    def serviceStopped(self) -> None:
        """Whatever is being signed is not needed any more."""
        if self._signing is not None:
            self._signing.cancel()

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> None:
        """The key is not known there, or is not enough."""
        methods, rest = getNS(packet)
        self._current = None
        words = methods.decode("ascii", "replace")
        if rest[:1] != b"\0":
            self._refuse(f"the key is not enough, it wants {words} besides")
        elif "publickey" not in words.split(","):
            self._refuse(f"it takes no keys, only {words or 'nothing'}")
        else:
            self._show_next("")

    def ssh_USERAUTH_PK_OK(self, packet: bytes) -> None:
        """The key is known there: now it is proved."""
        if self._current is None or self._signing is not None:
            self._refuse("it asked for a proof out of turn")
            return
        offer, algorithm = self._current
        signed = NS(self._link.sessionID or b"") + self._request(b"\1", offer, algorithm)
        self._signing = offer.sign(signing_algorithm(algorithm), signed)
        self._signing.addCallbacks(self._prove, self._cannot_sign)

    def ssh_USERAUTH_SUCCESS(self, packet: bytes) -> None:
        """Logged in."""
        if self._current is None:
            self._refuse("it agreed to what it was not asked")
        else:
            self._link.setService(self._then)

    def ssh_USERAUTH_BANNER(self, packet: bytes) -> None:
        """For people at a terminal."""

    @property
    def _link(self) -> Link:
        return cast(Link, self.transport)

    def _request(self, proves: bytes, offer: Offer, algorithm: bytes) -> bytes:
        return (
            bytes((_REQUEST,))
            + NS(self._user)
            + NS(self._then.name)
            + NS(b"publickey")
            + proves
            + NS(algorithm)
            + NS(offer.blob)
        )

    def _show_next(self, nothing: str) -> None:
        self._current = next(self._offers, None)
        if self._current is None:
            self._refuse(nothing or f"it knows none of {', '.join(self._shown)}")
            return
        offer, algorithm = self._current
        self._shown.append(offer.fingerprint)
        request = self._request(b"\0", offer, algorithm)
        self._link.sendPacket(request[0], request[1:])

    def _prove(self, signature: bytes) -> None:
        self._signing = None
        if self._current is not None:
            request = self._request(b"\1", *self._current) + NS(signature)
            self._link.sendPacket(request[0], request[1:])

    def _cannot_sign(self, reason: Any) -> None:
        self._signing = None
        if self._current is not None:
            offer, _ = self._current
            log.warn(
                "SSH to {node}: the key {key} could not sign: {reason}",
                node=self._link.node.label,
                key=offer.fingerprint,
                reason=type(reason.value).__name__,
            )
            self._show_next("")

    def _refuse(self, why: str) -> None:
        node = self._link.node
        self._link.end(refused(node.label, node.login.user, why))


def refused(label: str, user: str, why: str) -> SSHError:
    """The error for a login that a server does not accept."""
    return LoginRefused(
        f"The SSH server {label} refused the login: it does not know the user, or none of the "
        "keys that it was shown.",
        f"user {user}: {why}",
    )

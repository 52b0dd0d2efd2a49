"""The keys of an SSH agent (draft-miller-ssh-agent), over its socket."""

from __future__ import annotations

import struct
from typing import Any

from attrs import frozen
from twisted.conch.error import ConchError
from twisted.conch.ssh.agent import AGENTC_SIGN_REQUEST, SSHAgentClient
from twisted.conch.ssh.common import NS
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure

from consoled.transports.ssh.offers import Offer, algorithms_of

_FLAGS = {b"rsa-sha2-256": 2, b"rsa-sha2-512": 4}
"""What an agent is told so that it does not sign with SHA-1."""

_TIMEOUT = 5.0
"""Seconds for the agent's socket."""


class AgentClient(SSHAgentClient):
    """One connection to an agent; its open questions fail when it ends."""

    def sign(self, blob: bytes, algorithm: bytes, data: bytes) -> Deferred[bytes]:
        """The agent's signature with one of its keys."""
        flags = struct.pack(">L", _FLAGS.get(algorithm, 0))
        answer: Deferred[Any] = self.sendRequest(AGENTC_SIGN_REQUEST, NS(blob) + NS(data) + flags)
        return answer.addCallback(self._cbSignData)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nothing is answered any more."""
        waiting, self.deferreds = self.deferreds, []
        for question in waiting:
            question.errback(ConchError("the agent closed its socket"))


@frozen
class Agent:
    """An agent that has been asked for its keys.

    :ivar offers: its keys, as far as they are supported.
    """

    client: AgentClient
    offers: tuple[Offer, ...]

    def close(self) -> None:
        """Ends the connection."""
        transport: Any = self.client.transport
        transport.loseConnection()


async def open_agent(reactor: Any, path: str) -> Agent:
    """Connects to an agent and asks for its keys.

    :param path: of its socket, as in SSH_AUTH_SOCK.
    :raises Exception: there is none, or it does not answer as agents do.
    """
    factory = Factory.forProtocol(AgentClient)
    factory.noisy = False
    client: Any = await UNIXClientEndpoint(reactor, path, timeout=_TIMEOUT).connect(factory)
    try:
        identities = await client.requestIdentities()
    except BaseException:
        client.transport.loseConnection()
        raise
    return Agent(client, tuple(_offer(client, blob) for blob, _ in identities))


def _offer(client: AgentClient, blob: bytes) -> Offer:
    def sign(algorithm: bytes, data: bytes) -> Deferred[bytes]:
        return client.sign(blob, algorithm, data)

    return Offer(blob, algorithms_of(blob), sign)

"""Twisted's HTTP client over whatever leads to a host: for treq and Agent.

A library piece: the daemon does not need it. With ``SSHPool.endpoint`` it is the
specification's ProxiedHTTPAdapter; docs/examples/http_over_ssh.py shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

Dial = Callable[[str, int], IStreamClientEndpoint]
"""Where to connect to reach a host and a port; the host has no brackets."""


@implementer(IAgentEndpointFactory)
@frozen
class AgentEndpoints:
    """Makes the endpoints of ``Agent.usingEndpointFactory``.

    :ivar dial: leads to a host and a port.
    :ivar trust: who vouches for https addresses; None for whom this system trusts.
    """

    dial: Dial
    trust: Any = None

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        """The endpoint of a URI; TLS is spoken end to end, within the stream.

        :raises ValueError: it is neither http nor https.
        """
        host = uri.host.decode("ascii").removeprefix("[").removesuffix("]")
        endpoint = self.dial(host, uri.port)
        if uri.scheme == b"http":
            return endpoint
        if uri.scheme != b"https":
            raise ValueError(f"{uri.scheme.decode('ascii', 'replace')} is not spoken here")
        secure: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(host, trustRoot=self.trust), endpoint
        )
        return secure

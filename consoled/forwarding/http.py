"""A request of the API, carried to a web service on an instance, and its answer back.

::

    client --- /v1/servers/{id}/http/{port}/{path} --- consoled === TCP or SSH === instance

One connection to the instance for each request, so that no answer can be another's. Bodies go
on while they arrive, both ways and at once; each side's full buffer stops the other's reading.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import define, frozen
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import Logger
from twisted.web.http_headers import Headers

from consoled.auth.policy import Rule
from consoled.errors import (
    BackendTimeout,
    BackendUnreachable,
    ConsoledError,
    InstanceNotRunning,
)
from consoled.forwarding.headers import Client, header, request_headers, response_headers
from consoled.forwarding.heads import AnswerHead, BadAnswer, request_head
from consoled.forwarding.idle import IdleWatch
from consoled.forwarding.location import Place, rewrite
from consoled.forwarding.places import Places
from consoled.forwarding.targets import Targets
from consoled.forwarding.upstream import Upstream
from consoled.forwarding.way import Dialler, Reached, quiet
from consoled.interfaces import Addresses
from consoled.issuing import ConsoleIssuer
from consoled.model import Caller, Instance
from consoled.openstack.values import UserToken
from consoled.reaching.behalf import Behalf

log = Logger()

LOST = (ConnectionDone, ConnectionLost, ConnectionAborted, OSError)
ELSEWHERE = b"X-Consoled-Location"
"""Where a redirect leads that is none for the client, as its key must not follow."""


@frozen
class Wish:
    """What a caller asks of an instance.

    :ivar port: as it stands in the path.
    :ivar target: path and query at the instance, as the client wrote them.
    :ivar client: who asks, as the instance is told.
    """

    caller: Caller
    request_id: str
    server_id: str
    port: str
    target: bytes
    client: Client


@define(eq=False)
class HttpForwarder:
    """Carries requests.

    :ivar issuer: says which instances a caller may reach.
    :ivar idle_timeout: seconds without a byte either way until a request is given up.
    """

    issuer: ConsoleIssuer
    addresses: Addresses
    dialler: Dialler
    targets: Targets
    places: Places
    idle_timeout: float

    async def forward(self, request: Any, wish: Wish) -> bytes:
        """Answers the request with the instance's answer.

        :param request: of the API's listener.
        :returns: the end of the answer's body, which is none.
        :raises consoled.errors.ConsoledError: there is no answer of the instance's.
        """
        instance = await self.issuer.visible(wish.caller, wish.server_id, Rule.SERVERS_HTTP)
        port = self.targets.port(wish.port)
        check_live(instance)
        behalf = Behalf(UserToken.of(wish.caller))
        known = await self.addresses.of(instance, behalf)
        allowed = self.targets.addresses(instance.uuid, known)
        with self.places.one():
            upstream = Upstream(request.method)
            watch = IdleWatch(self.dialler.clock, self.idle_timeout, upstream.expire)
            upstream.touched = watch.touch
            reached = await self.dialler.dial(instance, allowed, port, quiet(upstream), behalf)
            watch.start()
            try:
                await self._exchange(request, wish, instance, port, reached)
            finally:
                watch.stop()
                upstream.abort()
                _log_end(wish, instance, port, request, upstream)
        return b""

    async def _exchange(
        self, request: Any, wish: Wish, instance: Instance, port: int, reached: Reached
    ) -> None:
        upstream: Upstream = reached.protocol
        place = Place(
            reached.address,
            port,
            wish.client.host.decode("latin-1"),
            partial(route, instance.uuid),
            self.targets.lets,
        )
        body = request.body
        head = request_head(
            request.method,
            wish.target,
            request_headers(_pairs(request.requestHeaders), wish.client, place.authority),
            None if body is None else body.length,
            body=body is not None,
        )
        upstream.begin(head, body)
        where = f"Port {port} of instance {instance.uuid}"
        try:
            answer = await upstream.head
        except BadAnswer as error:
            _log_bad(wish, instance, port, error)
            raise BackendUnreachable(f"{where} does not answer as a web service does.") from error
        except TimeoutError as error:
            raise BackendTimeout(f"{where} did not answer in time.") from error
        except LOST as error:
            raise BackendUnreachable(f"{where} closed the connection without an answer.") from error
        _answer_head(request, answer, place, wish.target)
        # From here on the answer is the instance's: what breaks it off shows as its end.
        request.registerProducer(upstream, True)
        request.write(b"")
        upstream.deliver(request.write)
        try:
            await upstream.finished
        except (BadAnswer, ConsoledError, *LOST) as error:
            _log_bad(wish, instance, port, error)
            broken = True
        else:
            broken = False
        finally:
            request.unregisterProducer()
        if broken:
            await _break_off(request)


def route(server_id: str, port: int) -> str:
    """The path of the route to an instance's port, without a slash at its end."""
    return f"/v1/servers/{server_id}/http/{port}"


def check_live(instance: Instance) -> None:
    """Nothing, where the instance runs.

    :raises consoled.errors.InstanceNotRunning: it does not.
    """
    if not instance.state.live:
        raise InstanceNotRunning(
            f"Instance {instance.uuid} is {instance.state.value}; start it, then ask again."
        )


def _answer_head(request: Any, answer: AnswerHead, place: Place, target: bytes) -> None:
    request.setResponseCode(answer.status, answer.phrase or None)
    headers = request.responseHeaders
    for name in _REPLACED:
        headers.removeHeader(name)
    for name, value in response_headers(answer.headers):
        headers.addRawHeader(name, value)
    location = header(answer.headers, b"location")
    if location is not None:
        ours = rewrite(place, target.decode("ascii"), location)
        if ours is None:
            headers.setRawHeaders(ELSEWHERE, [location])
        else:
            headers.setRawHeaders(b"Location", [ours])
    if answer.declared is not None:
        headers.setRawHeaders(b"Content-Length", [b"%d" % answer.declared])


_REPLACED = (
    *(b"Content-Type", b"Server", b"Date"),
    *(b"Cache-Control", b"X-Content-Type-Options"),
)
"""Set for each answer of the API already."""


def _pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, values in headers.getAllRawHeaders() for value in values]


async def _break_off(request: Any) -> None:
    """Ends the client's connection, so that what it has of the answer does not look whole."""
    gone = request.notifyFinish()
    if request.chunked or request.responseHeaders.hasHeader(b"Content-Length"):
        request.loseConnection()
    else:
        # To such a client the end of the connection is the end of the answer.
        request.transport.abortConnection()
    # There is no end of the answer to be written: this is cancelled when the client is gone.
    await gone


def _log_bad(wish: Wish, instance: Instance, port: int, error: BaseException) -> None:
    log.info(
        "the answer of {instance_uuid} port {port} is not whole: {reason}",
        event="http_answer_broken",
        instance_uuid=instance.uuid,
        port=port,
        reason=str(error) or type(error).__name__,
        request_id=wish.request_id,
    )


def _log_end(wish: Wish, instance: Instance, port: int, request: Any, upstream: Upstream) -> None:
    log.info(
        "{user_id} asked {instance_uuid} port {port} by HTTP: {status}",
        event="http_forwarded",
        user_id=wish.caller.user_id,
        project_id=wish.caller.project_id,
        instance_uuid=instance.uuid,
        port=port,
        method=request.method.decode("ascii", "replace")[:16],
        status=request.code if request.startedWriting else None,
        bytes_in=upstream.sent,
        bytes_out=upstream.taken,
        request_id=wish.request_id,
        src=wish.client.address,
    )

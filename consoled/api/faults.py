"""Errors as answers, in the form of the OpenStack compute API.

``{"itemNotFound": {"code": 404, "message": "Instance ... could not be found."}}``

The one place where an error becomes a status: what consoled raises on purpose
(consoled.errors) says its own; anything else is a 500 with a constant text, and its
traceback goes to the log only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from consoled.api.exchange import exchange_of
from consoled.api.matching import OtherMethod
from consoled.errors import ConsoledError, Unauthorized

log = Logger()

_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    408: "requestTimeout",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    431: "overLimit",
    503: "serviceUnavailable",
}


def fault(status: int, message: str, name: str | None = None) -> bytes:
    """The body of an error, also for a connection that refuses by itself.

    :param status: the HTTP status.
    :param message: the text for a person.
    :param name: nova's name of the fault, where not the status's usual one.
    """
    name = name or _NAMES.get(status, "computeFault")
    return encode({name: {"code": status, "message": message}})


def encode(value: Mapping[str, Any]) -> bytes:
    """JSON in ASCII, so that no character of a name can break anything."""
    return json.dumps(value).encode("ascii")


def finish(request: Request, status: int, body: bytes) -> bytes:
    """Sets status and length; gives the body back for the renderer to send."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


@frozen
class FaultHandler:
    """Answers every failure of a request.

    :ivar challenge: the ``WWW-Authenticate`` of a 401.
    """

    challenge: str

    def answer(self, request: Request, failure: Failure) -> bytes:
        """The body of the answer; the headers are set on the request."""
        error = failure.value
        if isinstance(error, OtherMethod):
            request.setHeader("Allow", error.allowed)
            if request.method == b"OPTIONS":
                return no_content(request)
        if not isinstance(error, ConsoledError) or error.status == 500:
            return _unexpected(request, failure)
        if isinstance(error, Unauthorized):
            request.setHeader("WWW-Authenticate", self.challenge)
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            exchange_of(request).reason = str(error)
        if error.retry_after is not None:
            request.setHeader("Retry-After", str(error.retry_after))
        return finish(request, error.status, fault(error.status, str(error), error.fault))


def no_content(request: Request) -> bytes:
    """The body of an answer that has none, and so no type either."""
    request.setResponseCode(HTTPStatus.NO_CONTENT)
    request.responseHeaders.removeHeader("Content-Type")
    return b""


def _unexpected(request: Request, failure: Failure) -> bytes:
    exchange = exchange_of(request)
    log.failure(
        "Request {request_id} failed unexpectedly",
        failure=failure,
        event="request_failed",
        request_id=exchange.request_id,
        route=exchange.route,
    )
    message = f"An unexpected error; the log of consoled tells more under {exchange.request_id}."
    return finish(request, 500, fault(500, message))

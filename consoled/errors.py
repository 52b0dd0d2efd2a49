"""Every error that consoled tells somebody about.

One hierarchy; a handler never invents a status or a message::

    ConsoledError                    500 computeFault        close 1011
    ├── ConfigError                  (start only: one line, exit 1)
    ├── BadRequest                   400 badRequest
    │   ├── ConsoleDisabled
    │   └── SocketPortRangeExhausted
    ├── Unauthorized                 401 unauthorized
    │   ├── TokenInvalid             close 4401
    │   └── TokenRefused             close 4401
    ├── Forbidden                    403 forbidden           close 4403
    ├── NotFound                     404 itemNotFound        close 4401
    │   └── NotInThisCell
    ├── MethodNotAllowed             405 badMethod
    ├── Conflict                     409 conflictingRequest
    │   ├── InstanceNotRunning       close 4413
    │   └── ConsoleBusy              close 4409
    │       └── HeldOutside
    ├── PayloadTooLarge              413 overLimit
    ├── UnsupportedMediaType         415 badMediaType
    ├── ServiceRefused               502 badGateway          close 1011
    ├── ServiceAbsent                503 serviceUnavailable  close 1011
    ├── BackendUnreachable           502 badGateway          close 1011
    │   └── BackendTimeout           504 gatewayTimeout
    └── Unavailable                  503 serviceUnavailable  close 1013
        └── CellAway

``str(error)`` is the public text: what happened, to what, what to do. It never
holds a token or another secret. The names of the faults are those of the
OpenStack compute API (reference: nova-contract), the close codes those of
docs/protocol.rst.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class ConsoledError(Exception):
    """The root: something that a caller or an operator is told.

    :cvar status: the HTTP status of a REST answer.
    :cvar fault: the key of nova's error body, ``{fault: {code, message}}``.
    :cvar close_code: the WebSocket close code of a refused or ended session.
    :cvar retry_after: seconds for a ``Retry-After`` header, or None.
    """

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR
    fault: ClassVar[str] = "computeFault"
    close_code: ClassVar[int] = 1011
    retry_after: ClassVar[int | None] = None


class ConfigError(ConsoledError):
    """The configuration cannot be used; the text is one line for the operator."""


class BadRequest(ConsoledError):
    """The request breaks a rule; the text names the field."""

    status = HTTPStatus.BAD_REQUEST
    fault = "badRequest"
    close_code = 1008


class ConsoleDisabled(BadRequest):
    """``[serial_console] enabled`` is false."""


class SocketPortRangeExhausted(BadRequest):
    """No port is left for a serial console (nova's error of that name, and its status)."""


class Unauthorized(ConsoledError):
    """Nobody is authenticated by this request."""

    status = HTTPStatus.UNAUTHORIZED
    fault = "unauthorized"
    close_code = 4401


class TokenInvalid(Unauthorized):
    """The console token is unknown, expired, or for something that is gone."""


class TokenRefused(Unauthorized):
    """Another service of OpenStack's does not take the user's token (any more)."""


class Forbidden(ConsoledError):
    """The caller is known, and policy says no."""

    status = HTTPStatus.FORBIDDEN
    fault = "forbidden"
    close_code = 4403


class NotFound(ConsoledError):
    """There is no such instance, console or route (for this caller)."""

    status = HTTPStatus.NOT_FOUND
    fault = "itemNotFound"
    close_code = 4401


class NotInThisCell(NotFound):
    """Nothing here has that id (for this caller); another cell may have it."""


class MethodNotAllowed(ConsoledError):
    """The route exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    fault = "badMethod"


class Conflict(ConsoledError):
    """The state of the instance or console does not allow it now."""

    status = HTTPStatus.CONFLICT
    fault = "conflictingRequest"


class InstanceNotRunning(Conflict):
    """A console needs a running instance."""

    close_code = 4413


class ConsoleBusy(Conflict):
    """Another session holds the console.

    The text names nobody: who holds it, and since when, is for those whom policy lets know.

    :ivar user_id: who holds it, or None where that is not known.
    :ivar project_id: the project that the holder acts for.
    :ivar session_id: the session that holds it.
    :ivar since: when it took the console, seconds since the epoch in the database's time.
    """

    close_code = 4409

    def __init__(
        self,
        text: str,
        *,
        user_id: str | None = None,
        project_id: str | None = None,
        session_id: str | None = None,
        since: int | None = None,
    ) -> None:
        super().__init__(text)
        self.user_id = user_id
        self.project_id = project_id
        self.session_id = session_id
        self.since = since


class HeldOutside(ConsoleBusy):
    """Somebody whom this cell knows nothing of holds the console; it can be taken with force."""


class PayloadTooLarge(ConsoledError):
    """The body is over the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    fault = "overLimit"
    close_code = 1009


class UnsupportedMediaType(ConsoledError):
    """The body is not JSON."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    fault = "badMediaType"


class ServiceRefused(ConsoledError):
    """Another service of OpenStack's answers with an error that asking again would not change."""

    status = HTTPStatus.BAD_GATEWAY
    fault = "badGateway"


class ServiceAbsent(ConsoledError):
    """A service of OpenStack's is not in Keystone's catalog; what needs it is left out."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    fault = "serviceUnavailable"


class BackendUnreachable(ConsoledError):
    """The console's port refused, or did not answer in time."""

    status = HTTPStatus.BAD_GATEWAY
    fault = "badGateway"


class BackendTimeout(BackendUnreachable):
    """What was asked of an instance was not answered in time."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    fault = "gatewayTimeout"


class Unavailable(ConsoledError):
    """A part that consoled needs (database, libvirt, Keystone) is away for now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    fault = "serviceUnavailable"
    close_code = 1013
    retry_after = 5


class CellAway(Unavailable):
    """Another cell that has, or may have, what is asked for does not answer now."""

"""What Keystone says of a token: keystonemiddleware, asked without a web server around it.

The middleware wants a WSGI request and calls the application behind it with the identity's
headers filled in. Here the request has nothing but the two tokens, so no identity that a
client claims can be in it, and the application behind it notes what was filled in.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

from attrs import define, field
from keystoneauth1.exceptions import ClientException
from keystonemiddleware.auth_token import AuthProtocol
from oslo_config import cfg
from twisted.logger import Logger

from consoled.auth.keystone import Identified
from consoled.errors import Unauthorized, Unavailable
from consoled.model import Caller

log = Logger()

# What they have to say of a token goes to whoever sent it, and to our own log.
for _name in ("keystonemiddleware", "keystoneauth"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

AWAY = "Keystone does not answer now, so nobody can be authenticated; try again in a moment."

_NOTE = "consoled.note"
"""Where the application behind the middleware says whom it was called by."""


@define(eq=False)
class TokenValidator:
    """Asks Keystone. Its calls block: a worker makes them, several at a time if it likes.

    :ivar conf: has ``[keystone_authtoken]``.
    """

    conf: cfg.ConfigOpts
    _protocol: Callable[..., Iterable[bytes]] = field(init=False, repr=False)

    @_protocol.default
    def _middleware(self) -> Callable[..., Iterable[bytes]]:
        group = self.conf.keystone_authtoken
        if not group.memcached_servers:
            # What it would remember in its own memory, whoever asks it remembers better.
            self.conf.set_override("token_cache_time", -1, group="keystone_authtoken")
        protocol: Callable[..., Iterable[bytes]] = AuthProtocol(
            _identified, {"oslo_config_config": self.conf}
        )
        return protocol

    def __call__(self, token: str, service_token: str | None) -> Identified:
        """Whose the token is.

        An expired one counts for as long as Keystone's ``allow_expired_window`` says, where a
        service vouches for it (specification: use service token for long running tasks).

        :param service_token: of a user with one of ``service_token_roles``.
        :raises consoled.errors.Unauthorized: Keystone knows no such token, or not any more.
        :raises consoled.errors.Unavailable: Keystone does not answer.
        """
        found: list[Identified] = []
        answered: list[int] = []
        environ = _request(token, service_token) | {_NOTE: found.append}

        def start_response(status: str, headers: object, info: object = None) -> None:
            answered.append(int(status.split(maxsplit=1)[0]))

        try:
            for _ in self._protocol(environ, start_response):
                pass
        except ClientException as error:
            raise Unavailable(AWAY) from error
        except Exception as error:
            # What is no answer of Keystone's, a web server's page for one, ends in any error.
            log.error(
                "what Keystone answers cannot be understood: {reason}",
                event="keystone_not_understood",
                reason=type(error).__name__,
            )
            raise Unavailable(AWAY) from error
        if found:
            return found[0]
        if answered == [401]:
            raise Unauthorized("Keystone does not accept the token of this request.")
        raise Unavailable(AWAY)


def _request(token: str, service_token: str | None) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "SERVER_NAME": "consoled",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "HTTP_X_AUTH_TOKEN": token,
    }
    if service_token is not None:
        environ["HTTP_X_SERVICE_TOKEN"] = service_token
    return environ


def _identified(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The application behind the middleware."""
    roles = environ.get("HTTP_X_ROLES", "").split(",")
    service = environ.get("HTTP_X_SERVICE_ROLES", "").split(",")
    caller = Caller(
        user_id=environ["HTTP_X_USER_ID"],
        project_id=environ.get("HTTP_X_PROJECT_ID") or None,
        roles=frozenset(role.strip().lower() for role in roles if role.strip()),
        service_roles=frozenset(role.strip().lower() for role in service if role.strip()),
        scope=_scope(environ),
    )
    expires = _expiry(environ.get("keystone.token_info", {}))
    environ[_NOTE](Identified(caller, expires))
    start_response("200 OK", [])
    return []


def _scope(environ: Mapping[str, Any]) -> str:
    """Of what the token is (Keystone: authorization scopes)."""
    if environ.get("HTTP_OPENSTACK_SYSTEM_SCOPE"):
        return "system"
    if environ.get("HTTP_X_DOMAIN_ID"):
        return "domain"
    return "project" if environ.get("HTTP_X_PROJECT_ID") else "unscoped"


def _expiry(info: Mapping[str, Any]) -> float | None:
    text = info.get("token", {}).get("expires_at")
    return None if text is None else datetime.fromisoformat(text).timestamp()

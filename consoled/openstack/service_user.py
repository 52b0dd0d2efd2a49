"""consoled's own user: one token for all calls, and the catalog that comes with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http.cookiejar import DefaultCookiePolicy
from json import JSONDecodeError
from threading import Lock
from typing import Any, Self, cast

from attrs import define, field
from keystoneauth1.access.service_catalog import ServiceCatalogV3
from keystoneauth1.exceptions import CatalogException, ClientException
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.loading import (
    load_auth_from_conf_options,
    load_session_from_conf_options,
)
from keystoneauth1.loading.session import Session as SessionLoader
from keystoneauth1.plugin import AUTH_INTERFACE, BaseAuthPlugin
from keystoneauth1.session import Session

from consoled.openstack.endpoints import versioned_url
from consoled.settings import Settings

logging.getLogger("keystoneauth").addHandler(logging.NullHandler())

KNOWN_FOR = 300.0
"""Seconds for which the catalog is not looked at again."""

ABSENT_FOR = 60.0
"""The same where it lacked what was looked for."""

YOUNG = 5.0
"""Seconds for which a refused token is not given up."""

REDIRECTS = 3
"""How often one request may be sent on to another place."""

QUIET = 30.0
"""Seconds that a service may be silent, where ``[keystone_authtoken]`` does not say."""


class LoginFailed(Exception):
    """Keystone gives consoled's own user no token, or no catalog; ``__cause__`` says why."""


@define(eq=False)
class ServiceUser:
    """Its methods block, and any thread may call them.

    keystoneauth takes a new token two minutes before the old one expires.

    :ivar session: how services are reached: certificates, the time that they may be silent.
    :ivar interfaces: of endpoints, the likeliest first.
    :ivar clock: seconds that only go forward.
    """

    session: Session
    interfaces: Sequence[str]
    region: str | None
    clock: Callable[[], float]
    _plugin: BaseIdentityPlugin = field(repr=False)
    _login: Lock = field(factory=Lock, init=False, repr=False)
    _looking: Lock = field(factory=Lock, init=False, repr=False)
    _logged_in: float = field(default=0.0, init=False)
    _catalog: ServiceCatalogV3 | None = field(default=None, init=False, repr=False)
    _looked: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], float]) -> Self | None:
        """That of ``[service_user]``, else of ``[keystone_authtoken]``, else None."""
        group, conf = settings.service_user, settings.keystone.conf
        section = "keystone_authtoken"
        other = None if conf is None else conf[section]
        interfaces: Sequence[str] = group.valid_interfaces
        if group.conf is not None:
            session = load_session_from_conf_options(
                group.conf, "service_user", timeout=group.timeout, redirect=REDIRECTS
            )
            plugin = load_auth_from_conf_options(group.conf, "service_user")
        elif other is not None:
            session = SessionLoader().load_from_options(
                insecure=other.insecure,
                cacert=other.cafile,
                cert=other.certfile,
                key=other.keyfile,
                timeout=other.http_connect_timeout or QUIET,
                redirect=REDIRECTS,
            )
            plugin = load_auth_from_conf_options(conf, section)
            interfaces = [*dict.fromkeys([other.interface or "internal", *interfaces])]
        else:
            return None
        region = group.region_name or (None if other is None else other.region_name)
        if not isinstance(plugin, BaseIdentityPlugin):
            return None  # A fixed token, say: it comes without a catalog.
        # One user's calls must not carry what a service left with another's.
        session.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        return cls(session, tuple(interfaces), region, clock, plugin)

    def token(self) -> str:
        """Its token now, a new one where there is none or it is about to expire.

        :raises LoginFailed: Keystone does not answer, or not to this user.
        """
        with self._login:
            return self._token()

    def refused(self, token: str) -> bool:
        """A service did not take this token, or not the user's beside it; which, it does not say.

        Whoever comes second finds a new token, and leaves it alone. One that is younger than
        :data:`YOUNG` cannot have been the reason: so users' bad tokens do not make consoled log in
        each time.

        :returns: whether the next token is another one.
        """
        with self._login:
            reference = self._plugin.auth_ref
            if reference is None or reference.auth_token != token:
                return True
            if self.clock() - self._logged_in < YOUNG:
                return False
            return self._plugin.invalidate()

    def url(self, service: str, project: str | None) -> str | None:
        """The base of a service's paths; None where the catalog has no such service.

        :param project: of the user on whose behalf it is asked.
        :raises LoginFailed: Keystone does not answer, or not to this user.
        """
        with self._looking:
            url = None
            for limit in (KNOWN_FOR, ABSENT_FOR):
                url = self._find(self._catalog_of_at_most(limit), service)
                if url is not None:
                    break
        if url is None:
            return None
        return versioned_url(service, url, self._own_project(), project)

    def own_url(self, service: str) -> str | None:
        """As :meth:`url`, for this user's own project.

        :raises LoginFailed: Keystone does not answer, or not to this user.
        """
        return self.url(service, self._own_project())

    def _find(self, catalog: ServiceCatalogV3, service: str) -> str | None:
        try:
            return catalog.url_for(service, interface=[*self.interfaces], region_name=self.region)
        except CatalogException:
            return None

    def _catalog_of_at_most(self, seconds: float) -> ServiceCatalogV3:
        now = self.clock()
        if self._catalog is None or now - self._looked > seconds:
            self._catalog = ServiceCatalogV3(self._asked_catalog())
            self._looked = now
        return self._catalog

    def _asked_catalog(self) -> Any:
        try:
            keystone = self._plugin.get_endpoint(
                self.session,
                interface=cast(str, AUTH_INTERFACE),
                version=(3, 0),
            )
            answer = self.session.get(f"{keystone}/auth/catalog", auth=OneCall(self))
            return answer.json()["catalog"]
        except (ClientException, JSONDecodeError) as error:
            raise LoginFailed from error

    def _own_project(self) -> str | None:
        with self._login:
            self._token()
            reference = self._plugin.auth_ref
            return None if reference is None else reference.project_id

    def _token(self) -> str:
        before = self._plugin.auth_ref
        try:
            token = str(self._plugin.get_token(self.session))
        except ClientException as error:
            raise LoginFailed from error
        if self._plugin.auth_ref is not before:
            self._logged_in = self.clock()
        return token


class OneCall(BaseAuthPlugin):
    """consoled's own user in one call: of all its requests, one may be sent again with a new token.

    :param user: shared by all calls.
    """

    def __init__(self, user: ServiceUser) -> None:
        super().__init__()
        self._user = user
        self._sent: str | None = None
        self._renewed = False

    def get_token(self, session: Session) -> str:
        """The token, for ``X-Auth-Token`` or ``X-Service-Token``.

        :raises LoginFailed: Keystone does not answer, or not to this user.
        """
        self._sent = self._user.token()
        return self._sent

    def invalidate(self) -> bool:
        """The token was refused; whether the request is worth another try."""
        if self._renewed or self._sent is None:
            return False
        self._renewed = True
        return self._user.refused(self._sent)

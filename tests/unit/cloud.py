"""A Keystone and services behind it, in the place of a session's connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from attrs import define, field, frozen
from requests.adapters import BaseAdapter

from consoled.openstack.service_user import ServiceUser
from consoled.options import load

KEYSTONE = "http://keystone:5000/v3"
OWN_PROJECT = "5e1ec7"

SECTION = f"""\
[service_user]
auth_type = password
auth_url = {KEYSTONE}
username = consoled
password = sesame
project_name = service
user_domain_id = default
project_domain_id = default
"""


@frozen
class Sent:
    """One request."""

    method: str
    url: str
    user: str | None
    service: str | None


@define(eq=False)
class Cloud(BaseAdapter):
    """What answers.

    :ivar catalog: the public endpoint of each type of service.
    :ivar expired: users' tokens that need a service's word.
    :ivar good: consoled's own tokens that still count.
    :ivar life: seconds that a new one of those lives.
    :ivar troubles: what is to happen to the next requests instead: a status, or an error.
    :ivar login: the status with which logins are answered.
    :ivar page: whether services answer with something that is no JSON.
    :ivar away: what happens instead to all that Keystone is asked.
    """

    catalog: dict[str, str] = field(factory=lambda: {"image": "http://glance:9292"})
    expired: set[str] = field(factory=set)
    good: set[str] = field(factory=set)
    life: float = 3600.0
    troubles: list[int | Exception] = field(factory=list)
    login: int = 201
    away: int | Exception | None = None
    retry_after: int | None = None
    page: bool = False
    sent: list[Sent] = field(factory=list)
    logins: int = 0

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def user(self, path: Path, clock: Callable[[], float], more: str = "") -> ServiceUser:
        """consoled's own user, who has this cloud only.

        :param path: where to write the configuration.
        """
        path.write_text(SECTION + more)
        own = ServiceUser.of(load("cell1", [path], {}), clock)
        assert own is not None
        own.session.session.mount("http://", self)
        return own

    def to(self, host: str) -> list[Sent]:
        """The requests that this host got."""
        return [one for one in self.sent if one.url.startswith(f"http://{host}")]

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answers one request."""
        headers = request.headers
        one = Sent(
            request.method or "",
            request.url or "",
            headers.get("X-Auth-Token"),
            headers.get("X-Service-Token"),
        )
        self.sent.append(one)
        if one.url.startswith(KEYSTONE):
            return self._keystone(request, one)
        if self.page:
            return _answer(request, 200, None)
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
            return _answer(request, trouble, {"fault": {"message": f"no,\n{one.user}."}}, headers)
        if one.user in self.good or (one.user in self.expired and one.service in self.good):
            return _answer(request, 200, {"id": one.url.rpartition("/")[2]})
        return _answer(request, 401, {})

    def close(self) -> None:
        """Nothing is open."""

    def _keystone(self, request: requests.PreparedRequest, one: Sent) -> requests.Response:
        if isinstance(self.away, Exception):
            raise self.away
        if self.away is not None:
            return _answer(request, self.away, {})
        if one.method == "POST":
            return self._login(request)
        if one.url.endswith("/auth/catalog"):
            if one.user not in self.good:
                return _answer(request, 401, {})
            return _answer(request, 200, {"catalog": self._catalog()})
        version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": KEYSTONE}]}
        return _answer(request, 200, {"version": version})

    def _login(self, request: requests.PreparedRequest) -> requests.Response:
        self.logins += 1
        if self.login != 201:
            return _answer(request, self.login, {})
        token = f"own-{self.logins}"
        self.good.add(token)
        ends = datetime.now(UTC) + timedelta(seconds=self.life)
        body = {
            "token": {
                "expires_at": ends.isoformat(),
                "methods": ["password"],
                "user": {"id": "u", "name": "consoled", "domain": {"id": "d", "name": "D"}},
                "project": {
                    "id": OWN_PROJECT,
                    "name": "service",
                    "domain": {"id": "d", "name": "D"},
                },
                "catalog": [],
            }
        }
        return _answer(request, 201, body, {"X-Subject-Token": token})

    def _catalog(self) -> list[dict[str, Any]]:
        return [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": kind,
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": url,
                    }
                ],
            }
            for kind, url in self.catalog.items()
        ]


def _answer(
    request: requests.PreparedRequest,
    status: int,
    body: Any,
    headers: Mapping[str, str] | None = None,
) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer.request = request
    answer.url = request.url or ""
    answer.headers.update({"Content-Type": "application/json"} | dict(headers or {}))
    answer._content = b"<html>" if body is None else json.dumps(body).encode()
    return answer

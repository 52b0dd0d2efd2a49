"""Runs in the environment of OpenStack: tempest's own clients ask a compute API.

They check each answer by tempest's schemas and raise where it does not fit. Standard input has
JSON: ``url`` of the API, ``token``, ``server``, and the ``microversions`` to ask with, where
null is none. Standard output has one object for each question: ``microversion``, ``question``,
and ``error``, null where the answer fits.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

REMOTE_CONSOLES_FROM = (2, 6)
TOKENS_AT = (2, 99)
"""The one microversion for which tempest has a schema of what a console token leads to."""


class Access:
    """In the place of tempest's way to Keystone: one address, one token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def base_url(self, filters: object = None, auth_data: object = None) -> str:
        """Of the compute API."""
        return self._url

    def get_token(self) -> str:
        """The one that there is."""
        return self._token

    def auth_request(
        self, method: str, url: str, headers: Any = None, body: Any = None, filters: object = None
    ) -> tuple[str, dict[str, str], Any]:
        """Where a request goes, and with what."""
        sent = {**(headers or {}), "X-Auth-Token": self._token}
        return f"{self._url}/{url.lstrip('/')}", sent, body


class Questions:
    """All that tempest can ask of what consoled answers."""

    def __init__(self, url: str, token: str, server: str) -> None:
        names = ("base_compute_client", "servers_client", "versions_client")
        # Typed as anything: the microversion is a variable of that module.
        self._base: Any
        self._base, servers, versions = (
            importlib.import_module(f"tempest.lib.services.compute.{name}") for name in names
        )
        self._console = importlib.import_module(
            "tempest.lib.api_schema.response.compute.v2_1.servers"
        ).get_vnc_console
        access = Access(url, token)
        self._servers = servers.ServersClient(access, "compute", "RegionOne")
        self._versions = versions.VersionsClient(access, "compute", "RegionOne")
        self._url = url
        self._server = server

    def answers(self, microversions: list[str | None]) -> Iterator[dict[str, Any]]:
        """What became of each question."""
        yield _answer(None, "versions", self._versions.list_versions)
        one = f"{self._url}/"
        yield _answer(None, "version", lambda: self._versions.get_version_by_url(one))
        for microversion in microversions:
            self._base.COMPUTE_MICROVERSION = microversion
            for name, ask in self._questions(microversion or "2.1"):
                yield _answer(microversion, name, ask)

    def _questions(self, microversion: str) -> Iterator[tuple[str, Callable[[], Any]]]:
        client, server = self._servers, self._server
        yield "list", client.list_servers
        yield "detail", lambda: client.list_servers(detail=True)
        yield "show", lambda: client.show_server(server)
        number = tuple(map(int, microversion.split(".")))
        if number < REMOTE_CONSOLES_FROM:
            action = "os-getSerialConsole"
            yield "action", lambda: client.action(server, action, self._console, type="serial")
        else:
            yield "remote-consoles", lambda: client.get_remote_console(server, "serial", "serial")
        if number == TOKENS_AT:
            yield "token", lambda: client.get_console_auth_token_details(self._fresh())

    def _fresh(self) -> str:
        made = self._servers.get_remote_console(self._server, "serial", "serial")
        return str(made["remote_console"]["url"].partition("token=")[2])


def _answer(microversion: str | None, name: str, ask: Callable[[], Any]) -> dict[str, Any]:
    error = None
    try:
        ask()
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    return {"microversion": microversion, "question": name, "error": error}


def main() -> None:
    """Asks what standard input says."""
    wanted = json.load(sys.stdin)
    questions = Questions(wanted["url"], wanted["token"], wanted["server"])
    print(json.dumps([*questions.answers(wanted["microversions"])]))


if __name__ == "__main__":
    main()

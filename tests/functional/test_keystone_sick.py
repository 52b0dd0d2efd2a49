"""A Keystone that is ill: whatever it says, nobody is let in, and nobody sees a 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tools.lab.daemon import Daemon, static_daemon

ILLS = ("hangs", "hangs up", "500", "503", "200 HTML", "200 {}", "200 []", "no token", "302", "400")


V2_31 = {"OpenStack-API-Version": "compute 2.31"}


class Ill(ThreadingHTTPServer):
    """Answers as Keystone does until somebody wants a token judged.

    :ivar ill: what is wrong with it then; empty is nothing.
    :ivar judged: how many tokens it was asked about.
    """

    daemon_threads = True
    ill = ""
    judged = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.over = threading.Event()

    @property
    def url(self) -> str:
        """Of its API, with the version."""
        return f"http://127.0.0.1:{self.server_address[1]}/v3"

    def token(self) -> dict[str, Any]:
        """consoled's own token, with a catalog that leads here."""
        endpoint = {"region": "R", "region_id": "R", "url": self.url, "id": "1"}
        catalog = {
            "type": "identity",
            "id": "1",
            "name": "keystone",
            "endpoints": [{**endpoint, "interface": kind} for kind in ("public", "internal")],
        }
        return {
            "token": {
                "methods": ["password"],
                "user": {"id": "c", "name": "c", "domain": {"id": "default", "name": "D"}},
                "project": {"id": "s", "name": "s", "domain": {"id": "default", "name": "D"}},
                "roles": [{"id": "1", "name": "service"}],
                "catalog": [catalog],
                "expires_at": "2099-01-01T00:00:00.000000Z",
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "audit_ids": ["a"],
            }
        }


class Answers(BaseHTTPRequestHandler):
    """One request of consoled's."""

    server: Ill

    def do_POST(self) -> None:
        """consoled logs in."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(201, self.server.token(), {"X-Subject-Token": "consoled's"})

    def do_GET(self) -> None:
        """Which versions there are; or: whose is this token?"""
        if "tokens" not in self.path:
            version = {"id": "v3.14", "status": "stable"}
            link = {"rel": "self", "href": self.server.url}
            self._say(200, {"version": {**version, "links": [link]}}, {})
            return
        ill = self.server.ill
        self.server.judged += 1
        if not ill:
            self._say(200, self.server.token(), {})
        elif ill == "hangs":
            self.server.over.wait()
        elif ill == "no token":
            self._say(200, {"token": {"methods": []}}, {})
        elif ill == "200 HTML":
            self._say(200, "<html>it works</html>", {})
        elif ill.startswith("200 "):
            self._say(200, json.loads(ill.removeprefix("200 ")), {})
        elif ill != "hangs up":
            self._say(int(ill), {}, {"Location": f"{self.server.url}/elsewhere"})
        self.close_connection = True

    def _say(self, status: int, body: object, headers: dict[str, str]) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def keystone() -> Iterator[Ill]:
    """Listens on a free port."""
    server = Ill()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def daemon(keystone: Ill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Asks that Keystone, and waits a second for it."""
    config = {
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": {
            "auth_type": "password",
            "auth_url": keystone.url,
            "username": "c",
            "password": "p",
            "project_name": "s",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "service_token_roles": "service",
            "token_cache_time": 300,
            "http_connect_timeout": 1,
            "http_request_max_retries": 0,
        },
    }
    with static_daemon(tmp_path_factory.mktemp("consoled"), [], config) as daemon:
        yield daemon


def test_well(daemon: Daemon, keystone: Ill) -> None:
    """As long as nothing is wrong with it, a service's token is one."""
    keystone.ill = ""
    answer = daemon.request("GET", "/v2.1/os-console-auth-tokens/none", key="well", headers=V2_31)
    assert answer.status == 404, answer.body
    assert keystone.judged == 1


@pytest.mark.parametrize("ill", ILLS)
def test_away(daemon: Daemon, keystone: Ill, ill: str) -> None:
    """However it fails: 503 with Retry-After, in our own words; with a service's word, too."""
    keystone.ill, before = ill, keystone.judged
    for further in ({}, {"X-Service-Token": "nova's"}):
        answer = daemon.request("GET", "/v1/servers", key="somebody's", headers=further)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True), answer.body
        assert "Keystone" in str(answer.body)
    assert keystone.judged > before


def test_the_log_is_quiet(daemon: Daemon) -> None:
    """No token stands in it, and no traceback."""
    log = daemon.log.read_text()
    assert "somebody's" not in log
    assert "Traceback" not in log

"""tempest's own clients and response schemas, on what a running daemon answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consoled.api.microversions import NEWEST
from tools.lab import openstack_environment
from tools.lab.daemon import ADMIN_KEY, Daemon, static_daemon
from tools.lab.environments import clean_environment, run

CALLS = Path(openstack_environment.__file__).with_name("tempest_calls.py")
WEB, STOPPED, NOBODYS = (f"2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b000{n}" for n in (1, 2, 3))

BOUNDS = "2 5 6 8 9 16 19 26 31 45 47 48 51 54 57 58 62 63 70 71 73 75 79 80 84 89 96 97 98 99 100"
VERSIONS = [None, *(f"2.{minor}" for minor in BOUNDS.split()), str(NEWEST)]
"""No version, those with which a schema of tempest's begins or ends, and the newest."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with servers of all kinds."""
    instances: list[dict[str, object]] = [
        {
            "uuid": WEB,
            "name": "web-1",
            "project_id": "demo",
            "host": "rack1",
            "serial": ["127.0.0.1:10000"],
            "addresses": ["10.0.0.17", "fd00::17"],
        },
        {
            "uuid": STOPPED,
            "name": "off",
            "project_id": "demo",
            "host": "rack2",
            "state": "stopped",
            "serial": ["127.0.0.1:10001"],
        },
        {
            "uuid": NOBODYS,
            "name": "stray",
            "host": "rack1",
            "state": "paused",
            "serial": ["127.0.0.1:10002"],
        },
    ]
    with static_daemon(tmp_path_factory.mktemp("daemon"), instances) as running:
        yield running


def test_answers_fit(daemon: Daemon) -> None:
    """Each answer fits the schema of its microversion: versions, servers, consoles, tokens."""
    wanted = {
        "url": f"{daemon.api_url}/v2.1",
        "token": ADMIN_KEY,
        "server": WEB,
        "microversions": VERSIONS,
    }
    python = openstack_environment.install() / "bin/python"
    done = run([python, "-P", CALLS], input=json.dumps(wanted), env=clean_environment())
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    asked = {answer["question"] for answer in answers}
    assert asked == {
        *("list", "detail", "show", "action", "remote-consoles", "token", "versions", "version")
    }
    assert len(answers) > 4 * len(VERSIONS)
    errors = [
        f"{one['question']} {one['microversion']}: {one['error']}"
        for one in answers
        if one["error"]
    ]
    assert not errors, "\n".join(errors)

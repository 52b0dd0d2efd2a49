"""What the tests of SSH share: a reactor, a key, servers, and what is behind them.

A test file imports the fixtures that it asks for.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ssh_loop import PATIENCE, Client, Echo, Loop

from tools.lab.daemon import STEP
from tools.lab.sshd import Sshd, SshKey, make_key

Start = Callable[..., Sshd]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """One reactor for the file."""
    with Loop() as running:
        yield running


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where keys and servers are."""
    return tmp_path_factory.mktemp("ssh")


@pytest.fixture(scope="module")
def key(lab: Path) -> SshKey:
    """The user's key."""
    return make_key(lab, "user")


@pytest.fixture(scope="module")
def echo(loop: Loop) -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with loop.server(Echo) as (port, _):
        yield port


@pytest.fixture
def start(lab: Path, key: SshKey) -> Iterator[Start]:
    """Starts servers that let the user's key in; they end with the test."""
    running: list[Sshd] = []

    def begin(settings: Mapping[str, str] | None = None, *more: str, **how: Any) -> Sshd:
        folder = lab / f"{os.urandom(4).hex()}"
        running.append(Sshd(folder, [key.public, *more], settings, **how).start())
        return running[-1]

    yield begin
    for sshd in running:
        sshd.stop()


@pytest.fixture(scope="module")
def plain(lab: Path, key: SshKey) -> Iterator[Sshd]:
    """A server with Debian's settings."""
    with Sshd(lab / "plain", [key.public]) as sshd:
        yield sshd


def wait_for(true: Callable[[], bool]) -> None:
    """Waits until that is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        select.select([], [], [], STEP)
        assert time.monotonic() < deadline, "it never came true"


def says_hello(client: Client) -> None:
    """The stream carries bytes there and back."""
    before = len(client.got)
    client.send(b"hello")
    assert client.until_got(before + 5)[before:] == b"hello"

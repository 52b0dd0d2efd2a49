"""Streams through an SSH server: the library beside ``ssh -L``, through the same sshd.

Both forward local ports, so that one client measures both. A program that uses the library needs
no forwarder, so its keystrokes are measured within it, too: from its write to its read, as the
client's are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from bench.bars import Bar
from bench.errors import BenchError
from bench.figures import Kind, percentiles
from bench.processes import ROOT, Backend, Client, ask, memory
from bench.sockets import HOST, Endpoint
from bench.subjects import wait_for_port
from tools.lab.kept import KeptProcess
from tools.lab.ports import free_ports
from tools.lab.sshd import Sshd, make_key, program

DELAY = 0.01
"""Seconds of a far server's way, each way."""

AT_ONCE = 8

PEER_KEYSTROKE = Kind("ssh_l_keystroke", "keystroke through ssh -L", "µs", False, "p50")
STREAM = Kind(
    "ssh_stream_keystroke",
    "keystroke over a stream of the library",
    "µs",
    False,
    "p50",
    bars=(Bar(1.5, "p50", beside="ssh_l_keystroke"), Bar(2.0, "p99", beside="ssh_l_keystroke")),
)
KEYSTROKE = Kind("ssh_keystroke", "the same through a forwarder made of it", "µs", False, "p50")
PEER_BULK = Kind("ssh_l_bulk", "bulk output through ssh -L", "MB/s", True)
BULK = Kind(
    "ssh_bulk",
    "bulk output through an SSH server",
    "MB/s",
    True,
    bars=(Bar(0.6, beside="ssh_l_bulk"),),
)
PEER_FAR = Kind("ssh_l_far", "the same 20 ms away, ssh -L", "MB/s", True, plotted=False)
FAR = Kind(
    "ssh_far",
    "bulk output through an SSH server 20 ms away",
    "MB/s",
    True,
    bars=(Bar(0.6, beside="ssh_l_far"),),
    plotted=False,
)
CHANNELS = Kind("ssh_channels", "streams opened on one SSH connection", "1/s", True, plotted=False)
IDLE = Kind(
    "ssh_idle",
    "memory per idle stream of one SSH connection",
    "KiB",
    False,
    bars=(Bar(16.0),),
    plotted=False,
)

KINDS = (STREAM, KEYSTROKE, PEER_KEYSTROKE, BULK, PEER_BULK, FAR, PEER_FAR, CHANNELS, IDLE)


@frozen
class SshScale:
    """How long it takes.

    :ivar keystrokes: of each of the two.
    :ivar seconds: that keystrokes, or a flood, may take.
    :ivar channels: streams that are open on one connection.
    """

    keystrokes: int = 4000
    seconds: float = 1.0
    channels: int = 200


FULL = SshScale()
QUICK = SshScale(keystrokes=100, seconds=0.2, channels=20)


def over_ssh(scale: SshScale, backend: Backend) -> dict[str, Mapping[str, float]]:
    """One round: both of them, one after the other, on a server of their own."""
    found: dict[str, Mapping[str, float]] = {}
    with _world(backend) as world:
        for ours in (True, False):
            with world.forwarder(ours, world.sshd.port) as (ports, _):
                if ours:
                    found[STREAM.name] = world.typed(scale)
                found["ssh_keystroke" if ours else "ssh_l_keystroke"] = _keystrokes(ports, scale)
                found["ssh_bulk" if ours else "ssh_l_bulk"] = _bulk(ports, scale)
            with world.far() as far, world.forwarder(ours, far) as (ports, _):
                found["ssh_far" if ours else "ssh_l_far"] = _bulk(ports, scale)
        logins = world.sshd.count("Accepted publickey")
        with world.forwarder(True, world.sshd.port) as (ports, keeper):
            found |= _idle(ports, keeper, scale)
        if world.sshd.count("Accepted publickey") != logins + 1:
            raise BenchError("the streams were not carried by one connection")
    backend.drain()
    return found


def _keystrokes(ports: Mapping[str, int], scale: SshScale) -> Mapping[str, float]:
    endpoint = Endpoint(ports["echo"])
    # The first connection is not the stream's own cost.
    ask(action="keystroke", endpoints=[endpoint], count=scale.keystrokes // 8, seconds=1.0)
    order = {"count": scale.keystrokes, "seconds": 4 * scale.seconds}
    answer = ask(action="keystroke", endpoints=[endpoint], **order)
    return percentiles([nanoseconds / 1000 for nanoseconds in answer["nanoseconds"]])


def _bulk(ports: Mapping[str, int], scale: SshScale) -> Mapping[str, float]:
    answer = ask(
        action="bulk",
        endpoints=[Endpoint(ports["flood"])],
        seconds=scale.seconds,
        warm_up=scale.seconds / 2,
    )
    return {"value": answer["bytes"] / answer["seconds"] / 1e6}


def _idle(ports: Mapping[str, int], keeper: int, scale: SshScale) -> dict[str, Mapping[str, float]]:
    quiet = Endpoint(ports["quiet"])
    with Client(action="open", endpoints=[quiet] * 20, at_once=AT_ONCE) as warm:
        warm.result()
        before = memory(keeper)
        endpoints = [quiet] * scale.channels
        with Client(action="open", endpoints=endpoints, at_once=AT_ONCE) as client:
            answer = client.result()
            growth = memory(keeper) - before
    return {
        CHANNELS.name: {"value": answer["opened"] / answer["seconds"]},
        IDLE.name: {"value": growth / scale.channels / 1024},
    }


@frozen
class _World:
    """One server, and keys for it."""

    folder: Path
    backend: Backend
    sshd: Sshd
    key: Path

    @contextmanager
    def forwarder(self, ours: bool, port: int) -> Iterator[tuple[Mapping[str, int], int]]:
        """The local ports by kind, and the keeper of whoever forwards them."""
        targets = {kind: self.backend.ports[kind][0] for kind in ("echo", "flood", "quiet")}
        local = dict(zip(targets, free_ports(len(targets)), strict=True))
        known = self.folder / f"known-{port}"
        known.write_text(f"[{HOST}]:{port} {self.sshd.known_lines}\n")
        pairs = [(local[kind], targets[kind]) for kind in targets]
        argv = self._ours(port, known, pairs) if ours else self._ssh(port, known, pairs)
        with KeptProcess(argv, self.folder / "forwarder.log") as process:
            for each in local.values():
                wait_for_port(each, process)
            yield local, process.pid

    def typed(self, scale: SshScale) -> Mapping[str, float]:
        """Keystrokes within one process."""
        order = {
            **self._order(self.sshd.port, self.folder / f"known-{self.sshd.port}"),
            "target": self.backend.ports["echo"][0],
            "count": scale.keystrokes,
            "seconds": 4 * scale.seconds,
        }
        argv = [sys.executable, "-m", "bench.ssh_typist", json.dumps(order)]
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False, cwd=ROOT)
        if done.returncode:
            raise BenchError(f"the typist failed: {done.stderr.decode(errors='replace')[-500:]}")
        return percentiles([nanoseconds / 1000 for nanoseconds in json.loads(done.stdout)])

    @contextmanager
    def far(self) -> Iterator[int]:
        """A port of the same server, twenty milliseconds away and back."""
        (port,) = free_ports(1)
        argv = [sys.executable, "-m", "bench.ssh_far", str(port), str(self.sshd.port), str(DELAY)]
        with KeptProcess(argv, self.folder / "far.log") as process:
            wait_for_port(port, process)
            yield port

    def _ours(self, port: int, known: Path, pairs: list[tuple[int, int]]) -> list[str]:
        order = {**self._order(port, known), "forwards": pairs}
        return [sys.executable, "-m", "bench.ssh_forward", json.dumps(order)]

    def _order(self, port: int, known: Path) -> dict[str, object]:
        return {
            "user": self.sshd.user,
            "port": port,
            "key": str(self.key),
            "known": str(known),
        }

    def _ssh(self, port: int, known: Path, pairs: list[tuple[int, int]]) -> list[str]:
        forwards = [f"-L{HOST}:{local}:{HOST}:{target}" for local, target in pairs]
        options = [f"-oUserKnownHostsFile={known}", "-oBatchMode=yes", "-oIdentitiesOnly=yes"]
        argv = [program("ssh"), "-F", "none", "-N", "-i", str(self.key), *options, *forwards]
        return [*argv, "-p", str(port), f"{self.sshd.user}@{HOST}"]


@contextmanager
def _world(backend: Backend) -> Iterator[_World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-ssh-")))
        key = make_key(folder, "user")
        sshd = stack.enter_context(Sshd(folder / "sshd", [key.public]))
        yield _World(folder, backend, sshd, key.path)

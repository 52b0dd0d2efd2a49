"""Starts that cannot work: one line on standard error, status 1, nothing listening.

Each kind of error has one case here; the rules of single options are unit tests.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import field, frozen

from tools.lab.certificates import make_pair
from tools.lab.daemon import Daemon, inventory

PATIENCE = 120.0
INVENTORY = inventory({"uuid": "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001", "name": "a", "host": "h"})


@frozen
class Case:
    """A start and what it says.

    :ivar config: more lines of the configuration.
    :ivar arguments: more words of the command line.
    :ivar files: more files in its folder.
    :ivar says: pieces of the one line; ``{folder}`` is its folder.
    """

    config: str = ""
    arguments: Sequence[str] = ()
    files: dict[str, str | bytes] = field(factory=dict)
    says: Sequence[str] = ()


PAIR, OTHER = make_pair(), make_pair("other")
CASES = {
    "unknown key": Case("[proxy]\npign_interval = 1\n", says=["more.conf:2", "'ping_interval'"]),
    "bad value": Case("[api]\nport = 70000\n", says=["more.conf:2", "[api] port", "'70000'"]),
    "unknown option": Case(arguments=["--prot", "1"], says=["prot", "--help"]),
    "no such file": Case(arguments=["--config", "absent.conf"], says=["absent.conf"]),
    "IPv4 where IPv6 only": Case(arguments=["--source-is-ipv6"], says=["source_is_ipv6", "::"]),
    "bad path in URL": Case(arguments=["--base-url", "http://h//x"], says=["base_url"]),
    "another's key": Case(
        arguments=["--cert", "c.pem", "--key", "k.pem"],
        files={"c.pem": PAIR.cert_pem, "k.pem": OTHER.key_pem},
        says=["k.pem", "c.pem"],
    ),
    "bad inventory": Case(
        files={"inventory.yaml": "instances:\n- name: a\n"}, says=["{folder}/inventory.yaml:2"]
    ),
    "bad keys": Case(files={"keys.yaml": "nonsense"}, says=["{folder}/keys.yaml"]),
    "bad policy": Case(
        "[oslo_policy]\npolicy_file = p.yaml\n", files={"p.yaml": "a: ["}, says=["p.yaml"]
    ),
    "foreign address": Case(
        arguments=["--listen", "192.0.2.1"], says=["cannot listen on 192.0.2.1:"]
    ),
}


def prepared(folder: Path, config: str = "") -> Daemon:
    """A daemon whose files are good, but for ``config``."""
    folder.mkdir(exist_ok=True)
    (folder / "inventory.yaml").write_text(INVENTORY)
    sections = {
        "DEFAULT": {"driver": "static"},
        "static": {"inventory": folder / "inventory.yaml"},
    }
    daemon = Daemon(folder, sections)
    daemon.write_config()
    # A section may be given twice; of a key, the second file's value wins.
    (folder / "more.conf").write_text(config)
    return daemon


def run(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start to its end; a daemon that serves instead is an error of the test."""
    argv = [*daemon.argv, "--config", "more.conf", *arguments]
    return subprocess.run(
        argv, check=False, capture_output=True, text=True, cwd=daemon.folder, timeout=PATIENCE
    )


def is_closed(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def complaint(folder: Path, case: Case) -> list[str]:
    """What is wrong with how that case ends."""
    daemon = prepared(folder, case.config)
    for name, content in case.files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
    done = run(daemon, *case.arguments)
    lines = done.stderr.splitlines()
    wrong = [f"status {done.returncode}"] if done.returncode != 1 else []
    if len(lines) != 1 or not done.stderr.startswith("consoled: "):
        wrong.append(f"standard error: {done.stderr}")
    if done.stdout:
        wrong.append(f"standard output: {done.stdout}")
    wrong += [
        f"does not say {piece!r}: {done.stderr}"
        for piece in case.says
        if piece.format(folder=folder) not in done.stderr
    ]
    if not (is_closed(daemon.port) and is_closed(daemon.api_port)):
        wrong.append("listens")
    return wrong


def test_bad_starts(tmp_path: Path) -> None:
    """Every configuration that cannot be used is one line that names the place, and status 1."""
    with ThreadPoolExecutor(2) as pool:
        folders = [tmp_path / str(number) for number in range(len(CASES))]
        found = dict(zip(CASES, pool.map(complaint, folders, CASES.values()), strict=True))
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_no_cell(tmp_path: Path) -> None:
    """Without --cell a start says what it wants."""
    daemon = prepared(tmp_path)
    argv = [word for word in daemon.argv if word not in ("--cell", "lab")]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("consoled: --cell NAME is needed")


@pytest.mark.parametrize("which", ["proxy", "api"])
def test_busy_port(tmp_path: Path, which: str) -> None:
    """A port that is taken is named, the other one is not left open, nothing is left running."""
    daemon = prepared(tmp_path)
    taken, other = daemon.port, daemon.api_port
    if which == "api":
        taken, other = other, taken
    with socket.create_server(("127.0.0.1", taken)):
        done = run(daemon)
    assert done.returncode == 1
    assert done.stderr == (
        f"consoled: cannot listen on 127.0.0.1:{taken}: Address already in use\n"
    )
    assert is_closed(other)


def test_check_config(tmp_path: Path) -> None:
    """--check-config of a good configuration says so, exits 0, and writes nothing at all."""
    daemon = prepared(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    daemon.keys_file.unlink()
    del before[daemon.keys_file]
    done = run(daemon, "--check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "consoled: the configuration can be used\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert is_closed(daemon.port)
    assert is_closed(daemon.api_port)


def test_check_config_of_a_bad_one(tmp_path: Path) -> None:
    """--check-config finds what a start finds, in the same words, and writes nothing."""
    daemon = prepared(tmp_path, "[static]\ninventory = absent.yaml\n")
    checked = run(daemon, "--check-config")
    assert not (tmp_path / "state").exists()
    started = run(daemon)
    assert checked.returncode == started.returncode == 1
    assert "absent.yaml" in checked.stderr
    assert checked.stderr == started.stderr

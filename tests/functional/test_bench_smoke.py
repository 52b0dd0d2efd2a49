"""The benchmark works: a short run of everything, on the daemon and without a relay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.measurements import measurements
from bench.scale import QUICK

DATABASES = ("sqlite", "postgresql")
ROOT = Path(__file__).resolve().parents[2]
BOTH = {"consoled", "direct"}
RELAY = {
    "keystroke": BOTH,
    "keystroke_tls": {"consoled"},
    "keystroke_recorded": {"consoled"},
    "recording": {"consoled"},
    "typing": BOTH,
    "typing_flooded": BOTH,
    "bulk": BOTH,
    "idle_20": {"consoled"},
    "idle_40": {"consoled"},
    "idle_tls_20": {"consoled"},
    "opened": BOTH,
    "opened_tls": {"consoled"},
    "issued": {"consoled"},
}
PORTS = {"ports_reconciled": {"consoled"}, "ports_allocated": {"consoled"}}
SSH = {
    name: {"consoled"}
    for name in (
        *("ssh_stream_keystroke", "ssh_keystroke", "ssh_l_keystroke", "ssh_bulk", "ssh_l_bulk"),
        *("ssh_far", "ssh_l_far", "ssh_channels", "ssh_idle"),
    )
}
OPENSTACK = {
    name: {"consoled"}
    for name in (
        *("keystone_issued_warm", "keystone_issued_cold"),
        *(
            f"{what}_{way}{rest}"
            for what in ("upload", "question")
            for way in ("plain", "vouched")
            for rest in ("", "_asked")
        ),
    )
}
OF_TOKENS = {
    "issued_{}_1x4",
    "checked_{}_1x4",
    *(f"mixed_{what}_{{}}" for what in ("check", "lag", "issue")),
    "expiry_rows_{}",
    *(
        f"expiry_{what}{rest}_{{}}"
        for what in ("check", "issue")
        for rest in ("", "_idle", "_ratio")
    ),
}
TOKENS = {name.format(database): {"consoled"} for database in DATABASES for name in OF_TOKENS}


def _of(*beginnings: str) -> dict[str, set[str]]:
    return {name: by for name, by in TOKENS.items() if name.startswith(beginnings)}


@pytest.mark.parametrize(
    ("names", "wanted", "row"),
    [
        (
            [
                *("keystroke", "keystroke_tls", "recording", "typing", "typing_flooded", "bulk"),
                *("idle", "idle_tls", "opened", "opened_tls", "issued"),
            ],
            RELAY,
            "keystroke and its echo, p99.9",
        ),
        (["tokens"], _of("issued_", "checked_"), "URLs issued, SQLite, a replica, 4 clients"),
        (["mixed"], _of("mixed_"), "reactor lag at that load, PostgreSQL, p99"),
        (["expiry"], _of("expiry_"), "check, p99 cleaned / idle, SQLite"),
        (["ports"], PORTS, "port allocated, 99% of 10,000 used, p99"),
        (
            ["keystone", "service_tokens"],
            OPENSTACK,
            "recording of 4 MiB uploaded: requests to Keystone, with a service token",
        ),
        (["ssh"], SSH, "keystroke over a stream of the library, p99"),
    ],
    ids=["relay", "tokens", "mixed", "expiry", "ports", "openstack", "ssh"],
)
def test_quick_run_gives_every_figure(
    names: list[str], wanted: dict[str, set[str]], row: str, tmp_path: Path
) -> None:
    """Each figure has its line of JSON on the output and in the file, a row, and a bar."""
    file = tmp_path / "figures.jsonl"
    options = [f"--subject={name}" for name in sorted(BOTH)] + [f"--only={name}" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", *options, f"--json={file}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert file.read_text().splitlines() == printed

    figures: dict[str, set[str]] = {}
    for line in map(json.loads, printed):
        figures.setdefault(line["figure"], set()).add(line["subject"])
        assert line["low"] <= line["value"] <= line["high"]
        assert line["machine"]["cores"] >= 1
        if line["unit"] in ("µs", "ms"):
            assert 0 < line["p50"] <= line["p99"] <= line["p99_9"]
    assert figures == wanted

    assert row in done.stdout
    ElementTree.parse(file.with_suffix(".svg"))


def test_every_measurement_has_its_short_run() -> None:
    """None is left out of the runs above."""
    shown = test_quick_run_gives_every_figure.pytestmark[0].args[1]
    assert {name for names, _, _ in shown for name in names} == {
        each.name for each in measurements(QUICK)
    }

"""The benchmark works: one short run of everything, on the daemon and without a relay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
BOTH = {"consoled", "direct"}
WANTED = {
    "keystroke": BOTH,
    "keystroke_tls": {"consoled"},
    "typing": BOTH,
    "typing_flooded": BOTH,
    "bulk": BOTH,
    "idle_20": {"consoled"},
    "idle_40": {"consoled"},
    "opened": BOTH,
    "issued": {"consoled"},
}


def test_quick_run_gives_every_figure(tmp_path: Path) -> None:
    """Each figure has its line of JSON on the output and in the file, a row, and a bar."""
    file = tmp_path / "figures.jsonl"
    subjects = [f"--subject={name}" for name in sorted(BOTH)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", *subjects, f"--json={file}"],
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
        if line["unit"] == "µs":
            assert 0 < line["p50"] <= line["p99"] <= line["p99_9"]
    assert figures == WANTED

    assert "keystroke and its echo, p99.9" in done.stdout
    ElementTree.parse(file.with_suffix(".svg"))

"""What the pages about deployments and cells tell an operator to write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consoled.options import load
from consoled.settings import CellSite
from tools.lab.certificates import make_pair

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def blocks(page: str) -> list[str]:
    """The configurations of a page."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    found = re.findall(r"^\.\. code-block:: ini\n\n((?:   .*\n|\n)+)", text, flags=re.MULTILINE)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """The files that the configurations name."""
    pair = make_pair()
    for name in ("host.pem", "ca.pem", "cells-ca.pem"):
        (tmp_path / name).write_bytes(pair.cert_pem)
    (tmp_path / "host.key").write_bytes(pair.key_pem)
    return tmp_path


def test_the_deployment_can_be_used(etc: Path) -> None:
    """Both files together are cell1's configuration; the first is the other cell's, too."""
    common, own, _drop_in = (
        text.replace("/etc/consoled", str(etc)) for text in blocks("deployment")
    )
    (etc / "common.conf").write_text(common)
    (etc / "consoled.conf").write_text(own)
    found = load("cell1", [etc / "common.conf", etc / "consoled.conf"], {})
    assert found.cells.sites == (
        CellSite("cell2", "https://cell2.example.org:8774", etc / "ca.pem"),
    )
    assert [host.name for host in found.compute_hosts] == ["kvm1", "kvm2"]
    assert found.api.auth_strategy == "keystone"
    assert found.service_user.send_service_user_token
    assert load("cell2", [etc / "common.conf"], {}).cells.sites[0].name == "cell1"


def test_the_drop_in_changes_the_unit() -> None:
    """It sets nothing that the unit does not set, and starts the same program."""
    unit = (ROOT / "etc/consoled.service").read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=(.+)$", unit, flags=re.MULTILINE)
    drop_in = blocks("deployment")[2]
    assert "ExecStart=\n" in drop_in
    assert "Environment=CELL=" in drop_in
    assert start.split(" --config ")[0] in drop_in


def test_the_cells_can_be_used(etc: Path) -> None:
    """The list of the page about cells is that of each of them."""
    [text] = blocks("cells")
    (etc / "cells.conf").write_text(text.replace("/etc/consoled", str(etc)))
    for own in ("cell1", "cell2", "cell3"):
        names = [site.name for site in load(own, [etc / "cells.conf"], {}).cells.sites]
        assert names == [name for name in ("cell1", "cell2", "cell3") if name != own]

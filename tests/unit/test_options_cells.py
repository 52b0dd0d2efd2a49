"""Other cells in a configuration: read, or refused with the place of the mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from consoled.errors import ConfigError
from consoled.options import load
from consoled.options.declared.cells import CELL
from consoled.options.sample import sample
from consoled.settings import Cells, CellSite

THREE = """\
[cells]
names = cell1, cell2, Cell-3
timeout = 4
[cell:cell1]
api_url = https://one.example.org:8774
[cell:cell2]
api_url = HTTPS://Two.example.org:443/consoles/
[cell:Cell-3]
api_url = http://[2001:db8::3]:8774
"""


def cells(folder: Path, text: str, own: str = "cell1") -> Cells:
    """What a file comes to, for that cell."""
    path = folder / "consoled.conf"
    path.write_text(text, encoding="utf-8")
    return load(own, [path], {}).cells


def test_other_cells(tmp_path: Path) -> None:
    """One list serves all cells: each leaves itself out."""
    two = CellSite("cell2", "https://two.example.org/consoles")
    three = CellSite("Cell-3", "http://[2001:db8::3]:8774")
    assert cells(tmp_path, THREE) == Cells((two, three), 4.0, 5.0)
    one = CellSite("cell1", "https://one.example.org:8774")
    assert cells(tmp_path, THREE, "Cell-3").sites == (one, two)
    assert len(cells(tmp_path, THREE, "another").sites) == 3
    assert cells(tmp_path, "") == Cells()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("cell1, ", "cell1, cell4, ", "conf:2: [cells] names: 'cell1, cell4, cell2, Cell-3' names "
         "cell4, which has no section; add [cell:cell4] with its api_url"),
        ("cell1, ", "", "conf:4: [cell:cell1] is of no cell; name it in [cells] names"),
        ("cell1, ", "cell1, CELL1, ", "differ in upper and lower case only"),
        ("cell1, ", "-, cell1, ", "holds '-', which is not a cell's name"),
        ("api_url = https://one.example.org:8774\n", "", "conf:4: [cell:cell1] has no api_url"),
        ("https://one.example.org:8774", "ftp://one", "does not start with http://HOST"),
        ("https://one.example.org:8774", "https://u:p@one", "holds a user name or password"),
        ("https://one.example.org:8774", "https://one/?x", "holds a space, ? or #"),
        ("https://one.example.org:8774", "https://one/ä", "has a path that is not ASCII"),
        ("api_url = https://one", "cafile = none.pem\napi_url = https://one",
         "conf:5: [cell:cell1] cafile: 'none.pem'"),
        ("timeout = 4", "timeout = 0", "[cells] timeout: '0'"),
        ("api_url = https://one", "port = 3\napi_url = https://one", "has no option 'port'"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, before: str, after: str, said: str) -> None:
    """Each is one line with its place and what to do."""
    assert before in THREE
    with pytest.raises(ConfigError) as caught:
        cells(tmp_path, THREE.replace(before, after, 1))
    assert said in str(caught.value)


def test_the_sample_shows_a_cell() -> None:
    """As prose: a section that no cell has is an error."""
    example = sample().split("\n[cells]\n")[1].split("\n\n\n[")[0]
    assert "#   [cell:cell2]\n" in example
    assert all(f"#   {option.dest} = " in example for option in CELL)

"""The documentation beside the code: nothing that people look up is missing or wrong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import fields
from docutils.core import publish_doctree
from docutils.nodes import image, reference

from consoled.api.app import ApiParts, route_table
from consoled.api.compute import ComputeApi
from consoled.compute.inventory import parse_inventory
from consoled.log import FIELDS
from consoled.options import list_opts, load

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ROOT / "consoled"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as plain text; each warning fails the build."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "text"),
            *("-d", folder / "doctrees", DOCS, folder / "text"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "text"


def page(name: str) -> str:
    """The source of one page."""
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def code_blocks(name: str, language: str) -> list[str]:
    """The literal blocks of one page in that language."""
    pattern = rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)"
    found = re.findall(pattern, page(name), flags=re.MULTILINE)
    return [re.sub(r"^   ", "", text, flags=re.MULTILINE) for text in found]


def numbers(path: Path) -> set[int]:
    """The whole numbers that stand in a module's code."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }


def first_cells(name: str) -> set[str]:
    """The first cells of all tables of one page."""
    return set(re.findall(r"^   \* - (.+)$", page(name), flags=re.MULTILINE))


def test_pages_build_without_warnings(built: Path) -> None:
    """Every page is built, and Sphinx has nothing to say about any."""
    names = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.rst")}
    assert names == {path.relative_to(built).with_suffix("") for path in built.rglob("*.txt")}


def test_every_option_is_documented(built: Path) -> None:
    """The page of the configuration has each option in its section, nova's old names included."""
    text = (built / "configuration.txt").read_text(encoding="utf-8")
    for group, options in list_opts():
        section = text.split(f"[{group.name}]\n", maxsplit=1)[1]
        for option in options:
            assert f"#{option.dest} =" in section, f"[{group.name}] {option.dest}"
            for old in option.deprecated_opts:
                assert f"Deprecated name: [{old.group}] {old.name}" in section


def test_every_command_line_option_is_documented() -> None:
    """The page of the configuration lists each option of [serial_console] as an argument."""
    text = page("configuration")
    for group, options in list_opts():
        if group.name == "serial_console":
            assert [o.dest for o in options if f"``--{o.dest}" not in text] == []


def test_every_close_code_is_documented() -> None:
    """A close code that stands in the daemon's or the page's code is in the protocol's table."""
    modules = [CODE / "errors.py", CODE / "service.py", *sorted((CODE / "proxy").glob("*.py"))]
    used = {
        number
        for module in modules
        for number in numbers(module)
        if 1000 <= number <= 1015 or 4400 <= number <= 4499
    }
    assert {1000, 1001, 1011, 1013, 4401, 4409, 4413, 4414} <= used
    states = (CODE / "web/src/states.ts").read_text(encoding="utf-8")
    used |= {int(code) for code in re.findall(r"^ *\[(44\d\d),", states, flags=re.MULTILINE)}
    assert sorted(str(code) for code in used if str(code) not in first_cells("protocol")) == []


def test_every_route_is_documented() -> None:
    """The pages of console URLs and of the compute API name each route with its method."""
    # Mounting asks nobody for anything.
    nothing: Any = SimpleNamespace(http=None, tunnels=None, directory=None)
    given = {one.name: nothing for one in fields(ApiParts)} | {"compute": ComputeApi(nothing)}
    table = route_table(ApiParts(**given))
    rules = [f"{route.method} {route.template}" for route in table.routes]
    assert len(rules) >= 40
    documented = first_cells("console-url") | first_cells("keystone")
    assert [rule for rule in rules if f"``{rule}``" not in documented] == []


def test_documented_events_are_logged() -> None:
    """Each event in the table of the logs is one that the daemon logs."""
    logs = page("deploying-proxy").partition("\nLogs\n")[2].partition("\nLimits\n")[0]
    rows = re.findall(r"^   \* - (``.+)$", logs, flags=re.MULTILINE)
    documented = {event for row in rows for event in re.findall(r"``([a-z_]+)``", row)}
    text = "".join(path.read_text("utf-8") for path in CODE.rglob("*.py"))
    assert len(documented) > 10
    assert sorted(e for e in documented if f'"{e}"' not in text) == []


def test_example_of_a_log_line_has_known_fields_only() -> None:
    """The log line that is shown has no field that the log would leave out."""
    [example] = code_blocks("deploying-proxy", "json")
    shown = set(re.findall(r'"([a-z_]+)":', example))
    assert shown - {"ts", "level", "event", "message"} <= set(FIELDS)


def test_getting_started_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configurations and the inventory that a new user copies are taken as they stand."""
    monkeypatch.chdir(tmp_path)
    [inventory] = code_blocks("getting-started", "yaml")
    assert [i.name for i in parse_inventory(inventory, "inventory.yaml")] == ["echo-1"]
    drivers = []
    for text in code_blocks("getting-started", "ini"):
        (tmp_path / "consoled.conf").write_text(text)
        settings = load("demo", [tmp_path / "consoled.conf"], {})
        assert settings.serial_console.enabled
        drivers.append(settings.default.driver)
    assert drivers == ["static", "libvirt"]


@pytest.mark.parametrize("name", ["README.rst", "CHANGES.rst"])
def test_front_pages_read_without_warnings(name: str) -> None:
    """What stands outside of docs/ is valid, and its links and pictures lead to files."""
    path = ROOT / name
    tree = publish_doctree(
        path.read_text(encoding="utf-8"),
        str(path),
        settings_overrides={"halt_level": 2, "report_level": 2},
    )
    places = [node["refuri"] for node in tree.findall(reference)]
    places += [node["uri"] for node in tree.findall(image)]
    assert [p for p in places if "://" not in p and not (ROOT / p).exists()] == []


def test_examples_compile() -> None:
    """The programs that are offered for download are Python."""
    for path in sorted((DOCS / "examples").glob("*.py")):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")

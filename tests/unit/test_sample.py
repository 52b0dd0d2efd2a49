"""The sample files in etc/."""

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from consoled.auth.keys import parse_keys
from consoled.compute.inventory import parse_inventory
from consoled.errors import ConfigError
from consoled.options import list_opts, load
from consoled.options.sample import sample
from consoled.settings import Settings
from tests.unit.test_options_load import make_pair

ETC = Path(__file__).parents[2] / "etc"


def test_the_sample_is_generated() -> None:
    """etc/consoled.conf.sample is what ``python -m consoled.options`` writes."""
    command = [sys.executable, "-m", "consoled.options"]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert written == sample()
    assert (ETC / "consoled.conf.sample").read_text(encoding="utf-8") == written, (
        "run: python -m consoled.options > etc/consoled.conf.sample"
    )


def test_the_sample_loads_as_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every option uncommented the sample loads, and changes nothing but what it names."""
    monkeypatch.chdir(tmp_path)
    make_pair(tmp_path / "self.pem")
    (tmp_path / "page").mkdir()
    text = re.sub(r"^#(?=[a-z_]+ =)", "", sample(), flags=re.MULTILINE)
    text = re.sub(r"^web = .*$", "web = page", text, flags=re.MULTILINE)
    path = tmp_path / "consoled.conf"
    path.write_text(text)
    loaded = load("cell1", [path], {})
    expected = Settings("cell1")
    proxy = attrs.evolve(expected.serial_console, cert=tmp_path / "self.pem", web=tmp_path / "page")
    assert loaded == attrs.evolve(expected, serial_console=proxy)


def test_every_option_is_explained() -> None:
    """Each option has a help text that ends as a sentence, and stands in the sample once."""
    for group, options in list_opts():
        section = sample().split(f"\n[{group.name}]\n")[1].split("\n\n\n[")[0]
        for option in options:
            assert (option.help or "").endswith("."), option.dest
            assert len(re.findall(rf"^#{option.dest} =", section, re.MULTILINE)) == 1


def test_the_inventory_sample_is_an_inventory() -> None:
    """etc/inventory.yaml.sample can be used as it is."""
    [instance] = parse_inventory((ETC / "inventory.yaml.sample").read_text(), "sample")
    assert [console.place for console in instance.consoles] == ["127.0.0.1:7000", "[::1]:7001"]


def test_the_keys_sample_cannot_be_used_unchanged() -> None:
    """etc/keys.yaml.sample is refused until its keys are replaced, each by its own."""
    text = (ETC / "keys.yaml.sample").read_text()
    with pytest.raises(ConfigError, match="key is shorter than 16 characters"):
        parse_keys(text, "sample")
    for key in ("a" * 16, "b" * 16):
        text = text.replace("REPLACE-ME", key, 1)
    assert {caller.user_id for caller in parse_keys(text, "sample").values()} == {"admin", "alice"}

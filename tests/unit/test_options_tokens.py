"""consoled.options.tokens: token backends that lack something, or cannot obey."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from consoled.errors import ConfigError
from consoled.options import load
from consoled.settings import Settings

NOVA = "[nova]\nconnection = mysql+pymysql://nova:sesame@db/nova_cell1\n"
SERVERS = "[cache]\nmemcache_servers = 10.0.0.5:11211, 10.0.0.6:11211\n"
LONG = "http://" + "a." * 120 + "example.org/serial.html"


def backend(name: str) -> str:
    return f"[DEFAULT]\nconsole_tokens_backend = {name}\n"


def settings(folder: Path, text: str) -> Settings:
    path = folder / "consoled.conf"
    path.write_text(text)
    return load("cell1", [path], {})


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(folder, text)
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)
    return str(caught.value)


def test_each_backend_is_read(tmp_path: Path) -> None:
    """What each of them needs reaches its field, and no repr shows nova's password."""
    nova = settings(tmp_path, backend("nova") + NOVA)
    assert nova.default.console_tokens_backend == "nova"
    assert nova.nova.connection == "mysql+pymysql://nova:sesame@db/nova_cell1"
    assert "sesame" not in repr(nova)
    memcached = settings(tmp_path, backend("memcached") + SERVERS)
    assert memcached.cache.memcache_servers == ("10.0.0.5:11211", "10.0.0.6:11211")
    both = settings(tmp_path, SERVERS + "[workarounds]\nenable_consoleauth = true\n")
    assert both.workarounds.enable_consoleauth
    assert settings(tmp_path, "").default.console_tokens_backend == "database"


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        (backend("nova"), "[DEFAULT] console_tokens_backend", "set [nova] connection"),
        (backend("memcached"), "[DEFAULT] console_tokens_backend", "set [cache] memcache_servers"),
        (
            "[workarounds]\nenable_consoleauth = true\n",
            "[workarounds] enable_consoleauth",
            "set [cache] memcache_servers",
        ),
        (
            f"[serial_console]\nbase_url = {LONG}\n" + backend("nova") + NOVA,
            "[serial_console] base_url",
            "more than 255 characters",
        ),
        (
            "[consoleauth]\nsingle_use = true\n" + backend("nova") + NOVA,
            "[consoleauth] single_use",
            "console_tokens_backend = nova",
        ),
        (
            "[consoleauth]\nsingle_use = true\n" + backend("memcached") + SERVERS,
            "[consoleauth] single_use",
            "console_tokens_backend = memcached",
        ),
        (
            "[consoleauth]\nsingle_use = on\n[workarounds]\nenable_consoleauth = 1\n" + SERVERS,
            "[consoleauth] single_use",
            "set one of the two to false",
        ),
        (backend("redis"), "[DEFAULT] console_tokens_backend", "database, memcached, nova"),
        ("[nova]\nconnection = sesame\n", "[nova] connection", "is not a SQLAlchemy URL"),
    ],
)
def test_wrong_combinations(tmp_path: Path, text: str, place: str, advice: str) -> None:
    """One line that names the option with its file and line, and what to do."""
    line = refusal(tmp_path, text)
    assert line.startswith(f"{tmp_path}/consoled.conf:2: {place}: ")
    assert advice in line


def test_a_long_base_url_is_nova_s_matter_only(tmp_path: Path) -> None:
    """consoled's own table takes it."""
    text = f"[serial_console]\nbase_url = {LONG}\n"
    assert settings(tmp_path, text).serial_console.base_url == LONG


def test_the_examples_of_the_page_load(tmp_path: Path) -> None:
    """The configurations of docs/moving.rst can be used as they stand."""
    page = (Path(__file__).parents[2] / "docs/moving.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: ini\n\n((?:   .*\n|\n)+)", page, re.MULTILINE)
    loaded = [settings(tmp_path, textwrap.dedent(block)) for block in blocks]
    assert [one.default.console_tokens_backend for one in loaded] == ["nova", "database"]
    assert loaded[1].workarounds.enable_consoleauth

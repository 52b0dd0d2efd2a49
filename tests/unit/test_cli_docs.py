"""docs/consolectl.rst beside the command that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from consoled.cli.root import PROGRAM, root

PAGE = Path(__file__).parents[2] / "docs" / "consolectl.rst"


def commands(group: click.Group, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its words; groups are not commands."""
    for name, command in group.commands.items():
        path = f"{words}{name}"
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} ")
        else:
            yield path, command


def test_the_page_has_every_command_and_option() -> None:
    """What consolectl can do stands in its page, with the environment variables."""
    page = PAGE.read_text()
    for words, command in [("", root), *commands(root)]:
        assert words in page
        for parameter in command.params:
            assert all(option in page for option in parameter.opts if option.startswith("--"))
            assert parameter.envvar is None or str(parameter.envvar) in page


def test_completion_as_the_page_says() -> None:
    """The variable of the page makes a script for each shell that it names, and completes."""
    for shell in ("bash", "zsh", "fish"):
        assert f"{shell}_source" in PAGE.read_text()
        env = {"_CONSOLECTL_COMPLETE": f"{shell}_source"}
        result = CliRunner().invoke(root, prog_name=PROGRAM, env=env)
        assert result.exit_code == 0 or "Couldn't detect Bash" in result.output
    env = {
        "_CONSOLECTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "consolectl server ",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(root, prog_name=PROGRAM, env=env)
    assert result.output.split() == ["plain,consoles", "plain,list"]

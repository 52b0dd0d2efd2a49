"""consoled.composition: what a start reads is what --check-config reads, before anything is
written."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock

from consoled.composition import check, compose
from consoled.errors import ConfigError
from consoled.options import load
from consoled.settings import Settings

INVENTORY = '{"instances": []}'


def settings(folder: Path, text: str) -> Settings:
    """Of a cell that has these lines besides what it needs."""
    (folder / "inventory.yaml").write_text(INVENTORY)
    (folder / "bad").write_text("nothing of use")
    path = folder / "consoled.conf"
    path.write_text(
        f"[DEFAULT]\ndriver = static\nstate_path = {folder}/state\n"
        f"[static]\ninventory = {folder}/inventory.yaml\n" + text.format(folder=folder)
    )
    return load("lab", [path], {})


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("[proxy]\nreplica_ca = {folder}/bad\n", "[proxy] replica_ca"),
        (
            "[service_user]\ntoken_secret_file = {folder}/bad\n",
            "[service_user] token_secret_file",
        ),
        ("[oslo_policy]\npolicy_file = {folder}/bad\n", "policy file"),
    ],
)
def test_what_is_refused_has_written_nothing(tmp_path: Path, text: str, option: str) -> None:
    """A file that cannot be used is found by --check-config and by a start, in the same words,
    and the start has made neither keys nor a database."""
    found = settings(tmp_path, text)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError) as checked:
        check(found)
    with pytest.raises(ConfigError) as started:
        compose(found, MemoryReactorClock(), lambda: found, lambda event: None)
    assert option in str(checked.value)
    assert str(started.value) == str(checked.value)
    assert sorted(tmp_path.rglob("*")) == before

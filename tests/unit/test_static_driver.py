"""The static driver."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from consoled.compute.static import StaticDriver
from consoled.errors import ConfigError, NotFound
from consoled.interfaces import ConsoleDriver, Driver
from consoled.workers import InlineWorker

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
INVENTORY = (
    f"instances:\n  - {{uuid: {UUID}, name: web-1, host: rack1, serial: [127.0.0.1:7000]}}\n"
)


class HeldWorker(InlineWorker):
    """Keeps calls until they are let go."""

    def __init__(self) -> None:
        self.held: list[Callable[[], None]] = []

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        self.held.append(
            lambda: super(HeldWorker, self).run(fn, *args, **kwargs).chainDeferred(result)
        )
        return result


def outcome(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired; a failure is raised."""
    results: list[Any] = []
    failures: list[BaseException] = []
    deferred.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    [result] = results
    return result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY)
    return path


def test_it_answers_from_the_inventory(path: Path) -> None:
    """Instances are found by uuid in any case, and listed in the file's order."""
    driver: Driver = StaticDriver.open(path, InlineWorker())
    driver.start()
    [instance] = outcome(driver.instances())
    assert outcome(driver.instance(UUID.upper())) == instance
    assert (driver.name, instance.console(0).place) == ("static", "127.0.0.1:7000")
    assert outcome(driver.stop()) is None


def test_unknown_instances_are_not_found(path: Path) -> None:
    """An unknown id is NotFound, and an endless one is not repeated in full."""
    driver = StaticDriver.open(path, InlineWorker())
    with pytest.raises(NotFound) as caught:
        outcome(driver.instance("x" * 10_000))
    assert len(str(caught.value)) < 200


def test_a_bad_inventory_stops_the_start(tmp_path: Path) -> None:
    """Without a usable inventory there is no driver."""
    with pytest.raises(ConfigError, match="No such file"):
        StaticDriver.open(tmp_path / "none.yaml", InlineWorker())


def test_reload_swaps(path: Path) -> None:
    """After a reload the new inventory is in force; until it is read, the old one."""
    worker = HeldWorker()
    driver = StaticDriver.open(path, worker)
    path.write_text("instances: []")
    reloaded = driver.reload()
    assert len(outcome(driver.instances())) == 1
    worker.held.pop()()
    assert outcome(reloaded) is None
    assert outcome(driver.instances()) == ()


def test_a_bad_reload_keeps_the_old(path: Path) -> None:
    """A bad inventory is an error with its line, and the old one stays in force."""
    driver = StaticDriver.open(path, InlineWorker())
    path.write_text("instances:\n  - oops\n")
    with pytest.raises(ConfigError, match=":2: this instance is a single value"):
        outcome(driver.reload())
    assert outcome(driver.instance(UUID)).name == "web-1"


def test_it_knows_nothing_of_clients(path: Path) -> None:
    """Nobody can be asked who is connected to an endpoint, thrown off, or sent a BREAK."""
    control: ConsoleDriver = StaticDriver.open(path, InlineWorker())
    assert control.breaks is None
    assert outcome(control.held_ports(UUID)) == frozenset()
    assert outcome(control.free_port(UUID, 0)) is False

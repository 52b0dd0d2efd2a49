"""Which compute host of a configuration has a domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TypeVar

from consoled.cli.failure import Failure
from consoled.compute.libvirt.client import Definition, LibvirtClient
from consoled.settings import LibvirtHost

K = TypeVar("K")
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for the hosts to say whether they have a domain."""


def host_of(
    hosts: Sequence[LibvirtHost],
    domain: str,
    name: str | None,
    *,
    ask: Callable[[LibvirtHost, str], Definition | None] | None = None,
    patience: float = PATIENCE,
) -> LibvirtHost:
    """The host that a domain is to be looked for on.

    Of several hosts that have it, the one where it runs.

    :param domain: its name, or its uuid.
    :param name: the host's, where it was given.
    :param ask: what a host knows of it; by default what libvirt does.
    :param patience: seconds for the hosts that are asked, all at once.
    :raises consoled.cli.failure.Failure: there is no such host, or it is not one of them.
    """
    if name is not None:
        return _named(hosts, name)
    if len(hosts) == 1:
        return hosts[0]
    look = ask or _definition
    found: list[tuple[LibvirtHost, Definition]] = []
    silent: list[str] = []
    asked = {host: lambda host=host: look(host, domain) for host in hosts}
    for host, answer in answers(asked, patience).items():
        if isinstance(answer, Definition):
            found.append((host, answer))
        elif answer is not None:
            silent.append(f"{host.label} cannot be asked: {answer}")
    running = [host for host, definition in found if definition.active]
    places = running or [host for host, _ in found]
    if len(places) == 1:
        return places[0]
    if places:
        names = ", ".join(host.label for host in places)
        raise Failure(f"{domain} is on several compute hosts, {names}: give --host NAME")
    raise Failure("; ".join([f"no compute host has a domain {domain}", *silent]))


def answers(asked: Mapping[K, Callable[[], T]], patience: float) -> dict[K, T | Exception]:
    """What each question came to, in the order of the questions.

    Each has a thread of its own, which is left behind where it hangs.

    :param patience: seconds for all of them.
    """
    heard: SimpleQueue[tuple[K, T | Exception]] = SimpleQueue()

    def put(key: K, question: Callable[[], T]) -> None:
        try:
            heard.put((key, question()))
        except Exception as error:  # it is told by whoever waits
            heard.put((key, error))

    for key, question in asked.items():
        Thread(target=put, args=(key, question), daemon=True).start()
    end = monotonic() + patience
    found: dict[K, T | Exception] = {
        key: TimeoutError(f"no answer within {patience:g} s") for key in asked
    }
    for _ in asked:
        try:
            key, answer = heard.get(timeout=max(0.0, end - monotonic()))
        except Empty:
            break
        found[key] = answer
    return found


def _named(hosts: Sequence[LibvirtHost], name: str) -> LibvirtHost:
    for host in hosts:
        if host.name == name:
            return host
    known = [host.name for host in hosts if host.name is not None]
    raise Failure(
        f"there is no compute host {name!r}: "
        + (f"[libvirt] hosts has {', '.join(known)}" if known else "[libvirt] hosts has none")
    )


def _definition(host: LibvirtHost, domain: str) -> Definition | None:
    client = LibvirtClient(host.uri)
    try:
        return client.definition(domain)
    finally:
        client.close()

"""Two compute hosts on one machine: real libvirts side by side, in one configuration."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools.lab.daemon import Daemon
from tools.lab.libvirtd import PrivateLibvirtd

Hosts = Mapping[str, PrivateLibvirtd]
Ranges = Mapping[str, range]


@contextmanager
def libvirts(names: Iterable[str]) -> Iterator[Hosts]:
    """Private libvirts of those names."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp"))
            found[name] = stack.enter_context(PrivateLibvirtd(Path(folder), name))
        yield found


def configuration(hosts: Hosts, ranges: Ranges, **further: object) -> dict[str, dict[str, object]]:
    """All of them in one configuration.

    :param further: options of each host's section.
    """
    sections: dict[str, dict[str, object]] = {
        "DEFAULT": {"driver": "libvirt"},
        "libvirt": {"hosts": ", ".join(hosts), "default_project": "demo"},
    }
    for name, libvirtd in hosts.items():
        ports = ranges[name]
        sections[f"libvirt:{name}"] = {
            "uri": libvirtd.uri,
            "proxyclient_address": "127.0.0.1",
            "port_range": f"{ports.start}:{ports.stop}",
            **further,
        }
    return sections


@contextmanager
def daemon_of(folder: Path, hosts: Hosts, ranges: Ranges, **further: object) -> Iterator[Daemon]:
    """A daemon that has found all of them."""
    with Daemon(folder, configuration(hosts, ranges, **further)) as running:
        for name in hosts:
            running.wait_for_event("hypervisor_connected", hypervisor=name)
        yield running

"""Every group of options, with the help text that an operator reads in the sample file.

The options themselves are in :mod:`consoled.options.declared`. Names and defaults of
``[serial_console]`` are the serial-ports specification's; those of the other groups are
nova's where nova has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from oslo_config import cfg

from consoled.options.declared.cells import CELL, CELL_SECTION, CELLS
from consoled.options.declared.compute import HOST_SECTION, LIBVIRT, LIBVIRT_HOST, STATIC
from consoled.options.declared.consoles import CONSOLE, SERIAL_CONSOLE
from consoled.options.declared.daemon import API, DATABASE, DEFAULT, METRICS, OSLO_POLICY
from consoled.options.declared.openstack import SERVICE_USER
from consoled.options.declared.relay import PROXY, RECORDING
from consoled.options.declared.tokens import CACHE, CONSOLEAUTH, NOVA, WORKAROUNDS
from consoled.options.declared.ways import FORWARD, HTTP_PROXY, SSH_PROXY

_HELP = {
    "DEFAULT": "The daemon.",
    "serial_console": "The console proxy. Each option of this group is an option of "
    "`twistd consoled` too, which then wins over the file.",
    "console": "Who may embed and reach the console proxy, and its TLS.",
    "api": "The REST API.",
    "service_user": "consoled's own user towards OpenStack's other services. Besides the options "
    "below it has keystoneauth's: auth_type, auth_url, username, password, project_name... as in "
    "[keystone_authtoken], or auth_section = keystone_authtoken; cafile, certfile, keyfile, "
    "insecure. Without them the user of [keystone_authtoken] is consoled's own.",
    "cells": "The deployment's other cells.",
    "database": "The cell database.",
    "consoleauth": "Console tokens.",
    "nova": "nova's cell database, for console_tokens_backend = nova.",
    "cache": "memcached.",
    "workarounds": "For the time of a change.",
    "libvirt": "The libvirt driver.",
    "static": "The static driver.",
    "proxy": "Bounds of the relay between viewers and consoles.",
    "recording": "Recordings of sessions, where [serial_console] record is on.",
    "ssh_proxy": "Consoles and instances behind SSH servers.",
    "http_proxy": "HTTP to instances, for those whom policy lets.",
    "forward": "TCP to instances, for those whom policy lets.",
    "oslo_policy": "Who may do what.",
    "metrics": "What a monitoring system asks.",
}

_OPTIONS = {
    "DEFAULT": DEFAULT,
    "serial_console": SERIAL_CONSOLE,
    "console": CONSOLE,
    "api": API,
    "service_user": SERVICE_USER,
    "cells": CELLS,
    "database": DATABASE,
    "consoleauth": CONSOLEAUTH,
    "nova": NOVA,
    "cache": CACHE,
    "workarounds": WORKAROUNDS,
    "libvirt": LIBVIRT,
    "static": STATIC,
    "proxy": PROXY,
    "recording": RECORDING,
    "ssh_proxy": SSH_PROXY,
    "http_proxy": HTTP_PROXY,
    "forward": FORWARD,
    "oslo_policy": OSLO_POLICY,
    "metrics": METRICS,
}

GROUPS: Sequence[tuple[cfg.OptGroup, Sequence[cfg.Opt]]] = [
    (cfg.OptGroup(name, help=_HELP[name]), options) for name, options in _OPTIONS.items()
]
"""Every group with its options, in the order of the sample file."""


NAMED: Mapping[str, Sequence[cfg.Opt]] = {CELL_SECTION: CELL, HOST_SECTION: LIBVIRT_HOST}
"""The options of sections that there may be several of, by what their names begin with."""


def kind(section: str) -> str:
    """What the section is one of, in :data:`NAMED`; else the section itself."""
    return next((beginning for beginning in NAMED if section.startswith(beginning)), section)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo-config-generator: the entry point in ``oslo.config.opts``."""
    return [(group, list(options)) for group, options in GROUPS]


def register(conf: cfg.ConfigOpts, sections: Iterable[str] = ()) -> None:
    """Registers every option.

    :param sections: those of compute hosts and other cells, in lower case.

    By the groups' names: a registered OptGroup keeps the overrides that are set
    in it, and those of :data:`GROUPS` would carry them into the next load.
    """
    for group, options in GROUPS:
        conf.register_opts(options, group=None if group.name == "DEFAULT" else group.name)
    for section in sections:
        conf.register_opts(NAMED[kind(section)], group=section)


def names_in_files(group: str, option: cfg.Opt) -> list[tuple[str, str]]:
    """The (section, key) under which files may set the option, oslo.config's first choice first."""
    return [
        (group, option.dest),
        *((old.group or group, old.name or option.dest) for old in option.deprecated_opts),
    ]


def known_names(sections: Iterable[str] = ()) -> dict[str, list[str]]:
    """The keys that each section may hold, deprecated ones last.

    :param sections: those of compute hosts and other cells, too.
    """
    known: dict[str, list[str]] = {group.name: [] for group, _ in GROUPS}
    pairs = [names_in_files(group.name, option) for group, options in GROUPS for option in options]
    for section, key in [names[0] for names in pairs] + [n for names in pairs for n in names[1:]]:
        known[section].append(key)
    return known | {s: [option.dest for option in NAMED[kind(s)]] for s in sections}

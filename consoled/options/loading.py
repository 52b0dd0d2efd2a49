"""From files and command line to Settings, or one line that says why not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from consoled.errors import ConfigError
from consoled.options.cells import other_cells
from consoled.options.database import check_url, sqlite_url
from consoled.options.declared.openstack import SERVICE_USER
from consoled.options.hosts import libvirt_hosts
from consoled.options.reading import Reader
from consoled.options.recording import refuse_recording_contradictions
from consoled.options.ssh import refuse_ssh_contradictions
from consoled.options.tls import UnusableFile, check_authorities, check_pair
from consoled.options.tokens import refuse_token_contradictions
from consoled.settings import (
    Api,
    Cache,
    ConsoleAuth,
    ConsoleGroup,
    DatabaseGroup,
    Default,
    Forward,
    HttpProxy,
    Keystone,
    Libvirt,
    Metrics,
    Nova,
    OsloPolicy,
    Proxy,
    Recording,
    SerialConsole,
    ServiceUser,
    Settings,
    SSHProxy,
    Static,
    Workarounds,
)

IPAddress = IPv4Address | IPv6Address

_CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def load(cell: str, files: Sequence[Path], overrides: Mapping[str, str]) -> Settings:
    """One cell's whole configuration, everything in it checked.

    It reads files and keeps nothing; for SIGHUP it is simply called again.

    :param cell: the cell's name, ``--cell``.
    :param files: configuration files; a later one wins over an earlier one.
    :param overrides: texts for options of ``[serial_console]`` as on a command line
        (see :data:`consoled.options.SERIAL_CONSOLE_OPTIONS`); they win over all files.
    :raises consoled.errors.ConfigError: one line for the operator.
    """
    if not _CELL.fullmatch(cell):
        raise ConfigError(
            f"--cell: {cell!r} is not a cell's name; use up to 64 of the characters"
            " A-Z a-z 0-9 . _ -, the first a letter or digit"
        )
    reader = Reader(files, overrides)
    default = Default(**_plain(reader, "DEFAULT", Default))
    settings = Settings(
        cell=cell,
        default=default,
        serial_console=_serial_console(reader),
        console=ConsoleGroup(**_plain(reader, "console", ConsoleGroup)),
        api=_api(reader),
        keystone=_keystone(reader),
        service_user=_service_user(reader),
        cells=other_cells(reader, cell),
        database=_database(reader, default.state_path),
        consoleauth=ConsoleAuth(**_plain(reader, "consoleauth", ConsoleAuth)),
        nova=_nova(reader),
        cache=Cache(**_plain(reader, "cache", Cache)),
        workarounds=Workarounds(**_plain(reader, "workarounds", Workarounds)),
        libvirt=_libvirt(reader),
        static=Static(**_plain(reader, "static", Static)),
        proxy=Proxy(**_plain(reader, "proxy", Proxy)),
        recording=Recording(**_plain(reader, "recording", Recording)),
        ssh_proxy=_ssh_proxy(reader),
        http_proxy=HttpProxy(**_plain(reader, "http_proxy", HttpProxy)),
        forward=Forward(**_plain(reader, "forward", Forward)),
        oslo_policy=OsloPolicy(**_plain(reader, "oslo_policy", OsloPolicy)),
        metrics=Metrics(**_plain(reader, "metrics", Metrics)),
    )
    _refuse_shared_port(reader, settings)
    refuse_token_contradictions(reader, settings)
    refuse_recording_contradictions(reader, settings)
    return settings


def _plain(reader: Reader, group: str, values: Callable[..., object]) -> dict[str, Any]:
    """The values of a group, one per field of its Settings class."""
    names = [attribute.name for attribute in values.__attrs_attrs__]  # type: ignore[attr-defined]  # attrs classes only
    return {name: reader.value(group, name) for name in names}


def _serial_console(reader: Reader) -> SerialConsole:
    group = "serial_console"
    values = _plain(reader, group, SerialConsole)
    if values["source_is_ipv6"]:
        if not reader.is_set(group, "listen"):
            values["listen"] = "::"
        elif isinstance(ip_address(values["listen"]), IPv4Address):
            reader.fail(
                group,
                "listen",
                "is an IPv4 address, and source_is_ipv6 makes the proxy listen on IPv6 only;"
                " give an IPv6 address such as ::, or set source_is_ipv6 to false",
            )
    if values["ssl_only"] or reader.is_set(group, "cert"):
        _check_tls(reader, group, values["cert"], values["key"])
    else:
        values["cert"] = values["key"] = None
    web: Path | None = values["web"]
    if web is not None and not web.is_dir():
        if reader.is_set(group, "web"):
            reader.fail(
                group,
                "web",
                "is not a folder that can be read; make it, or leave it empty for the built-in"
                " page",
            )
        values["web"] = None
    return SerialConsole(**values)


def _api(reader: Reader) -> Api:
    api = Api(**_plain(reader, "api", Api))
    if api.cert is not None:
        _check_tls(reader, "api", api.cert, api.key)
    elif api.key is not None:
        reader.fail("api", "key", "is the key of no certificate; set [api] cert as well")
    return api


def _keystone(reader: Reader) -> Keystone:
    wanted = reader.value("api", "auth_strategy") == "keystone"
    return Keystone(reader.keystone() if wanted else None)


def _service_user(reader: Reader) -> ServiceUser:
    group = "service_user"
    values = {option.dest: reader.value(group, option.dest) for option in SERVICE_USER}
    found = ServiceUser(**values, conf=reader.service_user())
    if found.send_service_user_token and found.conf is None:
        reader.fail(
            group,
            "send_service_user_token",
            "needs a user to log in as; give auth_type, auth_url, username, password and the rest"
            " in [service_user], as in [keystone_authtoken], or auth_section = keystone_authtoken",
        )
    return found


def _libvirt(reader: Reader) -> Libvirt:
    values = _plain(reader, "libvirt", Libvirt)
    group = Libvirt(**{**values, "hosts": libvirt_hosts(reader)})
    needed = {"chardev_tls_key": "chardev_tls_cert", "chardev_tls_cert": "chardev_tls_ca"}
    for option, other in needed.items():
        if getattr(group, option) is not None and getattr(group, other) is None:
            reader.fail("libvirt", option, f"is of no use alone; set {other} as well")
    if group.chardev_tls_ca is not None:
        try:
            check_authorities(group.chardev_tls_ca)
        except UnusableFile as error:
            reader.fail("libvirt", "chardev_tls_ca", str(error))
    if group.chardev_tls_cert is not None:
        try:
            check_pair(group.chardev_tls_cert, group.chardev_tls_key)
        except UnusableFile as error:
            option = "chardev_tls_key" if error.in_key else "chardev_tls_cert"
            reader.fail("libvirt", option, str(error))
    return group


def _ssh_proxy(reader: Reader) -> SSHProxy:
    group = SSHProxy(**_plain(reader, "ssh_proxy", SSHProxy))
    refuse_ssh_contradictions(reader, group)
    return group


def _check_tls(reader: Reader, group: str, cert: Path, key: Path | None) -> None:
    try:
        check_pair(cert, key)
    except UnusableFile as error:
        needs = "; ssl_only needs a certificate" if not reader.is_set(group, "cert") else ""
        reader.fail(group, "key" if error.in_key else "cert", f"{error}{needs}")


def _database(reader: Reader, state_path: Path) -> DatabaseGroup:
    connection: str = reader.value("database", "connection")
    if not reader.is_set("database", "connection"):
        return DatabaseGroup(sqlite_url(state_path / "consoled.sqlite"))
    try:
        return DatabaseGroup(check_url(connection))
    except ValueError as error:
        reader.fail("database", "connection", str(error))


def _nova(reader: Reader) -> Nova:
    connection: str | None = reader.value("nova", "connection")
    if connection is None:
        return Nova()
    try:
        return Nova(check_url(connection))
    except ValueError as error:
        reader.fail("nova", "connection", str(error))


def _refuse_shared_port(reader: Reader, settings: Settings) -> None:
    proxy, api = settings.serial_console, settings.api
    here, there = ip_address(proxy.listen), ip_address(api.listen)
    overlap = (
        here == there
        or _covers(here, there, ipv6_only=proxy.source_is_ipv6)
        or _covers(there, here, ipv6_only=False)
    )
    if proxy.enabled and proxy.port and proxy.port == api.port and overlap:
        reader.fail(
            "api",
            "port",
            f"is the proxy's port too ({proxy.listen} there, {api.listen} here); give one of them"
            " another",
        )


def _covers(wide: IPAddress, other: IPAddress, *, ipv6_only: bool) -> bool:
    """Whether listening on ``wide`` takes the port of ``other`` as well."""
    both_kinds = wide.version == 6 and not ipv6_only
    return wide.is_unspecified and (wide.version == other.version or both_kinds)

"""The configuration as frozen values; consoled.options reads it from files.

Names and defaults of :class:`SerialConsole` are those of the serial-ports
specification, of the others nova's where nova has them.
"""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen


@frozen
class Default:
    """``[DEFAULT]``.

    :ivar driver: ``libvirt`` or ``static``.
    :ivar state_path: the folder for everything that the daemon writes.
    """

    driver: str = "libvirt"
    state_path: Path = Path("/var/lib/consoled")
    debug: bool = False


@frozen
class SerialConsole:
    """``[serial_console]``, the specification's group.

    :ivar port_range: ``(start, stop)``, stop exclusive.
    :ivar cert: the certificate file where TLS is on, else None.
    :ivar key: the key file where TLS is on and the key is not in ``cert``.
    :ivar web: a folder that is served instead of the built-in page, or None.
    :ivar listen: the address to listen on, resolved (``::`` by default under source_is_ipv6).
    """

    enabled: bool = False
    base_url: str = "http://127.0.0.1:6083/serial.html"
    listen: str = "0.0.0.0"
    port: int = 6083
    proxyclient_address: str = "127.0.0.1"
    port_range: tuple[int, int] = (10000, 20000)
    record: bool = False
    daemon: bool = False
    ssl_only: bool = False
    source_is_ipv6: bool = False
    cert: Path | None = None
    key: Path | None = None
    web: Path | None = None

    @property
    def tls(self) -> bool:
        """Whether the proxy port speaks TLS at all."""
        return self.cert is not None


@frozen
class ConsoleGroup:
    """``[console]``: who may embed and reach the proxy, and its TLS.

    :ivar allowed_origins: host names (nova's form) or full origins besides the token's own.
    :ivar allowed_hosts: Host header names besides base_url's own.
    :ivar allow_missing_origin: whether clients without an Origin (not browsers) may connect.
    :ivar frame_ancestors: origins whose pages may frame the page.
    :ivar ssl_minimum_version: ``default``, ``tlsv1_2`` or ``tlsv1_3``.
    """

    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allow_missing_origin: bool = True
    frame_ancestors: tuple[str, ...] = ()
    ssl_ciphers: str | None = None
    ssl_minimum_version: str = "default"


@frozen
class Api:
    """``[api]``: the REST listener.

    :ivar keys_file: the keys of ``auth_strategy = static``.
    :ivar cert: a certificate makes the API speak TLS.
    """

    listen: str = "127.0.0.1"
    port: int = 8774
    auth_strategy: str = "static"
    keys_file: Path = Path("/var/lib/consoled/keys.yaml")
    cert: Path | None = None
    key: Path | None = None


@frozen
class DatabaseGroup:
    """``[database]``: the cell database's SQLAlchemy URL (not in ``repr``: a password may be)."""

    connection: str = field(default="sqlite:////var/lib/consoled/consoled.sqlite", repr=False)


@frozen
class ConsoleAuth:
    """``[consoleauth]``: the life of a token, in seconds."""

    token_ttl: int = 600


@frozen
class Libvirt:
    """``[libvirt]``.

    :ivar uri: the connection URI.
    :ivar default_project: the project of domains without nova metadata, or None (admins only).
    """

    uri: str = "qemu:///system"
    default_project: str | None = None


@frozen
class Static:
    """``[static]``: the YAML inventory of the static driver."""

    inventory: Path = Path("/etc/consoled/inventory.yaml")


@frozen
class Proxy:
    """``[proxy]``: bounds of the relay, and the peers whose X-Forwarded headers count.

    :ivar connect_timeout: seconds to reach a console.
    :ivar stall_timeout: seconds that a stalled viewer may hold the guest.
    :ivar ping_interval: seconds between WebSocket pings.
    :ivar ping_timeout: seconds without a pong until a viewer counts as gone.
    :ivar max_sessions: sessions at once; further ones are refused early.
    :ivar trusted_proxies: addresses or networks of load balancers.
    """

    connect_timeout: float = 10.0
    stall_timeout: float = 15.0
    ping_interval: float = 15.0
    ping_timeout: float = 15.0
    max_sessions: int = 5000
    trusted_proxies: tuple[str, ...] = ()


@frozen
class OsloPolicy:
    """``[oslo_policy]``: a file of overridden rules, or None."""

    policy_file: Path | None = None


@frozen
class Settings:
    """One cell's whole configuration."""

    cell: str
    default: Default = Default()
    serial_console: SerialConsole = SerialConsole()
    console: ConsoleGroup = ConsoleGroup()
    api: Api = Api()
    database: DatabaseGroup = DatabaseGroup()
    consoleauth: ConsoleAuth = ConsoleAuth()
    libvirt: Libvirt = Libvirt()
    static: Static = Static()
    proxy: Proxy = Proxy()
    oslo_policy: OsloPolicy = OsloPolicy()

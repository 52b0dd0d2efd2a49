"""The configuration as frozen values; consoled.options reads it from files.

Names and defaults of :class:`SerialConsole` are those of the serial-ports
specification, of the others nova's where nova has them.
"""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from consoled.compute.port_range import PortRange

DEFAULT_PORTS = PortRange(((10000, 20000),))
"""nova's own range (``[serial_console] port_range``)."""


@frozen
class Default:
    """``[DEFAULT]``.

    :ivar driver: ``libvirt`` or ``static``.
    :ivar console_tokens_backend: ``database``, ``memcached`` or ``nova``.
    :ivar state_path: the folder for everything that the daemon writes.
    """

    driver: str = "libvirt"
    console_tokens_backend: str = "database"
    state_path: Path = Path("/var/lib/consoled")
    debug: bool = False


@frozen
class SerialConsole:
    """``[serial_console]``, the specification's group.

    :ivar port_range: the ports that consoles are given.
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
    port_range: PortRange = DEFAULT_PORTS
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
    """``[consoleauth]``: the life of a token and of its sessions, in seconds.

    :ivar single_use: whether a token opens one session only.
    :ivar enforce_session_timeout: whether a session ends when its token expires.
    :ivar max_session: the longest session; 0 is without end.
    :ivar idle_timeout: the longest time without input; 0 is without end.
    """

    token_ttl: int = 600
    single_use: bool = False
    enforce_session_timeout: bool = False
    max_session: float = 0.0
    idle_timeout: float = 0.0


@frozen
class Nova:
    """``[nova]``: the SQLAlchemy URL of a nova cell database, or None (not in ``repr``)."""

    connection: str | None = field(default=None, repr=False)


@frozen
class Cache:
    """``[cache]``: memcached servers, as python-memcached names them."""

    memcache_servers: tuple[str, ...] = ()


@frozen
class Workarounds:
    """``[workarounds]``: whether tokens of the retired consoleauth service are taken too."""

    enable_consoleauth: bool = False


@frozen
class Libvirt:
    """``[libvirt]``.

    :ivar uri: the connection URI.
    :ivar default_project: the project of domains without nova metadata, or None (admins only).
    :ivar chardev_tls_ca: who vouches for consoles' ports that speak TLS, or None.
    :ivar chardev_tls_cert: the certificate that consoled shows there, or None.
    :ivar chardev_tls_key: its private key where that is not in ``chardev_tls_cert``.
    :ivar chardev_tls_verify_name: the name in the hosts' certificates, or None for the address
        that is dialled.
    """

    uri: str = "qemu:///system"
    default_project: str | None = None
    chardev_tls_ca: Path | None = None
    chardev_tls_cert: Path | None = None
    chardev_tls_key: Path | None = None
    chardev_tls_verify_name: str | None = None


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
    :ivar max_handshakes: WebSocket handshakes on their way at once; further ones are refused.
    :ivar trusted_proxies: addresses or networks of load balancers.
    :ivar linger: seconds that a console waits for a viewer whose connection broke.
    :ivar paste_rate: bytes of input a second that go to a guest; 0 is without limit.
    :ivar replica_url: where the cell's other replicas reach this proxy, or None.
    :ivar replica_ca: the certificates that vouch for the others' addresses, or None for the
        system's.
    """

    connect_timeout: float = 10.0
    stall_timeout: float = 15.0
    ping_interval: float = 12.0
    ping_timeout: float = 12.0
    max_sessions: int = 5000
    max_handshakes: int = 1000
    trusted_proxies: tuple[str, ...] = ()
    linger: float = 30.0
    paste_rate: int = 11_520
    replica_url: str | None = None
    replica_ca: Path | None = None


@frozen
class Recording:
    """``[recording]``: how sessions are recorded where ``[serial_console] record`` is on.

    :ivar mode: ``strict`` ends a session that cannot be recorded, ``best_effort`` does not.
    :ivar input: whether input that the guest echoes is recorded too.
    :ivar headroom: bytes of the disk that recordings leave free.
    :ivar keep_days: days after its end that a recording is kept; 0 is without end.
    :ivar keep_bytes: bytes that the recordings of a host may take; 0 is without bound.
    :ivar key_file: the key of the recordings' hash chains, or None.
    """

    mode: str = "strict"
    input: bool = False
    headroom: int = 268_435_456
    keep_days: float = 0.0
    keep_bytes: int = 0
    key_file: Path | None = None


@frozen
class OsloPolicy:
    """``[oslo_policy]``: a file of overridden rules, or None."""

    policy_file: Path | None = None


@frozen
class Metrics:
    """``[metrics]``: the listener for a monitoring system.

    :ivar port: 0 takes a free one; None is no listener.
    """

    listen: str = "127.0.0.1"
    port: int | None = 9184


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
    nova: Nova = Nova()
    cache: Cache = Cache()
    workarounds: Workarounds = Workarounds()
    libvirt: Libvirt = Libvirt()
    static: Static = Static()
    proxy: Proxy = Proxy()
    recording: Recording = Recording()
    oslo_policy: OsloPolicy = OsloPolicy()
    metrics: Metrics = Metrics()

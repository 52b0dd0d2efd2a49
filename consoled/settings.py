"""The configuration as frozen values; consoled.options reads it from files.

Names and defaults of :class:`SerialConsole` are those of the serial-ports
specification, of the others nova's where nova has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from consoled.compute.port_range import PortRange
from consoled.reaching.commands import ProxyCommand

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

    :ivar ws_base_url: the URL that clients of the compute API are given; see :attr:`socket_url`.
    :ivar port_range: the ports that consoles are given.
    :ivar cert: the certificate file where TLS is on, else None.
    :ivar key: the key file where TLS is on and the key is not in ``cert``.
    :ivar web: a folder that is served instead of the built-in page, or None.
    :ivar listen: the address to listen on, resolved (``::`` by default under source_is_ipv6).
    """

    enabled: bool = False
    base_url: str = "http://127.0.0.1:6083/serial.html"
    ws_base_url: str | None = None
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

    @property
    def socket_url(self) -> str:
        """Where clients of the compute API dial: ``ws_base_url``, else ``base_url``'s server."""
        if self.ws_base_url is not None:
            return self.ws_base_url
        page = urlsplit(self.base_url)
        return f"{'wss' if page.scheme in ('https', 'wss') else 'ws'}://{page.netloc}/"


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
class Keystone:
    """``[keystone_authtoken]``, which keystonemiddleware reads for itself.

    :ivar conf: the whole configuration as oslo.config has it (not in ``repr``: passwords are in
        it); None where ``[api] auth_strategy`` is another one.
    """

    conf: Any = field(default=None, repr=False, eq=False)


@frozen
class ServiceUser:
    """``[service_user]``: consoled's own user towards OpenStack's other services.

    :ivar send_service_user_token: whether its token goes beside a user's.
    :ivar token_secret_file: what kept users' tokens are encrypted with, or None.
    :ivar region_name: the region whose services are asked, or None for the catalog's first.
    :ivar valid_interfaces: of a service's endpoints, the likeliest first.
    :ivar timeout: seconds that a service may be silent.
    :ivar conf: the whole configuration as oslo.config has it (not in ``repr``: passwords are in
        it); None where the section does not say who logs in.
    """

    send_service_user_token: bool = False
    token_secret_file: Path | None = None
    region_name: str | None = None
    valid_interfaces: tuple[str, ...] = ("internal", "public")
    timeout: float = 30.0
    conf: Any = field(default=None, repr=False, eq=False)


@frozen
class CellSite:
    """Another cell of the deployment: ``[cell:NAME]``.

    :ivar api_url: where its API is, without a slash at its end.
    :ivar cafile: the certificates that vouch for it, or None for the system's.
    """

    name: str
    api_url: str
    cafile: Path | None = None


@frozen
class Cells:
    """``[cells]``.

    :ivar sites: the other cells.
    :ivar timeout: seconds until another cell's answer has to be here.
    :ivar check_interval: seconds between two looks at each.
    """

    sites: tuple[CellSite, ...] = ()
    timeout: float = 10.0
    check_interval: float = 5.0


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
class LibvirtHost:
    """One compute host: ``[libvirt:NAME]``, or the one that ``[libvirt] uri`` leads to.

    :ivar name: that of its instances and ports; None is libvirt's own word.
    :ivar uri: the connection URI.
    :ivar proxyclient_address: where its ports listen and are dialled.
    :ivar port_range: the ports that its consoles are given.
    :ivar live_migration_uri: how other hosts' libvirt reaches it; None is its ``uri``.
    :ivar live_migration_inbound_addr: where it takes the memory of guests that migrate to it;
        None leaves that to libvirt.
    """

    name: str | None
    uri: str
    proxyclient_address: str
    port_range: PortRange
    live_migration_uri: str | None = None
    live_migration_inbound_addr: str | None = None

    @property
    def label(self) -> str:
        """What it is called in figures and threads, before libvirt has said its name."""
        return self.name or "libvirt"


@frozen
class Libvirt:
    """``[libvirt]``.

    :ivar uri: the connection URI of the one compute host where ``hosts`` is empty.
    :ivar hosts: several compute hosts, each from a section of its own.
    :ivar default_project: the project of domains without nova metadata, or None (admins only).
    :ivar live_migration_with_native_tls: whether migrating guests' memory goes over TLS.
    :ivar chardev_tls_ca: who vouches for consoles' ports that speak TLS, or None.
    :ivar chardev_tls_cert: the certificate that consoled shows there, or None.
    :ivar chardev_tls_key: its private key where that is not in ``chardev_tls_cert``.
    :ivar chardev_tls_verify_name: the name in the hosts' certificates, or None for the address
        that is dialled.
    """

    uri: str = "qemu:///system"
    hosts: tuple[LibvirtHost, ...] = ()
    default_project: str | None = None
    live_migration_with_native_tls: bool = False
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
    :ivar recheck_interval: seconds between looks at whether users still have their right; 0 never
        looks.
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
    recheck_interval: float = 1800.0
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
    :ivar archive: ``glance`` brings them there when their session is over, ``none`` nowhere.
    :ivar archive_window: seconds from a session's beginning that its user's token is kept for it.
    """

    mode: str = "strict"
    input: bool = False
    headroom: int = 268_435_456
    keep_days: float = 0.0
    keep_bytes: int = 0
    key_file: Path | None = None
    archive: str = "none"
    archive_window: float = 172_800.0


@frozen
class SSHNode:
    """One node of ``[ssh_proxy] nodes``.

    :ivar host: its name or IP address, without brackets.
    """

    user: str
    host: str
    port: int = 22


@frozen
class SSHProxy:
    """``[ssh_proxy]``: the nodes over which consoles and instances are reached.

    :ivar nodes: those that lead to everything in the cell which nothing nearer leads to.
    :ivar group: the node group that does so instead, by its name.
    :ivar key_file: the private key for ``nodes``, or None for an agent's.
    :ivar key_passphrase_file: the file with its passphrase, or None.
    :ivar known_hosts: the host keys of ``nodes``, or None.
    :ivar method: ``auto``, ``direct`` or ``nc``: how a node is asked for a connection.
    :ivar proxy_command: the way to the first node, or None for TCP.
    :ivar keys_dir: the folder of the private keys that node groups name, or None.
    :ivar secret_key_file: what secrets in the database are encrypted with, or None.
    :ivar allowed_networks: where hosts may be that are members of node groups.
    :ivar linger: seconds that a connection without channels is kept.
    :ivar connect_timeout: seconds for one way: its nodes, the logins, the target's answer.
    :ivar keepalive_interval: seconds between two questions whether a node is there.
    :ivar keepalive_count: questions without an answer after which a node counts as gone.
    :ivar max_channels: channels of one connection; the next one goes over a further connection.
    :ivar retry_after: seconds that a node which failed is tried last.
    """

    nodes: tuple[SSHNode, ...] = ()
    group: str | None = None
    key_file: Path | None = None
    key_passphrase_file: Path | None = None
    known_hosts: Path | None = None
    method: str = "auto"
    proxy_command: ProxyCommand | None = None
    keys_dir: Path | None = None
    secret_key_file: Path | None = None
    allowed_networks: tuple[str, ...] = ()
    linger: float = 60.0
    connect_timeout: float = 4.0
    keepalive_interval: float = 10.0
    keepalive_count: int = 2
    max_channels: int = 200
    retry_after: float = 30.0


@frozen
class ToInstances:
    """What is reached on instances over the API.

    :ivar allowed_ports: the instances' ports that may be reached; None is none.
    :ivar allowed_networks: where instances' addresses may be; none is everywhere but where no
        guest is.
    :ivar connect_timeout: seconds to connect to an instance.
    :ivar max_connections: how many at once; further ones are refused.
    """

    allowed_ports: PortRange | None = None
    allowed_networks: tuple[str, ...] = ()
    connect_timeout: float = 10.0
    max_connections: int = 500


@frozen
class HttpProxy(ToInstances):
    """``[http_proxy]``: HTTP to instances.

    :ivar idle_timeout: seconds without a byte either way until a request is given up.
    """

    idle_timeout: float = 300.0


@frozen
class Forward(ToInstances):
    """``[forward]``: TCP to instances.

    :ivar idle_timeout: seconds without a byte until a tunnel ends; 0 is without end.
    """

    idle_timeout: float = 0.0


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
    keystone: Keystone = Keystone()
    service_user: ServiceUser = ServiceUser()
    cells: Cells = Cells()
    database: DatabaseGroup = DatabaseGroup()
    consoleauth: ConsoleAuth = ConsoleAuth()
    nova: Nova = Nova()
    cache: Cache = Cache()
    workarounds: Workarounds = Workarounds()
    libvirt: Libvirt = Libvirt()
    static: Static = Static()
    proxy: Proxy = Proxy()
    recording: Recording = Recording()
    ssh_proxy: SSHProxy = SSHProxy()
    http_proxy: HttpProxy = HttpProxy()
    forward: Forward = Forward()
    oslo_policy: OsloPolicy = OsloPolicy()
    metrics: Metrics = Metrics()

    @property
    def compute_hosts(self) -> tuple[LibvirtHost, ...]:
        """The compute hosts of ``driver = libvirt``, at least one."""
        proxy = self.serial_console
        one = LibvirtHost(None, self.libvirt.uri, proxy.proxyclient_address, proxy.port_range)
        return self.libvirt.hosts or (one,)

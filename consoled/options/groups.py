"""Every option, with the help text that an operator reads in the sample file.

Names and defaults of ``[serial_console]`` are the serial-ports specification's;
those of the other groups are nova's where nova has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oslo_config import cfg
from oslo_config.types import ConfigType

from consoled import values
from consoled.options.tls import check_ciphers


class Checked(ConfigType):
    """An oslo.config type around a rule of :mod:`consoled.values`."""

    def __init__(self, parse: Callable[[str], Any], type_name: str) -> None:
        super().__init__(type_name=type_name)
        self.parse = parse

    def __call__(self, value: Any) -> Any:
        """What Settings holds for that text (or native default).

        :raises ValueError: a sentence that finishes ``option = value: ...``.
        """
        return self.parse(self._formatter(value))

    def _formatter(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list | tuple):
            return ", ".join(str(item) for item in value)
        return str(value)


def _flag() -> ConfigType:
    return Checked(values.boolean, "true or false")


def _port() -> ConfigType:
    return Checked(values.whole(0, 65535), "port")


def _path() -> ConfigType:
    return Checked(values.path, "path")


def _optional_path() -> ConfigType:
    return Checked(values.optional(values.path), "path, or empty")


def _list(parse: Callable[[str], str], of: str) -> ConfigType:
    return Checked(values.items(parse), f"list of {of} between commas")


def _seconds(lowest: float, highest: float) -> ConfigType:
    return Checked(values.number(lowest, highest, "seconds"), "seconds")


def _from_nova(name: str, group: str) -> list[cfg.DeprecatedOpt]:
    return [cfg.DeprecatedOpt(name, group=group)]


DEFAULT = [
    cfg.Opt(
        "driver",
        type=Checked(values.choice("libvirt", "static"), "libvirt or static"),
        default="libvirt",
        help="Where instances and their consoles come from. libvirt: the domains of a "
        "hypervisor, see [libvirt]. static: a YAML file of plain TCP consoles such as terminal "
        "servers, see [static].",
    ),
    cfg.Opt(
        "console_tokens_backend",
        type=Checked(values.choice("database", "memcached", "nova"), "database, memcached or nova"),
        default="database",
        help="Where console tokens are kept. database: in the cell database. nova: in nova's own "
        "table, see [nova]; with it consoled stands in for nova-serialproxy. memcached "
        "(deprecated): as nova's retired consoleauth service kept them, see [cache]; what "
        "memcached loses is lost.",
    ),
    cfg.Opt(
        "state_path",
        type=_path(),
        default="/var/lib/consoled",
        help="The folder for everything that the daemon writes. Other options can refer to it as "
        "$state_path. A relative path, here and in every other option, is taken from the current "
        "directory at start.",
    ),
    cfg.Opt(
        "debug",
        type=_flag(),
        default=False,
        help="Whether debug messages are logged too.",
    ),
]

SERIAL_CONSOLE = [
    cfg.Opt(
        "enabled",
        type=_flag(),
        default=False,
        help="Whether there are consoles at all. While false, the proxy port stays closed and "
        "creating a console is refused.",
    ),
    cfg.Opt(
        "base_url",
        type=Checked(values.base_url, "URL"),
        default="http://127.0.0.1:6083/serial.html",
        help="The URL of the proxy as browsers reach it, through a load balancer where there is "
        "one: http(s):// for the page, or ws(s):// for WebSocket clients only. A console's URL is "
        "this one with ?token=... after it.",
    ),
    cfg.Opt(
        "listen",
        type=Checked(values.ip_address, "IP address"),
        default="0.0.0.0",
        deprecated_opts=_from_nova("serialproxy_host", "serial_console"),
        help="The IP address that the proxy listens on. Where it is not set and source_is_ipv6 is "
        "true, it is ::.",
    ),
    cfg.Opt(
        "port",
        type=_port(),
        default=6083,
        deprecated_opts=_from_nova("serialproxy_port", "serial_console"),
        help="The port that the proxy listens on; 0 takes any free one.",
    ),
    cfg.Opt(
        "proxyclient_address",
        type=Checked(values.host, "host name or IP address"),
        default="127.0.0.1",
        help="The address of the compute host on which the proxy reaches its serial ports.",
    ),
    cfg.Opt(
        "port_range",
        type=Checked(values.port_range, "START:STOP, ..."),
        default="10000:20000",
        help="The TCP ports of a compute host that serial consoles are given, from START up to "
        "but not including STOP; several segments between commas, such as "
        "10000:10500,12000:12500. Keep them reachable from the proxy only, and give no part of "
        "them to nova on the same host, which keeps books of its own.",
    ),
    cfg.Opt(
        "record",
        type=_flag(),
        default=False,
        deprecated_opts=_from_nova("record", "DEFAULT"),
        help="Whether sessions are recorded.",
    ),
    cfg.Opt(
        "daemon",
        type=_flag(),
        default=False,
        deprecated_opts=_from_nova("daemon", "DEFAULT"),
        help="Whether the process goes to the background (as twistd does without -n).",
    ),
    cfg.Opt(
        "ssl_only",
        type=_flag(),
        default=False,
        deprecated_opts=_from_nova("ssl_only", "DEFAULT"),
        help="Whether connections without TLS are refused. TLS is on when this is true or cert is "
        "set; without ssl_only the port then takes TLS and plain connections.",
    ),
    cfg.Opt(
        "source_is_ipv6",
        type=_flag(),
        default=False,
        deprecated_opts=_from_nova("source_is_ipv6", "DEFAULT"),
        help="Whether the proxy listens on IPv6 only. An IPv4 address in listen is then an error.",
    ),
    cfg.Opt(
        "cert",
        type=_path(),
        default="self.pem",
        deprecated_opts=_from_nova("cert", "DEFAULT"),
        help="The PEM file with the certificate, followed by its chain. Setting it switches TLS "
        "on. The default name is read only where ssl_only is true.",
    ),
    cfg.Opt(
        "key",
        type=_optional_path(),
        deprecated_opts=_from_nova("key", "DEFAULT"),
        help="The PEM file with the certificate's private key, not encrypted. Empty: the key "
        "stands in the cert file too. Read only where TLS is on.",
    ),
    cfg.Opt(
        "web",
        type=_optional_path(),
        default="/usr/share/serialproxy-static",
        deprecated_opts=_from_nova("web", "DEFAULT"),
        help="A folder that is served instead of the built-in page. Where the default folder does "
        "not exist, or this is empty, the built-in page is served; any other folder must exist.",
    ),
]

CONSOLE = [
    cfg.Opt(
        "allowed_origins",
        type=_list(values.origin_or_host, "origins or host names"),
        default=[],
        help="Whose pages may open consoles besides the page at base_url: full origins such as "
        "https://dashboard.example.org, or host names (which allow every port).",
    ),
    cfg.Opt(
        "allowed_hosts",
        type=_list(values.host, "host names"),
        default=[],
        help="Names by which browsers reach the proxy (the Host header) besides the one in "
        "base_url. Names only, without ports.",
    ),
    cfg.Opt(
        "allow_missing_origin",
        type=_flag(),
        default=True,
        help="Whether clients that send no Origin may connect. Browsers always send one, other "
        "clients seldom.",
    ),
    cfg.Opt(
        "frame_ancestors",
        type=_list(values.frame_ancestor, "origins"),
        default=[],
        help="Origins of dashboards whose pages may show the console page in a frame, such as "
        "https://dashboard.example.org; self stands for the proxy's own. Empty: none may.",
    ),
    cfg.Opt(
        "ssl_ciphers",
        type=Checked(values.optional(lambda value: check_ciphers(values.text(value))), "list"),
        help="The ciphers of TLS 1.2, in OpenSSL's cipher list form. Empty: a safe selection.",
    ),
    cfg.Opt(
        "ssl_minimum_version",
        type=Checked(values.choice("default", "tlsv1_2", "tlsv1_3"), "default, tlsv1_2 or tlsv1_3"),
        default="default",
        help="The oldest TLS version that is spoken; default is tlsv1_2.",
    ),
]

API = [
    cfg.Opt(
        "listen",
        type=Checked(values.ip_address, "IP address"),
        default="127.0.0.1",
        help="The IP address that the REST API listens on.",
    ),
    cfg.Opt(
        "port",
        type=_port(),
        default=8774,
        help="The port that the REST API listens on; 0 takes any free one.",
    ),
    cfg.Opt(
        "auth_strategy",
        type=Checked(values.choice("static"), "static"),
        default="static",
        help="How callers of the API are known. static: by the keys in keys_file, sent as "
        "X-Auth-Token.",
    ),
    cfg.Opt(
        "keys_file",
        type=_path(),
        default="$state_path/keys.yaml",
        help="The keys of auth_strategy = static, a YAML list; only its owner may have access to "
        "it (mode 0600). Where it does not exist, the first start makes one with an "
        "administrator's key.",
    ),
    cfg.Opt(
        "cert",
        type=_optional_path(),
        help="The PEM file with the API's certificate, followed by its chain. Empty: the API "
        "speaks plain HTTP.",
    ),
    cfg.Opt(
        "key",
        type=_optional_path(),
        help="The PEM file with the certificate's private key, not encrypted. Empty: the key "
        "stands in the cert file too.",
    ),
]

DATABASE = [
    cfg.Opt(
        "connection",
        type=Checked(values.text, "SQLAlchemy URL"),
        default="sqlite:///$state_path/consoled.sqlite",
        secret=True,
        help="The cell database as a SQLAlchemy URL, for example "
        "postgresql+psycopg://USER:PASSWORD@HOST/NAME. Several daemons of one cell need "
        "PostgreSQL or MariaDB. Write $ as $$, and in a password @ as %40.",
    ),
]

CONSOLEAUTH = [
    cfg.Opt(
        "token_ttl",
        type=Checked(values.whole(1, 31_536_000, "seconds"), "seconds"),
        default=600,
        help="How long a console's URL can be opened after it was given out, in seconds.",
    ),
    cfg.Opt(
        "single_use",
        type=_flag(),
        default=False,
        help="Whether a console's URL opens one session only. A page that reloads or loses its "
        "connection still comes back to its own session. Not with the nova and memcached backends.",
    ),
    cfg.Opt(
        "enforce_session_timeout",
        type=_flag(),
        default=False,
        help="Whether a session ends when the URL that it was opened with expires.",
    ),
    cfg.Opt(
        "max_session",
        type=_seconds(0, 31_536_000),
        default=0.0,
        help="How long a session may last, in seconds; 0: as long as its viewer wants. The page "
        "warns a minute before.",
    ),
    cfg.Opt(
        "idle_timeout",
        type=_seconds(0, 31_536_000),
        default=0.0,
        help="How long a session may be without input from its viewer, in seconds; 0: without "
        "end. The page warns a minute before.",
    ),
]

NOVA = [
    cfg.Opt(
        "connection",
        type=Checked(values.optional(values.text), "SQLAlchemy URL, or empty"),
        secret=True,
        help="A nova cell database as a SQLAlchemy URL, as in [database] connection of nova.conf, "
        "for console_tokens_backend = nova. consoled reads its instances, and reads and writes "
        "its console_auth_tokens.",
    ),
]

CACHE = [
    cfg.Opt(
        "memcache_servers",
        type=_list(values.memcache_server, "host:port"),
        default=[],
        help="The memcached servers of console_tokens_backend = memcached and of "
        "enable_consoleauth, in the order of nova's own [cache] memcache_servers: it decides "
        "which server has which token.",
    ),
]

WORKAROUNDS = [
    cfg.Opt(
        "enable_consoleauth",
        type=_flag(),
        default=False,
        help="Whether a token that the backend does not have is looked for in memcached too, "
        "where nova's retired consoleauth service kept them. For the time of a change: new tokens "
        "go to the backend only. SIGHUP switches it, and no session ends by that. With "
        "console_tokens_backend = memcached it changes nothing.",
    ),
]

LIBVIRT = [
    cfg.Opt(
        "uri",
        type=Checked(values.uri, "libvirt URI"),
        default="qemu:///system",
        help="The hypervisor of driver = libvirt.",
    ),
    cfg.Opt(
        "default_project",
        type=Checked(values.optional(values.text), "project id, or empty"),
        help="The project that owns domains which nova did not make. Empty: only administrators "
        "reach their consoles.",
    ),
    cfg.Opt(
        "chardev_tls_ca",
        type=_optional_path(),
        help="The PEM file with the certificates of the authorities that vouch for compute hosts "
        "whose serial ports speak TLS (tls='yes' in the domain's XML, or tls in the inventory of "
        "the static driver). Empty: such consoles cannot be opened. This file and the next two "
        "are read again on SIGHUP.",
    ),
    cfg.Opt(
        "chardev_tls_cert",
        type=_optional_path(),
        help="The PEM file with the certificate that consoled shows to these ports, followed by "
        "its chain. QEMU asks for one unless chardev_tls_x509_verify is 0 in its qemu.conf.",
    ),
    cfg.Opt(
        "chardev_tls_key",
        type=_optional_path(),
        help="The PEM file with the private key of chardev_tls_cert, not encrypted. Empty: the "
        "key stands in the certificate's file too.",
    ),
    cfg.Opt(
        "chardev_tls_verify_name",
        type=Checked(values.optional(values.host), "host name or IP address, or empty"),
        help="The name or IP address that the certificates of these ports are for. Empty: the "
        "address at which the port is reached. Set it only where all hosts share one name.",
    ),
]

STATIC = [
    cfg.Opt(
        "inventory",
        type=_path(),
        default="/etc/consoled/inventory.yaml",
        help="The YAML file of instances and their consoles for driver = static. It is read again "
        "on SIGHUP.",
    ),
]

PROXY = [
    cfg.Opt(
        "connect_timeout",
        type=_seconds(0.1, 300),
        default=10.0,
        help="How long reaching a console may take, in seconds.",
    ),
    cfg.Opt(
        "stall_timeout",
        type=_seconds(0.1, 3600),
        default=15.0,
        help="How long a viewer that takes no output may hold up the guest, in seconds. Then the "
        "viewer is disconnected.",
    ),
    cfg.Opt(
        "ping_interval",
        type=_seconds(0.1, 3600),
        default=12.0,
        help="The time between two WebSocket pings, in seconds. Keep it below the idle time-outs "
        "of load balancers.",
    ),
    cfg.Opt(
        "ping_timeout",
        type=_seconds(0.1, 3600),
        default=12.0,
        help="How long a viewer may leave a ping unanswered until it counts as gone, in seconds.",
    ),
    cfg.Opt(
        "max_sessions",
        type=Checked(values.whole(1, 1_000_000), "number"),
        default=5000,
        help="How many sessions may be open at once, those that wait for their viewer included. "
        "To a further one the session gives way that has waited longest; where none waits, the "
        "further one is refused.",
    ),
    cfg.Opt(
        "max_handshakes",
        type=Checked(values.whole(1, 1_000_000), "number"),
        default=1000,
        help="How many WebSockets may be opening at once; further ones are refused with 503 before "
        "anything is asked of the database.",
    ),
    cfg.Opt(
        "trusted_proxies",
        type=_list(values.ip_network, "IP addresses or networks"),
        default=[],
        help="Load balancers whose X-Forwarded-* headers are believed, such as 10.0.0.1 or "
        "10.1.0.0/16.",
    ),
    cfg.Opt(
        "linger",
        type=_seconds(0, 86_400),
        default=30.0,
        help="How long a console is kept for a viewer whose connection broke, in seconds: one that "
        "comes back finds it as it was. Somebody else who asks for it gets it at once.",
    ),
    cfg.Opt(
        "paste_rate",
        type=Checked(values.whole(0, 1_000_000_000, "bytes a second"), "bytes a second"),
        default=11_520,
        help="How fast pasted text goes to a guest, in bytes a second, so that the guest loses "
        "none; the default is the speed of a serial line of 115,200 baud. What is typed is not "
        "held back. 0: as fast as the console takes it.",
    ),
    cfg.Opt(
        "replica_url",
        type=Checked(values.optional(values.replica_url), "http or https URL, or empty"),
        help="Where the cell's other replicas reach this proxy, such as http://10.0.0.11:6083: a "
        "viewer that a load balancer sends to another replica is relayed here. Needed with "
        "several replicas over one database.",
    ),
    cfg.Opt(
        "replica_ca",
        type=_optional_path(),
        help="A file of the certificates that vouch for https addresses of other replicas. Empty: "
        "the system's.",
    ),
]

RECORDING = [
    cfg.Opt(
        "mode",
        type=Checked(values.choice("strict", "best_effort"), "strict or best_effort"),
        default="strict",
        help="What happens to a session that cannot be recorded. strict: it ends, and its viewer "
        "is told why. best_effort: it goes on, and its viewer and the log are told once.",
    ),
    cfg.Opt(
        "input",
        type=_flag(),
        default=False,
        help="Whether input is recorded too. Only lines that the guest echoes are: a password "
        "leaves a marker instead.",
    ),
    cfg.Opt(
        "headroom",
        type=Checked(values.whole(0, 1 << 60, "bytes"), "bytes"),
        default=268_435_456,
        help="How many bytes of the disk recordings leave free. With less, none begins and those "
        "that are open stop.",
    ),
    cfg.Opt(
        "keep_days",
        type=Checked(values.number(0, 36_500, "days"), "days"),
        default=0.0,
        help="How many days after its end a recording is kept; 0: without end.",
    ),
    cfg.Opt(
        "keep_bytes",
        type=Checked(values.whole(0, 1 << 60, "bytes"), "bytes"),
        default=0,
        help="How many bytes the recordings of this host may take; with more, the oldest are "
        "deleted. 0: without bound.",
    ),
    cfg.Opt(
        "key_file",
        type=_optional_path(),
        help="A file with a secret of 32 bytes or more, for its owner only (mode 0600), that the "
        "recordings' hash chains are made with. `consolectl recording verify` needs it then, and "
        "whoever does not have it cannot alter a recording unseen. Keep a copy elsewhere.",
    ),
]

OSLO_POLICY = [
    cfg.Opt(
        "policy_file",
        type=_optional_path(),
        help="A YAML file of policy rules that replace the default ones. Empty: the defaults.",
    ),
]

METRICS = [
    cfg.Opt(
        "listen",
        type=Checked(values.ip_address, "IP address"),
        default="127.0.0.1",
        help="The IP address that figures and health are served on: /metrics for Prometheus, "
        "/healthz and /readyz. Nothing there is secret, and nobody is asked who they are.",
    ),
    cfg.Opt(
        "port",
        type=Checked(values.optional(values.whole(0, 65535)), "port, or empty"),
        default=9184,
        help="The port for it; 0 takes any free one. Empty: there is none. Several daemons on "
        "one machine need one each.",
    ),
]

_HELP = {
    "DEFAULT": "The daemon.",
    "serial_console": "The console proxy. Each option of this group is an option of "
    "`twistd consoled` too, which then wins over the file.",
    "console": "Who may embed and reach the console proxy, and its TLS.",
    "api": "The REST API.",
    "database": "The cell database.",
    "consoleauth": "Console tokens.",
    "nova": "nova's cell database, for console_tokens_backend = nova.",
    "cache": "memcached.",
    "workarounds": "For the time of a change.",
    "libvirt": "The libvirt driver.",
    "static": "The static driver.",
    "proxy": "Bounds of the relay between viewers and consoles.",
    "recording": "Recordings of sessions, where [serial_console] record is on.",
    "oslo_policy": "Who may do what.",
    "metrics": "What a monitoring system asks.",
}

_OPTIONS = {
    "DEFAULT": DEFAULT,
    "serial_console": SERIAL_CONSOLE,
    "console": CONSOLE,
    "api": API,
    "database": DATABASE,
    "consoleauth": CONSOLEAUTH,
    "nova": NOVA,
    "cache": CACHE,
    "workarounds": WORKAROUNDS,
    "libvirt": LIBVIRT,
    "static": STATIC,
    "proxy": PROXY,
    "recording": RECORDING,
    "oslo_policy": OSLO_POLICY,
    "metrics": METRICS,
}

GROUPS: Sequence[tuple[cfg.OptGroup, Sequence[cfg.Opt]]] = [
    (cfg.OptGroup(name, help=_HELP[name]), options) for name, options in _OPTIONS.items()
]
"""Every group with its options, in the order of the sample file."""


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """For oslo-config-generator: the entry point in ``oslo.config.opts``."""
    return [(group, list(options)) for group, options in GROUPS]


def register(conf: cfg.ConfigOpts) -> None:
    """Registers every option.

    By the groups' names: a registered OptGroup keeps the overrides that are set
    in it, and those of :data:`GROUPS` would carry them into the next load.
    """
    for group, options in GROUPS:
        conf.register_opts(options, group=None if group.name == "DEFAULT" else group.name)


def names_in_files(group: str, option: cfg.Opt) -> list[tuple[str, str]]:
    """The (section, key) under which files may set the option, oslo.config's first choice first."""
    return [
        (group, option.dest),
        *((old.group or group, old.name or option.dest) for old in option.deprecated_opts),
    ]


def known_names() -> dict[str, list[str]]:
    """The keys that each section may hold, deprecated ones last."""
    known: dict[str, list[str]] = {group.name: [] for group, _ in GROUPS}
    pairs = [names_in_files(group.name, option) for group, options in GROUPS for option in options]
    for section, key in [names[0] for names in pairs] + [n for names in pairs for n in names[1:]]:
        known[section].append(key)
    return known

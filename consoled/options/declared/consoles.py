"""Options of the console proxy: ``[serial_console]`` and ``[console]``."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import (
    Checked,
    flag,
    from_nova,
    listed,
    optional_path,
    path,
    port,
)
from consoled.options.tls import check_ciphers

SERIAL_CONSOLE = [
    cfg.Opt(
        "enabled",
        type=flag(),
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
        "ws_base_url",
        type=Checked(values.optional(values.ws_base_url), "WebSocket URL, or empty"),
        help="The same URL for clients of the compute API (openstack console url show --serial), "
        "which dial it themselves: ws(s)://HOST:PORT/. Empty: ws or wss, and the host and port of "
        "base_url.",
    ),
    cfg.Opt(
        "listen",
        type=Checked(values.ip_address, "IP address"),
        default="0.0.0.0",
        deprecated_opts=from_nova("serialproxy_host", "serial_console"),
        help="The IP address that the proxy listens on. Where it is not set and source_is_ipv6 is "
        "true, it is ::.",
    ),
    cfg.Opt(
        "port",
        type=port(),
        default=6083,
        deprecated_opts=from_nova("serialproxy_port", "serial_console"),
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
        type=flag(),
        default=False,
        deprecated_opts=from_nova("record", "DEFAULT"),
        help="Whether sessions are recorded.",
    ),
    cfg.Opt(
        "daemon",
        type=flag(),
        default=False,
        deprecated_opts=from_nova("daemon", "DEFAULT"),
        help="Whether the process goes to the background (as twistd does without -n).",
    ),
    cfg.Opt(
        "ssl_only",
        type=flag(),
        default=False,
        deprecated_opts=from_nova("ssl_only", "DEFAULT"),
        help="Whether connections without TLS are refused. TLS is on when this is true or cert is "
        "set; without ssl_only the port then takes TLS and plain connections.",
    ),
    cfg.Opt(
        "source_is_ipv6",
        type=flag(),
        default=False,
        deprecated_opts=from_nova("source_is_ipv6", "DEFAULT"),
        help="Whether the proxy listens on IPv6 only. An IPv4 address in listen is then an error.",
    ),
    cfg.Opt(
        "cert",
        type=path(),
        default="self.pem",
        deprecated_opts=from_nova("cert", "DEFAULT"),
        help="The PEM file with the certificate, followed by its chain. Setting it switches TLS "
        "on. The default name is read only where ssl_only is true.",
    ),
    cfg.Opt(
        "key",
        type=optional_path(),
        deprecated_opts=from_nova("key", "DEFAULT"),
        help="The PEM file with the certificate's private key, not encrypted. Empty: the key "
        "stands in the cert file too. Read only where TLS is on.",
    ),
    cfg.Opt(
        "web",
        type=optional_path(),
        default="/usr/share/serialproxy-static",
        deprecated_opts=from_nova("web", "DEFAULT"),
        help="A folder that is served instead of the built-in page. Where the default folder does "
        "not exist, or this is empty, the built-in page is served; any other folder must exist.",
    ),
]

CONSOLE = [
    cfg.Opt(
        "allowed_origins",
        type=listed(values.origin_or_host, "origins or host names"),
        default=[],
        help="Whose pages may open consoles besides the page at base_url: full origins such as "
        "https://dashboard.example.org, or host names (which allow every port).",
    ),
    cfg.Opt(
        "allowed_hosts",
        type=listed(values.host, "host names"),
        default=[],
        help="Names by which browsers reach the proxy (the Host header) besides the one in "
        "base_url. Names only, without ports.",
    ),
    cfg.Opt(
        "allow_missing_origin",
        type=flag(),
        default=True,
        help="Whether clients that send no Origin may connect. Browsers always send one, other "
        "clients seldom.",
    ),
    cfg.Opt(
        "frame_ancestors",
        type=listed(values.frame_ancestor, "origins"),
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

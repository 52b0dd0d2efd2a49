"""Options of the ways to instances: SSH servers, HTTP, TCP."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.forwarding.ports import parse_ports
from consoled.options import ssh
from consoled.options.declared.kinds import Checked, listed, optional_path, seconds

SSH_PROXY = [
    cfg.Opt(
        "nodes",
        type=Checked(ssh.nodes, "list of USER@HOST:PORT between commas"),
        default=[],
        help="SSH servers over which this cell's compute hosts and instances are reached, such as "
        "jump@10.0.0.5:22, jump@[2001:db8::5]:22 (the port is 22 where none is given). The first "
        "is the proxy, the next ones stand in for it. For what lies behind other nodes there are "
        "node groups. Empty, and no group: directly.",
    ),
    cfg.Opt(
        "group",
        type=Checked(values.optional(values.text), "name, or empty"),
        help="The name of a node group that is the cell's proxy, instead of nodes: with it the "
        "proxy can be an instance, or lie behind further ones.",
    ),
    cfg.Opt(
        "key_file",
        type=optional_path(),
        help="The private key to log in at nodes with (OpenSSH or PEM; ed25519, ecdsa or rsa), for "
        "its owner only (mode 0600). NAME-cert.pub beside NAME is its certificate. Empty: the keys "
        "of the agent that SSH_AUTH_SOCK names. It is read for each new connection.",
    ),
    cfg.Opt(
        "key_passphrase_file",
        type=optional_path(),
        help="A file with the passphrase of key_file, for its owner only (mode 0600). It is read "
        "again on SIGHUP.",
    ),
    cfg.Opt(
        "known_hosts",
        type=optional_path(),
        help="The host keys of nodes, as in OpenSSH's known_hosts, or keys alone. A host that "
        "shows another one is refused, nobody is asked. `consolectl ssh scan HOST` shows what to "
        "put here. It is read again on SIGHUP.",
    ),
    cfg.Opt(
        "method",
        type=Checked(values.choice("auto", "direct", "nc"), "auto, direct or nc"),
        default="auto",
        help="How a node is asked for a connection to something behind it. direct: forwarding "
        "(direct-tcpip). nc: `nc HOST PORT` is run there, which needs nc there. auto: direct, and "
        "nc where the server forbids that.",
    ),
    cfg.Opt(
        "proxy_command",
        type=Checked(values.optional(ssh.proxy_command), "command, or empty"),
        help="A program that is the way to the first node, instead of TCP: what it reads and "
        "writes is the connection. It is split into arguments as a shell does; then {host} and "
        "{port} of the node, and {tenant_id}, {network_id} and {router_id} of the instance are "
        "filled in, within their argument; {{ is a brace. No shell runs. Such as `ip netns exec "
        "qrouter-{router_id} nc {host} {port}`.",
    ),
    cfg.Opt(
        "keys_dir",
        type=optional_path(),
        help="The folder of the private keys that node groups may name. Empty: none may.",
    ),
    cfg.Opt(
        "secret_key_file",
        type=optional_path(),
        help="A file with what private keys and passphrases in the database are encrypted with, "
        "for its owner only (mode 0600): 32 bytes in base64 a line, as `openssl rand -base64 32` "
        "makes them. The first line encrypts, all decrypt. Every daemon of the cell needs the "
        "same. Empty: node groups can name files in keys_dir only.",
    ),
    cfg.Opt(
        "allowed_networks",
        type=listed(values.ip_network, "IP addresses or networks"),
        default=[],
        help="Where hosts may be that are members of node groups, such as 10.0.0.0/24. Empty: "
        "instances only.",
    ),
    cfg.Opt(
        "linger",
        type=seconds(0, 86_400),
        default=60.0,
        help="How long a connection to a node is kept when nothing goes over it, in seconds.",
    ),
    cfg.Opt(
        "connect_timeout",
        type=seconds(0.1, 300),
        default=4.0,
        help="How long one way may take, in seconds: to reach its nodes, to log in, and until the "
        "target answers. Below half of [proxy] connect_timeout there is time for a second way.",
    ),
    cfg.Opt(
        "keepalive_interval",
        type=seconds(0.1, 3600),
        default=10.0,
        help="The time between two questions to a node whether it is there, in seconds.",
    ),
    cfg.Opt(
        "keepalive_count",
        type=Checked(values.whole(1, 100), "number"),
        default=2,
        help="How many of them may go without an answer until the node counts as gone.",
    ),
    cfg.Opt(
        "max_channels",
        type=Checked(values.whole(1, 100_000), "number"),
        default=200,
        help="How many sessions go over one connection to a node; a further one gets a further "
        "connection. With nc, MaxSessions of the server's sshd_config (10) is such a bound too.",
    ),
    cfg.Opt(
        "retry_after",
        type=seconds(0, 86_400),
        default=30.0,
        help="How long a node that failed is tried after all others, in seconds.",
    ),
]

_PORTS = Checked(values.optional(parse_ports), "ports or START:STOP between commas, or empty")

_ALLOWED_NETWORKS = cfg.Opt(
    "allowed_networks",
    type=listed(values.ip_network, "IP addresses or networks"),
    default=[],
    help="Where instances' addresses may be that are dialled, such as 10.0.0.0/8. Empty: "
    "everywhere but at addresses of no guest: those of this machine, loopback, link-local and "
    "multicast ones. What is named here is allowed, whatever it is. A guest has a say in its "
    "addresses: name the guests' own networks where this machine reaches others.",
)

_CONNECT_TIMEOUT = cfg.Opt(
    "connect_timeout",
    type=seconds(0.1, 300),
    default=10.0,
    help="How long connecting to an instance may take, in seconds; past it the answer is 504.",
)

HTTP_PROXY = [
    cfg.Opt(
        "allowed_ports",
        type=_PORTS,
        default="",
        sample_default="80, 8000:8100",
        help="The ports of instances whose web services are reached over "
        "/v1/servers/{server_id}/http/{port}/ of the API (plain HTTP); a STOP is not used itself. "
        "Empty: none.",
    ),
    _ALLOWED_NETWORKS,
    _CONNECT_TIMEOUT,
    cfg.Opt(
        "idle_timeout",
        type=seconds(1, 86_400),
        default=300.0,
        help="How long a request may go without a byte either way, in seconds; past it the answer "
        "is 504, or breaks off.",
    ),
    cfg.Opt(
        "max_connections",
        type=Checked(values.whole(1, 1_000_000), "number"),
        default=500,
        help="How many such requests may be on their way at once; further ones are refused with "
        "503.",
    ),
]

FORWARD = [
    cfg.Opt(
        "allowed_ports",
        type=_PORTS,
        default="",
        sample_default="22, 5900:5910",
        help="The ports of instances that are reached over /v1/servers/{server_id}/tcp/{port} of "
        "the API, and so by `consolectl forward`; a STOP is not used itself. Empty: none.",
    ),
    _ALLOWED_NETWORKS,
    _CONNECT_TIMEOUT,
    cfg.Opt(
        "idle_timeout",
        type=seconds(0, 604_800),
        default=0.0,
        help="How long a tunnel may go without a byte until it ends, in seconds; 0: without end.",
    ),
    cfg.Opt(
        "max_connections",
        type=Checked(values.whole(1, 1_000_000), "number"),
        default=500,
        help="How many tunnels may be open at once; further ones are refused with 503.",
    ),
]

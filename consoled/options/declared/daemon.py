"""Options of the daemon as such: its API, database, policy and metrics."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, flag, optional_path, path, port

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
        type=path(),
        default="/var/lib/consoled",
        help="The folder for everything that the daemon writes. Other options can refer to it as "
        "$state_path. A relative path, here and in every other option, is taken from the current "
        "directory at start.",
    ),
    cfg.Opt(
        "debug",
        type=flag(),
        default=False,
        help="Whether debug messages are logged too.",
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
        type=port(),
        default=8774,
        help="The port that the REST API listens on; 0 takes any free one.",
    ),
    cfg.Opt(
        "auth_strategy",
        type=Checked(values.choice("static", "keystone"), "static or keystone"),
        default="static",
        help="How callers of the API are known. static: by the keys in keys_file, sent as "
        "X-Auth-Token. keystone: by Keystone's tokens, sent so too; the section "
        "[keystone_authtoken] says how it is asked, as in every OpenStack service.",
    ),
    cfg.Opt(
        "keys_file",
        type=path(),
        default="$state_path/keys.yaml",
        help="The keys of auth_strategy = static, a YAML list; only its owner may have access to "
        "it (mode 0600). Where it does not exist, the first start makes one with an "
        "administrator's key.",
    ),
    cfg.Opt(
        "cert",
        type=optional_path(),
        help="The PEM file with the API's certificate, followed by its chain. Empty: the API "
        "speaks plain HTTP.",
    ),
    cfg.Opt(
        "key",
        type=optional_path(),
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

OSLO_POLICY = [
    cfg.Opt(
        "policy_file",
        type=optional_path(),
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

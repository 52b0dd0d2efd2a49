"""Options of console tokens, and of where else they are kept."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, flag, listed, seconds

CONSOLEAUTH = [
    cfg.Opt(
        "token_ttl",
        type=Checked(values.whole(1, 31_536_000, "seconds"), "seconds"),
        default=600,
        help="How long a console's URL can be opened after it was given out, in seconds.",
    ),
    cfg.Opt(
        "single_use",
        type=flag(),
        default=False,
        help="Whether a console's URL opens one session only. A page that reloads or loses its "
        "connection still comes back to its own session. Not with the nova and memcached backends.",
    ),
    cfg.Opt(
        "enforce_session_timeout",
        type=flag(),
        default=False,
        help="Whether a session ends when the URL that it was opened with expires.",
    ),
    cfg.Opt(
        "max_session",
        type=seconds(0, 31_536_000),
        default=0.0,
        help="How long a session may last, in seconds; 0: as long as its viewer wants. The page "
        "warns a minute before.",
    ),
    cfg.Opt(
        "idle_timeout",
        type=seconds(0, 31_536_000),
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
        type=listed(values.memcache_server, "host:port"),
        default=[],
        help="The memcached servers of console_tokens_backend = memcached and of "
        "enable_consoleauth, in the order of nova's own [cache] memcache_servers: it decides "
        "which server has which token.",
    ),
]

WORKAROUNDS = [
    cfg.Opt(
        "enable_consoleauth",
        type=flag(),
        default=False,
        help="Whether a token that the backend does not have is looked for in memcached too, "
        "where nova's retired consoleauth service kept them. For the time of a change: new tokens "
        "go to the backend only. SIGHUP switches it, and no session ends by that. With "
        "console_tokens_backend = memcached it changes nothing.",
    ),
]

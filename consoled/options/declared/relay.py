"""Options of the relay between viewers and consoles, and of recordings."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, flag, listed, optional_path, seconds

PROXY = [
    cfg.Opt(
        "connect_timeout",
        type=seconds(0.1, 300),
        default=10.0,
        help="How long reaching a console may take, in seconds.",
    ),
    cfg.Opt(
        "stall_timeout",
        type=seconds(0.1, 3600),
        default=15.0,
        help="How long a viewer that takes no output may hold up the guest, in seconds. Then the "
        "viewer is disconnected.",
    ),
    cfg.Opt(
        "ping_interval",
        type=seconds(0.1, 3600),
        default=12.0,
        help="The time between two WebSocket pings, in seconds. Keep it below the idle time-outs "
        "of load balancers.",
    ),
    cfg.Opt(
        "ping_timeout",
        type=seconds(0.1, 3600),
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
        type=listed(values.ip_network, "IP addresses or networks"),
        default=[],
        help="Load balancers whose X-Forwarded-* headers are believed, such as 10.0.0.1 or "
        "10.1.0.0/16.",
    ),
    cfg.Opt(
        "linger",
        type=seconds(0, 86_400),
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
        "recheck_interval",
        type=seconds(0, 604_800),
        default=1800.0,
        help="How often Keystone is asked whether the users of open sessions still have their "
        "right, in seconds: a session whose user is disabled, or has lost the role or the "
        "project, ends. 0 never asks. Of use with auth_strategy = keystone only.",
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
        type=optional_path(),
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
        type=flag(),
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
        type=optional_path(),
        help="A file with a secret of 32 bytes or more, for its owner only (mode 0600), that the "
        "recordings' hash chains are made with. `consolectl recording verify` needs it then, and "
        "whoever does not have it cannot alter a recording unseen. Keep a copy elsewhere.",
    ),
    cfg.Opt(
        "archive",
        type=Checked(values.choice("none", "glance"), "none or glance"),
        default="none",
        help="Where recordings go to besides when their session is over. glance: each becomes a "
        "private image of its user's project; it needs [api] auth_strategy = keystone and "
        "[service_user] token_secret_file.",
    ),
    cfg.Opt(
        "archive_window",
        type=seconds(60, 2_592_000),
        default=172_800.0,
        help="How long from the beginning of a session its user's token is kept for the upload at "
        "most, in seconds. Longer than Keystone's own [token] allow_expired_window it is of no "
        "use.",
    ),
]

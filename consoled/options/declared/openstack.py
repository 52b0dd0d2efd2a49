"""Options of what consoled asks OpenStack's services with."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, flag, listed, optional_path, seconds

SERVICE_USER = [
    cfg.Opt(
        "send_service_user_token",
        type=flag(),
        default=False,
        help="Whether calls on a user's behalf carry a token of this section's user beside the "
        "user's own, so that they succeed after that has expired.",
    ),
    cfg.Opt(
        "token_secret_file",
        type=optional_path(),
        help="A file with what users' tokens are encrypted with that an operation must outlive, "
        "for its owner only (mode 0600): 32 bytes in base64 a line, as `openssl rand -base64 32` "
        "makes them. The first line encrypts, all decrypt. Every daemon of the cell needs the "
        "same. Empty: no token is kept, and such operations are left out.",
    ),
    cfg.Opt(
        "region_name",
        type=Checked(values.optional(values.text), "name, or empty"),
        help="The region whose services are asked. Empty: the catalog's first.",
    ),
    cfg.Opt(
        "valid_interfaces",
        type=listed(values.choice("public", "internal", "admin"), "public, internal or admin"),
        default=["internal", "public"],
        help="Which of a service's endpoints is asked: the first of these that the catalog has.",
    ),
    cfg.Opt(
        "timeout",
        type=seconds(1, 3600),
        default=30.0,
        help="How long a service may be silent until a question to it counts as failed, in "
        "seconds.",
    ),
]

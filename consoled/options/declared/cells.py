"""Options about the deployment's other cells."""

from __future__ import annotations

from oslo_config import cfg

from consoled import values
from consoled.options.declared.kinds import Checked, listed, optional_path, seconds

CELLS = [
    cfg.Opt(
        "names",
        type=listed(values.cell, "names"),
        default=[],
        help="The cells of the deployment, as --cell names each. What this cell does not have is "
        "asked of the others. Each has a section [cell:NAME]. The own one may be among them, so "
        "that all cells can share these sections.",
    ),
    cfg.Opt(
        "timeout",
        type=seconds(1, 300),
        default=10.0,
        help="Seconds until another cell's answer has to be here.",
    ),
    cfg.Opt(
        "check_interval",
        type=seconds(1, 3600),
        default=5.0,
        help="Seconds between two looks at each other cell. While a cell is away nobody waits for "
        "it, and what it may have is answered with 503.",
    ),
]

CELL = [
    cfg.Opt(
        "api_url",
        type=Checked(values.api_url, "http or https URL"),
        sample_default="https://cell2.example.org:8774",
        help="Where the cell's REST API is. Callers' tokens go there, so use https outside of a "
        "network of their own.",
    ),
    cfg.Opt(
        "cafile",
        type=optional_path(),
        sample_default="/etc/consoled/cell2-ca.pem",
        help="The PEM file with the certificates that vouch for an https api_url. Without it the "
        "system's.",
    ),
]
"""The options of a section of :data:`CELL_SECTION`."""

CELL_SECTION = "cell:"
"""What the sections of other cells begin with; the rest is the cell's name."""

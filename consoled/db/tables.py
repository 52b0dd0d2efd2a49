"""The tables of the cell database (docs: design, "Data").

SQLAlchemy Core only. The migrations repeat these definitions revision by revision;
a test compares the two. Times are whole seconds since the epoch in the database's own
clock, because only that clock is the same for every replica of a cell.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Exact comparison and four-byte UTF-8 on MariaDB, as the other two have by themselves.
_MARIADB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_bin",
}


def _of_instance(**options: Any) -> Column[Any]:
    return Column(
        "instance_uuid",
        String(36),
        ForeignKey("instances.uuid", ondelete="CASCADE"),
        nullable=False,
        **options,
    )


instances = Table(
    "instances",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("project_id", String(255)),
    Column("name", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("driver", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("metadata", JSON, nullable=False),
    **_MARIADB,
)
"""The instances of libvirt's domains, and those for which consoles were asked.

A row's end ends its consoles and tokens.
"""

console_ports = Table(
    "console_ports",
    metadata,
    _of_instance(primary_key=True),
    Column("console_type", String(32), primary_key=True),
    Column("port_index", Integer, primary_key=True, autoincrement=False),
    Column("host", String(255), nullable=False),
    Column("port", Integer),
    Column("generation", BigInteger, nullable=False),
    Column("options", JSON, nullable=False),
    UniqueConstraint("host", "port"),
    **_MARIADB,
)
"""The consoles, keyed (instance, type, index), and the place that each has now.

``port`` is null where the place has none: ``host`` is the compute host then. A console whose place
went to another one has none either, and the generation 0, which no token has.
"""

port_generations = Table(
    "port_generations",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, nullable=False),
    **_MARIADB,
)
"""How often each (host, port) was given to a console. Rows are never deleted or reset.

``port`` is 0 for all places of a host without a port."""

port_allocations = Table(
    "port_allocations",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("instance_uuid", String(36), nullable=False),
    Column("port_index", Integer, nullable=False),
    Column("named", Boolean, nullable=False),
    Column("since", BigInteger),
    Column("turn", BigInteger, nullable=False),
    Index(None, "host", "instance_uuid"),
    **_MARIADB,
)
"""Which instance a port of a compute host belongs to, whether it runs or not.

``host`` is the compute host's name: a port number is there once, on whatever address. A row
lives as long as the domain's XML names the port, so no foreign key ends it. ``named`` says
that an XML was seen to do so. ``since`` is when the port was reserved, in that ``turn`` of the
host; null where the XML has been looked at after that.
"""

port_turns = Table(
    "port_turns",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    **_MARIADB,
)
"""One row a compute host: whoever changes its allocations takes the next turn, and so waits.

``position`` is where the search for a free port goes on: a port that came back is not given
out at once.
"""

console_auth_tokens = Table(
    "console_auth_tokens",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("token_hash", String(64), nullable=False),
    Column("console_type", String(32), nullable=False),
    _of_instance(index=True),
    Column("console_index", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("port", Integer),
    Column("generation", BigInteger, nullable=False),
    Column("access_url", String(1024), nullable=False),
    Column("options", JSON, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used", Boolean, nullable=False, server_default=false()),
    Column("project_id", String(255)),
    Column("user_id", String(255)),
    UniqueConstraint("token_hash"),
    Index(None, "token_hash", "instance_uuid"),
    Index(None, "host", "expires"),
    **_MARIADB,
)
"""The specification's ConsoleAuthToken: hashes only, never a clear token.

``port`` is null where the console's place has none. ``used`` is set by the opening of a session
where ``[consoleauth] single_use`` is on.
"""

console_leases = Table(
    "console_leases",
    metadata,
    Column("instance_uuid", String(36), primary_key=True),
    Column("console_type", String(32), primary_key=True),
    Column("port_index", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("replica_id", String(36), index=True),
    Column("session_id", String(36), index=True),
    Column("user_id", String(255)),
    Column("project_id", String(255)),
    Column("since", BigInteger),
    Column("lingers", Boolean, nullable=False, server_default=false()),
    Column("wanted", String(255)),
    Column("wanted_by", String(255)),
    ForeignKeyConstraint(
        ["instance_uuid", "console_type", "port_index"],
        ["console_ports.instance_uuid", "console_ports.console_type", "console_ports.port_index"],
        # The convention's name is longer than PostgreSQL and MariaDB take.
        name="fk_console_leases_console_ports",
        ondelete="CASCADE",
    ),
    **_MARIADB,
)
"""Who holds each console's wire; one row a console, made with it at epoch 0.

``replica_id`` is null while nobody does. It has no foreign key: its check would lock the
replica's row, where the heartbeat writes. ``since`` is for people only. ``lingers`` says
that the session waits for its viewer to come back, and yields to anybody. ``wanted`` is the
reason of a requested disconnect, ``wanted_by`` who asks.
"""

console_observers = Table(
    "console_observers",
    metadata,
    Column("instance_uuid", String(36), primary_key=True),
    Column("console_type", String(32), primary_key=True),
    Column("port_index", Integer, primary_key=True, autoincrement=False),
    Column("session_id", String(36), primary_key=True, index=True),
    Column("epoch", BigInteger, nullable=False),
    Column("user_id", String(255)),
    Column("project_id", String(255)),
    Column("since", BigInteger, nullable=False),
    Column("lingers", Boolean, nullable=False),
    Column("wanted", String(255)),
    Column("wanted_by", String(255)),
    Column("role", String(16), nullable=False, server_default="observer"),
    ForeignKeyConstraint(
        ["instance_uuid", "console_type", "port_index"],
        ["console_ports.instance_uuid", "console_ports.console_type", "console_ports.port_index"],
        name="fk_console_observers_console_ports",
        ondelete="CASCADE",
    ),
    **_MARIADB,
)
"""Who watches a console, or has asked for it; what the columns mean is as in its lease.

A row counts while its epoch is the lease's.
"""

replicas = Table(
    "replicas",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("cell", String(255), nullable=False),
    Column("url", String(1024), nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("dead", Boolean, nullable=False),
    **_MARIADB,
)
"""The daemons of the cell, a new row for each start; ``dead`` never goes back."""

replica_tickets = Table(
    "replica_tickets",
    metadata,
    Column("ticket_hash", String(64), primary_key=True),
    Column("replica_id", String(36), nullable=False),
    Column("expires", BigInteger, nullable=False, index=True),
    **_MARIADB,
)
"""One row for each viewer on its way from one replica to another, for a few seconds.

``ticket_hash`` covers the ticket and everything that is said with it; ``replica_id`` is the
one replica that may take it.
"""

recordings = Table(
    "recordings",
    metadata,
    Column("session_id", String(36), primary_key=True),
    Column("instance_uuid", String(36), nullable=False, index=True),
    Column("instance_name", String(255), nullable=False),
    Column("project_id", String(255), index=True),
    Column("user_id", String(255)),
    Column("console_index", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("started", BigInteger, nullable=False, index=True),
    Column("ended", BigInteger),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("path", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("console_type", String(32), nullable=False, server_default="serial"),
    **_MARIADB,
)
"""Recordings of sessions. No foreign key: a recording outlives its instance.

``host`` has the file, at ``path`` below its ``state_path``; ``project_id`` is the instance's.
``bytes`` and ``digest`` (the last one of the file's hash chain) are known when it has ended.
"""

replay_tokens = Table(
    "replay_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("session_id", String(36), nullable=False),
    Column("user_id", String(255)),
    Column("project_id", String(255)),
    Column("expires", BigInteger, nullable=False, index=True),
    **_MARIADB,
)
"""The rights to play one recording in the page: hashes only, never a clear token.

``user_id`` and ``project_id`` are of whoever asked for it. No foreign key: a token whose
recording is gone finds nothing.
"""

recording_archives = Table(
    "recording_archives",
    metadata,
    Column("session_id", String(36), primary_key=True),
    Column("folder_id", String(36), nullable=False),
    Column("state", String(16), nullable=False),
    Column("image_id", String(36)),
    Column("reason", String(1024), nullable=False),
    Index(None, "folder_id", "state"),
    **_MARIADB,
)
"""What becomes of recordings on their way to the archive (docs: decisions/0047).

No foreign key: where a recording is deleted meanwhile, its row here is left until nothing of it
is left half-done in Glance. ``folder_id`` names the folder that has the file. ``image_id`` is
written down before the image is made.
"""

kept_tokens = Table(
    "kept_tokens",
    metadata,
    Column("operation", String(255), primary_key=True),
    Column("ciphertext", Text, nullable=False),
    Column("expires", BigInteger, nullable=False, index=True),
    **_MARIADB,
)
"""Users' tokens that an operation must outlive, encrypted (docs: decisions/0046).

A row ends with its operation, and at ``expires`` whatever has become of that.
"""


def _traits_of_nodes() -> list[Column[Any]]:
    return [
        Column("id", String(36), primary_key=True),
        Column("name", String(255), nullable=False, unique=True),
        Column("project_id", String(255)),
        Column("is_proxy", Boolean, nullable=False),
        Column("user_name", String(255)),
        Column("key_file", String(255)),
        Column("private_key", Text),
        Column("passphrase", Text),
        Column("known_hosts", JSON, nullable=False),
        Column("proxy_group_id", String(36), ForeignKey("node_groups.id"), index=True),
    ]


def _of_group(**options: Any) -> Column[Any]:
    return Column(
        "group_id",
        String(36),
        ForeignKey("node_groups.id", ondelete="CASCADE"),
        nullable=False,
        **options,
    )


node_groups = Table("node_groups", metadata, *_traits_of_nodes(), **_MARIADB)
"""Nodes that are logged in to alike; over those of an ``is_proxy`` group others are reached.

``private_key`` and ``passphrase`` are encrypted (docs: decisions/0040). ``proxy_group_id`` is the
group that leads to this one's members.
"""

node_group_templates = Table("node_group_templates", metadata, *_traits_of_nodes(), **_MARIADB)
"""What new groups begin as; a group that was made with one has no further tie to it."""

node_group_members = Table(
    "node_group_members",
    metadata,
    _of_group(primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("instance_uuid", String(36), unique=True),
    Column("address", String(64)),
    Column("port", Integer, nullable=False),
    **_MARIADB,
)
"""The nodes of a group in their order: an instance, which is in one group only, or a host's
address. No foreign key to instances: their rows come and go with consoles."""

node_group_hosts = Table(
    "node_group_hosts",
    metadata,
    Column("host", String(255), primary_key=True),
    _of_group(index=True),
    **_MARIADB,
)
"""The compute hosts that name the proxy group which leads to them."""

node_group_turns = Table(
    "node_group_turns",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turn", BigInteger, nullable=False),
    **_MARIADB,
)
"""One row: whoever changes groups or templates takes the next turn, and so waits for others.
Who has read the groups sees by it that they have changed."""

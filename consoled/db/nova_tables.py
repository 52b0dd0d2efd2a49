"""The two tables of a nova cell database that console tokens need, and their rows.

Facts of nova's schema (reference: nova-contract, "Token storage"); nova makes and upgrades
it, consoled never does. Only columns that nova has had since its tokens live in the
database are named, so that older clouds work too; ``tls_port`` is SPICE's alone.

``expires`` and the comparison with it use the database's clock. nova uses its services'
own; where those are set right, nobody sees the difference.
"""

from __future__ import annotations

from datetime import UTC, datetime

from attrs import evolve
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    Inspector,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    bindparam,
    exists,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from consoled.db.clock import epoch_seconds
from consoled.db.engine import sqlite_path
from consoled.errors import ConfigError, ConsoledError, NotFound
from consoled.model import SERIAL, Console, Instance, InstanceState
from consoled.tokens.objects import NOVA_TEXT_LENGTH, TokenObject

metadata = MetaData()

tokens = Table(
    "console_auth_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created_at", DateTime),
    Column("token_hash", String(255), nullable=False),
    Column("console_type", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("internal_access_path", String(255)),
    Column("instance_uuid", String(36), nullable=False),
    Column("expires", Integer, nullable=False),
    Column("access_url_base", String(255)),
)

instances = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", String(36), nullable=False),
    Column("project_id", String(255)),
    Column("display_name", String(255)),
    Column("host", String(255)),
    Column("power_state", Integer),
    Column("deleted", Integer),
)

# nova's power states; every other one has no serial ports.
_STATES = {1: InstanceState.RUNNING, 3: InstanceState.PAUSED}

_other = tokens.alias("other")
_VALID = tokens.c.expires > epoch_seconds()
# A later token of another instance for the same place: the place has changed hands.
_TAKEN_OVER = exists().where(
    _other.c.host == tokens.c.host,
    _other.c.port == tokens.c.port,
    _other.c.instance_uuid != tokens.c.instance_uuid,
    _other.c.id > tokens.c.id,
)
_FIND = select(
    (tokens.c.expires - epoch_seconds()).label("left"),
    tokens.c.instance_uuid,
    tokens.c.console_type,
    tokens.c.host,
    tokens.c.port,
    tokens.c.internal_access_path,
    tokens.c.access_url_base,
    tokens.c.expires,
).where(tokens.c.token_hash == bindparam("hash"), _VALID, ~_TAKEN_OVER)
_NEWEST_PLACE = (
    select(tokens.c.host, tokens.c.port)
    .where(
        tokens.c.instance_uuid == bindparam("uuid"),
        tokens.c.console_type == SERIAL,
        _VALID,
        ~_TAKEN_OVER,
    )
    .order_by(tokens.c.id.desc())
    .limit(1)
)
_INSTANCE = select(
    instances.c.uuid,
    instances.c.project_id,
    instances.c.display_name,
    instances.c.host,
    instances.c.power_state,
).where(and_(instances.c.uuid == bindparam("uuid"), instances.c.deleted == 0))
_NOW = select(epoch_seconds())


def add(connection: Connection, token: TokenObject, token_hash: str, ttl: int) -> TokenObject:
    """Stores a token.

    :param token_hash: the hex SHA-256 of the clear token.
    :param ttl: seconds that it is valid.
    :returns: the token with its real ``expires``, by the database's clock.
    :raises consoled.errors.NotFound: nova does not have the instance in this cell.
    :raises consoled.errors.ConsoledError: the access URL is too long for nova's column.
    """
    if token.access_url is not None and len(token.access_url) > NOVA_TEXT_LENGTH:
        raise ConsoledError(
            f"nova keeps {NOVA_TEXT_LENGTH} characters of [serial_console] base_url; "
            "use a shorter one."
        )
    if connection.execute(_INSTANCE, {"uuid": token.instance_uuid}).first() is None:
        raise NotFound(f"nova has no instance {token.instance_uuid} in this cell.")
    now = int(connection.execute(_NOW).scalar_one())
    connection.execute(
        insert(tokens),
        {
            "created_at": datetime.fromtimestamp(now, UTC).replace(tzinfo=None),
            "token_hash": token_hash,
            "console_type": token.console_type,
            "host": token.host,
            "port": token.port,
            "internal_access_path": token.internal_access_path,
            "instance_uuid": token.instance_uuid,
            "expires": now + ttl,
            "access_url_base": token.access_url,
        },
    )
    return evolve(token, expires=now + ttl)


def find(connection: Connection, token_hash: str) -> tuple[TokenObject, int] | None:
    """The token, unless it is unknown, expired, or its place went to another instance.

    :returns: with it the seconds until it expires, by the database's clock.
    :raises consoled.model.FieldError: its row is not one that nova makes.
    """
    row = connection.execute(_FIND, {"hash": token_hash}).one_or_none()
    if row is None:
        return None
    found = TokenObject(
        instance_uuid=row.instance_uuid,
        console_type=row.console_type,
        host=row.host,
        port=row.port,
        # Empty is nova's other word for none.
        access_url=row.access_url_base or None,
        internal_access_path=row.internal_access_path or None,
        expires=row.expires,
    )
    return found, int(row.left)


def find_instance(connection: Connection, uuid: str) -> Instance | None:
    """An instance as nova knows it, or None.

    nova's database does not say where its consoles are. Its newest valid token does, as
    nova asked the compute host when it made it: that one place is console 0, the only one
    that nova ever hands out.
    """
    row = connection.execute(_INSTANCE, {"uuid": uuid}).first()
    if row is None:
        return None
    state = _STATES.get(row.power_state, InstanceState.STOPPED)
    place = connection.execute(_NEWEST_PLACE, {"uuid": uuid}).one_or_none()
    return Instance(
        uuid=row.uuid,
        name=row.display_name or row.uuid,
        project_id=row.project_id,
        host=row.host or "",
        state=state,
        consoles=(Console(0, place.host, place.port),) if place and state.live else (),
    )


def check(engine: Engine) -> None:
    """Says nothing if ``[nova] connection`` is a nova cell database.

    No connection stays open, so it may be called before twistd forks.

    :raises consoled.errors.ConfigError: it is not one, or it cannot be opened.
    """
    path = sqlite_path(engine)
    if path is not None and not path.exists():
        raise ConfigError(f"[nova] connection: {path} does not exist; name nova's cell database")
    try:
        lacking = _lacking(inspect(engine))
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        said = " ".join(str(cause.args[-1] if cause.args else cause).split())
        raise ConfigError(f"[nova] connection cannot be opened: {said}") from None
    finally:
        engine.dispose()
    if lacking:
        raise ConfigError(
            "[nova] connection is not a nova cell database that keeps console tokens: "
            f"it has no {lacking}"
        )


def _lacking(found: Inspector) -> str | None:
    for table in metadata.sorted_tables:
        if not found.has_table(table.name):
            return f"table {table.name}"
        there = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                return f"column {table.name}.{column.name}"
    return None

"""Many rows of tokens, made by the database itself."""

from __future__ import annotations

from sqlalchemy import text

from consoled.db.engine import make_engine

_COLUMNS = (
    "token_hash, console_type, instance_uuid, console_index, host, port, generation, "
    "access_url, options, expires, created_at, used"
)
_ROW = (
    "'serial', p.instance_uuid, p.port_index, p.host, p.port, p.generation, "
    "'http://127.0.0.1/', '{}', "
)
_MAKE = {
    "sqlite": f"""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count),
        p AS (SELECT * FROM console_ports LIMIT 1)
        INSERT INTO console_auth_tokens ({_COLUMNS})
        SELECT lower(hex(randomblob(32))), {_ROW}
            CAST(strftime('%s', 'now') AS INTEGER) + CASE WHEN i <= :expired THEN -60 ELSE 3600 END,
            CAST(strftime('%s', 'now') AS INTEGER), 0
        FROM n, p
    """,
    "postgresql": f"""
        INSERT INTO console_auth_tokens ({_COLUMNS})
        SELECT md5(i::text) || md5(random()::text), {_ROW}
            extract(epoch FROM now())::bigint + CASE WHEN i <= :expired THEN -60 ELSE 3600 END,
            extract(epoch FROM now())::bigint, false
        FROM generate_series(1, :count) AS i, (SELECT * FROM console_ports LIMIT 1) AS p
    """,
}
_SETTLE = {"sqlite": "PRAGMA wal_checkpoint(TRUNCATE)", "postgresql": "CHECKPOINT"}


def fill(url: str, count: int, expired: int) -> None:
    """Adds that many tokens, so many of them expired.

    :param url: of a cell's database that knows a console.
    """
    engine = make_engine(url, None)
    with engine.begin() as connection:
        made = _MAKE[engine.dialect.name]
        connection.execute(text(made), {"count": count, "expired": expired})
    raw = engine.raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    if engine.dialect.name == "postgresql":
        driver.autocommit = True
    driver.execute("ANALYZE console_auth_tokens")
    # What the rows have left to be written must not disturb what is measured next.
    driver.execute(_SETTLE[engine.dialect.name])
    raw.close()
    engine.dispose()


def expired(url: str) -> int:
    """How many expired tokens there are."""
    now = {
        "sqlite": "CAST(strftime('%s', 'now') AS INTEGER)",
        "postgresql": "extract(epoch FROM now())",
    }
    engine = make_engine(url, None)
    with engine.connect() as connection:
        statement = (
            f"SELECT count(*) FROM console_auth_tokens WHERE expires <= {now[engine.dialect.name]}"
        )
        found = int(connection.scalar(text(statement)) or 0)
    engine.dispose()
    return found

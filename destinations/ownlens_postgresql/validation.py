"""Views that show the rows of a touched slice to Great Expectations, and the way it connects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ownlens_plugins.api import LoadPlan, TouchedSlice, new_attempt

from . import sql
from .config import PostgreSQLConfig
from .connection import Connection
from .counting import bounds

if TYPE_CHECKING:
    import sqlalchemy as sa

# A reserved prefix: no contract can name a table like this.
PREFIX = "_ownlens_validation_"


def validation_url(config: PostgreSQLConfig) -> sa.URL:
    """Return the URL for SQLAlchemy, made from parts: its text form masks the password."""
    import sqlalchemy as sa  # takes long to load, and only validations need it

    address = {"host": config.host} if config.is_socket else {}
    return sa.URL.create(
        "postgresql+psycopg",
        username=config.user,
        password=config.password.get_secret_value() if config.password else None,
        host=None if config.is_socket else config.host,
        port=config.port,
        database=config.database,
        query={**address, **config.connection_parameters},
    )


def create_view(connection: Connection, schema: str, plan: LoadPlan, touched: TouchedSlice) -> str:
    """Create a view of the touched slice beside its table, where its references find their parents; return its name."""
    name = f"{PREFIX}{_now(connection)}_{new_attempt()}"
    column = plan.contract.column(touched.column)
    slice_ = " AND ".join(bounds(sql.quote(column.name), column.type, touched))
    names = sql.listed(plan.contract.column_names)
    connection.run(
        f"CREATE VIEW {sql.qualified(schema, name)} AS SELECT {names} FROM {sql.qualified(schema, plan.table)} "
        f"WHERE {slice_}"
    )
    return name


def _now(connection: Connection) -> str:
    return str(connection.run("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')")[0][0])


def drop_view(connection: Connection, schema: str, name: str) -> None:
    if name.startswith(PREFIX):
        connection.run(f"DROP VIEW IF EXISTS {sql.qualified(schema, name)}")


def drop_stale_views(connection: Connection, schema: str) -> None:
    """Drop this role's views that a crashed validation left more than a day ago."""
    for (name,) in connection.run(_STALE, schema, PREFIX):
        drop_view(connection, schema, name)


_STALE = """
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relkind = 'v' AND starts_with(c.relname::text, $2::text)
  AND pg_has_role(c.relowner, 'USAGE')
  AND substr(c.relname::text, length($2::text) + 1, 14)
      < to_char((now() - interval '1 day') AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')
"""

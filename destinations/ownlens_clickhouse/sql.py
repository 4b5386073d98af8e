"""SQL text. Every identifier and every literal goes through one function; values of queries are bound instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .definition import ColumnDefinition, TableDefinition

# Staged parts live for seconds: merging them would be work for nothing, and a TTL could drop rows that are not counted
# yet. Of a setting that is there twice, the last counts.
NO_MERGES = (
    "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, "
    "max_number_of_merges_with_ttl_in_pool = 0"
)
# Sequences grow, so older parts are skipped when the rows of one load are counted.
LOAD_INDEX = "_ownlens_load_index"
LOAD_INDEX_TEXT = f"INDEX `{LOAD_INDEX}` `_ownlens_load` TYPE minmax GRANULARITY 1"

# Replacing a partition by none of the staged table is refused without it, by servers that know the setting.
EMPTY_IS_MEANT = "allow_replace_partition_from_empty_source = 1"


def identifier(name: str) -> str:
    """Quote a database, table or column name."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    """Quote a string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifiers(names: Iterable[str]) -> str:
    """Quote names and join them with commas."""
    return ", ".join(identifier(name) for name in names)


def settings(values: Mapping[str, object]) -> str:
    """Write settings as `name = 'value', ...`."""
    return ", ".join(f"{name} = {literal(str(value))}" for name, value in values.items())


def everywhere(cluster: str | None) -> str:
    """Say that a statement is for all nodes of a cluster, if there is one."""
    return f" ON CLUSTER {identifier(cluster)}" if cluster else ""


def create_database(name: str, cluster: str | None = None) -> str:
    """Create a database if it is absent."""
    return f"CREATE DATABASE IF NOT EXISTS {identifier(name)}{everywhere(cluster)}"


def create_target(name: str, table: TableDefinition) -> str:
    """Create a contract's table if it is absent."""
    create = f"CREATE TABLE IF NOT EXISTS {name}{everywhere(table.cluster)} ({_columns(table)})"
    return f"{create} {_storage(table, engine(table), table.ttl)}"


def engine(table: TableDefinition) -> str:
    """Return a table's engine; a replicated one finds its place by the server's own defaults."""
    return f"Replicated{table.engine}" if table.replicated else table.engine


def create_stage(name: str, table: TableDefinition, *, sequence: int, becomes_target: bool, label: str) -> str:
    """Create the table that one part is written to; its rows carry the load's sequence.

    Its structure equals the target's, so that partitions can be attached. It has no TTL, which could drop rows
    before they are counted, and an engine that merges no rows, unless it is to take the target's place. Then it is
    on all nodes that the target is on. The label stays with it as a comment when it is renamed.
    """
    columns, comment = f"({_columns(table, load=sequence)})", f"COMMENT {literal(label)}"
    if becomes_target:
        create = f"CREATE TABLE {name}{everywhere(table.cluster)} {columns}"
        return f"{create} {_storage(table, engine(table), None)} {comment}"
    return f"CREATE TABLE {name} {columns} {_storage(table, 'MergeTree', None)} SETTINGS {NO_MERGES} {comment}"


def create_token(name: str, label: str) -> str:
    """Create a table that holds nothing. By being there it says that an attempt is not over, or has the turn."""
    return f"CREATE TABLE {name} (`nothing` UInt8) ENGINE = MergeTree ORDER BY tuple() COMMENT {literal(label)}"


def create_like(name: str, elements: Sequence[str], storage: str, label: str, cluster: str | None = None) -> str:
    """Create a staged table from ClickHouse's own words about the target."""
    create = f"CREATE TABLE {name}{everywhere(cluster)} ({', '.join(elements)})"
    return f"{create} {storage} COMMENT {literal(label)}"


def _columns(table: TableDefinition, *, load: int | None = None) -> str:
    return ", ".join([*(column(each, load=load) for each in table.columns), LOAD_INDEX_TEXT])


def column(each: ColumnDefinition, *, load: int | None = None, comment: str = "") -> str:
    """Define one column, of the target or of the table that a load is staged in."""
    text = f"{identifier(each.name)} {each.type}"
    if each.hidden:
        text += f" {_hidden_value(each, load)}"
    if comment:
        text += f" COMMENT {literal(comment)}"
    return f"{text} CODEC({each.codec})" if each.codec else text


def _hidden_value(each: ColumnDefinition, load: int | None) -> str:
    if each.value is not None:
        return f"MATERIALIZED {each.value}"
    if not each.is_flag:
        return f"MATERIALIZED {load or 0}"
    # Rows from before a nullable array was added are NULL in it. Staged rows say which they are, and a materialized
    # column cannot be inserted into.
    return "MATERIALIZED true" if load is None else "DEFAULT false"


def _storage(table: TableDefinition, kind: str, ttl: str | None) -> str:
    text = f"ENGINE = {kind}"
    if table.partition:
        text += f" PARTITION BY {table.partition}"
    text += f" ORDER BY {table.order_sql}"
    return f"{text} TTL {ttl}" if ttl else text


def change_columns(
    name: str, added: Sequence[ColumnDefinition], widened: Sequence[ColumnDefinition], dropped: Sequence[str] = ()
) -> str:
    """Add columns that the contract has gained, change those that are to hold more values, and drop others."""
    adding = (f"ADD COLUMN IF NOT EXISTS {column(each)}" for each in added)
    changing = (f"MODIFY COLUMN {column(each)}" for each in widened)
    dropping = (f"DROP COLUMN IF EXISTS {identifier(each)}" for each in dropped)
    return f"ALTER TABLE {name} " + ", ".join([*adding, *changing, *dropping])


def hide_columns(name: str, columns: Sequence[ColumnDefinition]) -> str:
    """Give a staged table's hidden columns the form that they have in a target."""
    return f"ALTER TABLE {name} " + ", ".join(f"MODIFY COLUMN {column(each)}" for each in columns)


def change_ttl(name: str, ttl: str | None) -> str:
    """Set or remove the moment after which rows may go."""
    return f"ALTER TABLE {name} " + (f"MODIFY TTL {ttl}" if ttl else "REMOVE TTL")


def comment(name: str, text: str) -> str:
    """Replace a table's comment."""
    return f"ALTER TABLE {name} MODIFY COMMENT {literal(text)}"


def drop(name: str, cluster: str | None = None) -> str:
    """Drop a table or view, and wait for statements that still use it."""
    return f"DROP TABLE IF EXISTS {name}{everywhere(cluster)} SYNC"


def rename(old: str, new: str, cluster: str | None = None) -> str:
    """Rename a table; fails when the new name is taken."""
    return f"RENAME TABLE {old} TO {new}{everywhere(cluster)}"


def exchange(one: str, other: str, cluster: str | None = None) -> str:
    """Swap two tables in one step; on a cluster in one step of each node."""
    return f"EXCHANGE TABLES {one} AND {other}{everywhere(cluster)}"


def kill(statements: str) -> str:
    """End all statements whose ids begin like that, and wait until they have ended."""
    return f"KILL QUERY WHERE startsWith(query_id, {literal(statements)}) SYNC"


def attach_all(target: str, source: str) -> str:
    """Copy all partitions of another table of the same structure."""
    return f"ALTER TABLE {target} ATTACH PARTITION ALL FROM {source}"


def attach(target: str, source: str, partition: str) -> str:
    """Copy one partition of another table of the same structure, beside what is there."""
    return f"ALTER TABLE {target} ATTACH PARTITION ID {literal(partition)} FROM {source}"


def replace(target: str, source: str, partition: str) -> str:
    """Copy one partition of another table of the same structure, instead of what is there."""
    return f"ALTER TABLE {target} REPLACE PARTITION ID {literal(partition)} FROM {source}"


def copy(target: str, source: str, columns: str) -> str:
    """Copy rows of some columns, hidden ones among them."""
    into = f"INSERT INTO {target} ({columns}) SETTINGS insert_allow_materialized_columns = 1"
    return f"{into} SELECT {columns} FROM {source}"


def delete_load(target: str, source: str, partition: str, sequence: int) -> str:
    """Delete the rows of one load from one partition, if the staged table still has its name.

    The sub-query runs before the deletion starts; a statement that arrives after another attempt has taken the load
    over finds the name gone and deletes nothing.
    """
    return (
        f"DELETE FROM {target} WHERE _partition_id = {literal(partition)} "
        f"AND `_ownlens_load` = (SELECT toUInt64({sequence}) FROM (SELECT count() FROM {source}))"
    )


def count_partitions(name: str, *, where: str, lasting: str, also: str = "") -> str:
    """Count rows by partition: id, all rows, and those for which `lasting` holds; and a constant, if any."""
    more = f", {also}" if also else ""
    counts = f"SELECT _partition_id, count(), countIf({lasting}){more} FROM {name}"
    return f"{counts}{'' if where == 'true' else f' WHERE {where}'} GROUP BY _partition_id"


def find_uuid(database: str, table: str) -> str:
    """Select the UUID of a table, which stays with its rows when it is renamed or exchanged."""
    return f"SELECT uuid FROM system.tables WHERE database = {literal(database)} AND name = {literal(table)}"

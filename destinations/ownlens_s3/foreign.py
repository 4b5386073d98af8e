"""What other programs gave a Delta table that a load has to respect, or cannot.

delta-rs checks constraints and maps column names when it writes rows itself; a transaction that names finished files
is not checked at all. So such tables are known before data moves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, TableFeatures

from ownlens_plugins.api import LoadPlan
from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import Rejected

# Features of writers that delta-rs 1.6 honours, by the names of the protocol.
HONOURED = frozenset(
    {
        *("appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns", "columnMapping"),
        *("deletionVectors", "timestampNtz", "v2Checkpoint", "variantType"),
    }
)
_IDENTITY_WRITER = 6  # the protocol's number for identity columns, before features had names
_FEATURES_WRITER = 7
CONSTRAINT = "delta.constraints."
MAPPING = "delta.columnMapping.mode"
_GENERATED = "delta.generationExpression"
_INVARIANTS = "delta.invariants"


def require_writable(table: DeltaTable, plan: LoadPlan) -> None:
    """Refuse a load that the table does not allow, or that would break what another program promised in it.

    Raises:
        Rejected: naming the feature, property, column or constraint, and what to do.
    """
    uri = table.table_uri.rstrip("/")
    if reason := _read_only_reason(table, plan, uri) or (None if plan.full_refresh else _feature_reason(table)):
        raise Rejected(f"{plan.table}: the table in s3 {reason}")


def _read_only_reason(table: DeltaTable, plan: LoadPlan, uri: str) -> str | None:
    adds_only = table.metadata().configuration.get("delta.appendOnly") == "true"
    if not adds_only or plan.strategy is Strategy.APPEND:
        return None
    return (
        "takes appends only (delta.appendOnly) and this load changes rows; allow it with "
        f"DeltaTable({uri!r}).alter.set_table_properties({{'delta.appendOnly': 'false'}}), or use strategy: append"
    )


def _feature_reason(table: DeltaTable) -> str | None:
    if strange := sorted(features(table) - HONOURED):
        return (
            f"has features that only other programs can write ({', '.join(strange)}); drop them there (ALTER TABLE … "
            "DROP FEATURE), or replace it with --full-refresh"
        )
    if generated := [name for name, notes in _notes(table).items() if _GENERATED in notes]:
        return (
            f"computes {_listed(generated)} by an expression of another program, which no load can keep; replace it "
            "with --full-refresh, which makes plain columns, or use a new path"
        )
    return None


def features(table: DeltaTable) -> set[str]:
    """Return the features that the table asks of its writers by name."""
    protocol = table.protocol()
    if protocol.min_writer_version == _IDENTITY_WRITER:
        return {"identityColumns"}
    return set(protocol.writer_features or ())


def _notes(table: DeltaTable) -> dict[str, Mapping[str, Any]]:
    return {field["name"]: field["metadata"] for field in json.loads(table.schema().to_json())["fields"]}


def is_mapped(table: DeltaTable) -> bool:
    """Tell whether the columns have other names in the files than in the table."""
    return table.metadata().configuration.get(MAPPING, "none") != "none"


def constraints(table: DeltaTable) -> dict[str, str]:
    """Return what the table demands of its rows, by name: CHECK constraints, and invariants by their columns."""
    own = table.metadata().configuration
    checks = {name.removeprefix(CONSTRAINT): text for name, text in own.items() if name.startswith(CONSTRAINT)}
    inside = {name: str(notes[_INVARIANTS]) for name, notes in _notes(table).items() if _INVARIANTS in notes}
    return {**checks, **inside}


def is_plain(table: DeltaTable, *, mapped: bool = False) -> bool:
    """Tell whether delta-rs can change the table's schema; `mapped` says that mapped columns are no hindrance."""
    return _feature_reason(table) is None and (mapped or not is_mapped(table))


def is_guarded(table: DeltaTable) -> bool:
    """Tell whether delta-rs has to write the rows itself, so that constraints and mapped names hold."""
    return bool(constraints(table)) or is_mapped(table)


def has_deletion_vectors(table: DeltaTable) -> bool:
    """Tell whether files have rows that were deleted beside them. delta-rs does not tell which marks they carry."""
    known = "deletionVectors" in (table.protocol().reader_features or ())
    return known and pa.table(table.deletion_vectors()).num_rows > 0


def how_to_drop(table: DeltaTable, names: Collection[str]) -> str:
    """Return what a person does to be rid of constraints: nothing drops an invariant, which is part of its column."""
    own, uri = table.metadata().configuration, table.table_uri.rstrip("/")
    if not names or any(f"{CONSTRAINT}{name}" not in own for name in names):
        return "move the table's folder away, and load it with --full-refresh"
    drops = (f"DeltaTable({uri!r}).alter.drop_constraint({name!r})" for name in sorted(names))
    return f"drop {'it' if len(names) == 1 else 'them'} with {' and '.join(drops)}"


def require_constraints_fit(table: DeltaTable, plan: LoadPlan, leaving: Collection[str]) -> None:
    """Refuse to drop columns that a constraint speaks of.

    Raises:
        Rejected: naming all such constraints and how to drop them.
    """
    broken = sorted(name for name, text in constraints(table).items() if _names(text, leaving))
    if broken:
        raise Rejected(
            f"{plan.table}: constraints of the table in s3 ({', '.join(broken)}) speak of columns that are to leave "
            f"it; {how_to_drop(table, broken)}"
        )


def _names(text: str, columns: Iterable[str]) -> bool:
    return any(re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", text, re.IGNORECASE) for name in columns)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def lacking_features(table: DeltaTable) -> list[TableFeatures]:
    """Return the features that the table uses and its protocol leaves out, as delta-rs does when it makes it.

    Spark refuses to read a table whose required columns lack `invariants` beside other named features.
    """
    if table.protocol().min_writer_version != _FEATURES_WRITER:
        return []  # below it, the number stands for these features
    own, named = table.metadata().configuration, features(table)
    used = {
        "invariants": any(not field.nullable for field in table.schema().fields),
        "checkConstraints": any(name.startswith(CONSTRAINT) for name in own),
        "appendOnly": own.get("delta.appendOnly") == "true",
        "changeDataFeed": own.get("delta.enableChangeDataFeed") == "true",
    }
    return [_FEATURES[name] for name, in_use in used.items() if in_use and name not in named]


_FEATURES = {
    "invariants": TableFeatures.Invariants,
    "checkConstraints": TableFeatures.CheckConstraints,
    "appendOnly": TableFeatures.AppendOnly,
    "changeDataFeed": TableFeatures.ChangeDataFeed,
}


def complete_features(table: DeltaTable) -> bool:
    """Name the features that the table uses, in a commit of its own; return whether there was one.

    Raises:
        CommitFailedError: another commit came first.
    """
    lacking = lacking_features(table)
    if lacking:
        table.alter.add_feature(lacking, commit_properties=CommitProperties(max_commit_retries=0))
    return bool(lacking)


def kept_comments(table: DeltaTable, schema: Schema) -> Schema:
    """Return a schema with the comments that other programs gave to columns that stay."""
    notes = _notes(table)
    document = json.loads(schema.to_json())
    for field in document["fields"]:
        comment = notes.get(field["name"], {}).get("comment")
        if comment is not None:
            field["metadata"].setdefault("comment", comment)
    return Schema.from_json(json.dumps(document))

"""SQL text that compares staged rows with what the table holds of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import sql

_HELD, _STAGED, _HERE = "t.`_ownlens_held`", "s.`_ownlens_v`", "t.`_ownlens_v`"
_ELSEWHERE = "(t.`_ownlens_first` != s.`_ownlens_p` OR t.`_ownlens_last` != s.`_ownlens_p`)"
NEWER, SAME, OLDER = (f"({_HELD} AND {_STAGED} {sign} {_HERE})" for sign in (">", "=", "<"))
ABSENT = f"NOT {_HELD}"
# Compiling these conditions takes longer than answering for a small load, and is not felt in a large one.
_NOT_COMPILED = "compile_expressions = 0, compile_aggregate_expressions = 0"
# A staged row that loses and would lie in another partition than the row that wins: it must not come in.
STRAY = f"({OLDER} AND {_ELSEWHERE})"


@dataclass(frozen=True, slots=True)
class Sides:
    """The table and the staged rows (quoted names), the key, and the column whose greatest value wins."""

    target: str
    stage: str
    key: Sequence[str]
    version: str

    @property
    def keys(self) -> str:
        return sql.identifiers(self.key)

    def count(self, conditions: Sequence[str], *, where: str = "true", also: str = "") -> str:
        """Count staged rows by each condition about what the table holds of their keys; and a constant, if any."""
        counts = [f"countIf({each})" for each in conditions]
        return f"SELECT {', '.join([*counts, also] if also else counts)} {self._joined(where)} SETTINGS {_NOT_COMPILED}"

    def keys_where(self, condition: str) -> str:
        """Select the keys of the staged rows for which a condition holds."""
        names = ", ".join(f"s.`_ownlens_k{n}`" for n in range(len(self.key)))
        return f"SELECT {names} {self._joined('true')} WHERE {condition}"

    def _joined(self, where: str) -> str:
        on = " AND ".join(f"s.`_ownlens_k{n}` = t.`_ownlens_k{n}`" for n in range(len(self.key)))
        # Contracts may not use names with this prefix, so an alias never hides a column. All versions that lie there
        # are looked at, not only those that FINAL shows: when the newest leaves, another must not come to light.
        keys = ", ".join(f"{sql.identifier(name)} AS `_ownlens_k{n}`" for n, name in enumerate(self.key))
        version = sql.identifier(self.version)
        places = "min(_partition_id) AS `_ownlens_first`, max(_partition_id) AS `_ownlens_last`"
        return (
            f"FROM (SELECT {keys}, {version} AS `_ownlens_v`, _partition_id AS `_ownlens_p` "
            f"FROM {self.stage} WHERE {where}) AS s LEFT ANY JOIN "
            f"(SELECT {keys}, max({version}) AS `_ownlens_v`, {places}, true AS `_ownlens_held` FROM {self.target} "
            f"WHERE ({self.keys}) IN (SELECT {self.keys} FROM {self.stage}) GROUP BY {self.keys}) AS t ON {on}"
        )

    def identical(self, columns: Sequence[str]) -> str:
        """Count staged rows that the table shows already, value by value."""
        rows = f"{self.keys}, sipHash128(formatRow('RowBinary', {sql.identifiers(columns)}))"
        staged = f"SELECT {self.keys} FROM {self.stage}"
        return (
            f"SELECT count() FROM {self.stage} WHERE ({rows}) IN "
            f"(SELECT {rows} FROM {self.target} FINAL WHERE ({self.keys}) IN ({staged}))"
        )

    def gone(self, covered: str | None) -> str:
        """Select the keys that the table shows in the covered days, and the staged set has not."""
        days = f"{covered} AND " if covered else ""
        staged = f"SELECT {self.keys} FROM {self.stage}"
        return f"SELECT {self.keys} FROM {self.target} FINAL WHERE {days}({self.keys}) NOT IN ({staged})"

    def held(self) -> str:
        """Count the staged keys that the table holds."""
        return f"SELECT count() FROM {self.stage} WHERE ({self.keys}) IN (SELECT {self.keys} FROM {self.target})"

    def left_over(self, partitions: Sequence[str]) -> str:
        """Count the rows of some partitions of the table that are not among the staged ones."""
        rows = f"{self.keys}, {sql.identifier(self.version)}"
        return (
            f"SELECT count() FROM {self.target} WHERE _partition_id IN ({literals(partitions)}) "
            f"AND ({rows}) NOT IN (SELECT {rows} FROM {self.stage})"
        )


def displaced(*, overruled: bool) -> str:
    """Return the condition of staged rows that win, while the table holds of their key what must leave.

    That is a row in another partition, which the engine never merges with them; and, if staged rows are to win
    over any version, a newer one.
    """
    if overruled:
        return f"({_HELD} AND ({_STAGED} < {_HERE} OR {_ELSEWHERE}))"
    return f"({_HELD} AND {_STAGED} >= {_HERE} AND {_ELSEWHERE})"


def literals(texts: Sequence[str]) -> str:
    """Quote strings and join them with commas."""
    return ", ".join(map(sql.literal, texts))

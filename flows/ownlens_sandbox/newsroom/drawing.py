"""Turns templates into SQL expressions that draw one column's value from a row's number.

Every draw is a hash of the row number and a salt of seed, table, column and tag, so a row's value depends on nothing
else: equal seeds give equal databases, and a key can be computed wherever its row's number is known.

A template is SQL with these words, where `tag` tells independent draws of one column apart:

    $u, $u(tag)             a number, evenly spread over 0 <= u < 1
    $skew, $skew(tag)       the same, mostly small
    $word(list)             a word of a list; $word(list, tag) another one
    $nth(list)              the k-th word; $title(list) the same, numbered from the second round on
    $every(list, n)         a new word every n rows
    $some(list)             no to three words, as an array; $numbers(n) no to three numbers up to n
    $label, $label(tag)     a label of the column's enum, the first ones more often
    $uuid, $digest, $text   a uuid, 32 bytes, a few paragraphs
    $i, $k, $day, $at       the row's number, its place among the keys, its day, its moment
    $now, $today            the present and its date
    $total, $count(table)   rows of this table, of another one
    $follow(table)          for picks: the parent row at the same place in time
    $parent(column)         a column of the joined parent row
    {column}                the value of another column of the same row

A leading ? leaves out one value in seven.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

from ownlens_plugins.contracts import Column, Kind, Reference, TableContract

from .recipes import recipe_for
from .rules import rule_for
from .scene import Population, Scene, owner_column
from .schema import column_type, literal, quoted

_WORD = re.compile(r"\{(\w+)\}|\$(\w+)(?:\(([^()]*)\))?")
_NULL_SHARE = "1.0 / 7"
# Keys of events start beyond what 32 bits hold, so that a store that narrows them is found out.
_EVENT_KEYS_FROM = 5_000_000_000


class Drawing:
    """Expressions for one table's columns over `r` (i, k, day, at) and, where the recipe joins one, a parent `p`.

    `known` gives columns whose values are there already, as SQL.
    """

    def __init__(self, contract: TableContract, scene: Scene, *, known: Mapping[str, str] | None = None) -> None:
        self.contract = contract
        self.recipe = recipe_for(contract)
        self.scene = scene
        self.known = known or {}
        self._references = {reference.column: reference for reference in contract.references}

    @property
    def joined(self) -> Reference | None:
        """The reference whose parent row stands beside each row as `p`."""
        return self._references.get(self.recipe.joined or "")

    def value(self, name: str) -> str:
        """Return the SQL expression of a column's value, in the column's own type."""
        if name in self.known:
            return self.known[name]
        column = self.contract.column(name)
        return f"({self._untyped(column)})::{column_type(column.type)}"

    def _untyped(self, column: Column) -> str:
        template = self.recipe.columns.get(column.name)
        if template is None and self.contract.key == (column.name,):
            return self.key("r.k")
        if template is None and column.name in self._references:
            return self._reference(column)
        if template is None:
            template = "?" * column.nullable + self._rule(column)
        return self._expand(template, column.name)

    def _rule(self, column: Column) -> str:
        if column.name in self.contract.key:
            return "$day" if column.type.kind is Kind.DATE else "$k"
        return rule_for(self.contract, column, is_change=self.scene.clock.is_change)

    def key(self, number: str) -> str:
        """Return the key of row `number` of this table, which must have a key of one column."""
        column = self.contract.column(self.contract.key[0])
        template = self.recipe.columns.get(column.name)
        if template is not None:
            return self._expand(template, column.name, number)
        if column.type.kind is Kind.UUID:
            return f"md5({literal(self.contract.table + ':')} || ({number}))::uuid"
        if column.type.kind is Kind.TEXT:
            return f"{literal(self.contract.table + '-')} || ({number})"
        start = _EVENT_KEYS_FROM if self.contract.preset == "events" and column.type.kind is Kind.INT64 else 0
        return f"({number}) + {start}"

    def _reference(self, column: Column) -> str:
        reference = self._references[column.name]
        if reference == self.joined:
            return f"p.{quoted(reference.parent_column)}"
        value = self._picked_key(reference)
        if reference.table == self.contract.table:
            # A tenth of the rows are roots; the others stand below an earlier row.
            return f"CASE WHEN r.k > {self.scene.populations[reference.table].total} / 10.0 + 1 THEN {value} END"
        return self._sometimes(value, column.name) if column.nullable else value

    def join(self) -> str:
        """Return the join that puts the parent row beside each row, or nothing."""
        if self.joined is None:
            return ""
        picked = self._picked_key(self.joined)
        if self.contract.column(self.joined.column).nullable:
            picked = self._sometimes(picked, self.joined.column)
        parent = f"{quoted(self.joined.table)} AS p"
        return f" LEFT JOIN {parent} ON p.{quoted(self.joined.parent_column)} = {picked}"

    def _picked_key(self, reference: Reference) -> str:
        parent = Drawing(self.scene.contracts[reference.table], self.scene)
        key = parent.contract.column(reference.parent_column)
        # Numbers of rows are whole before they become text inside a key.
        return f"({parent.key(f'({self._pick(reference)})::bigint')})::{column_type(key.type)}"

    def _pick(self, reference: Reference) -> str:
        rows = self.scene.populations[reference.table].total
        template = self.recipe.picks.get(reference.column) or self._habit(reference)
        return f"greatest(1, least({rows}, {self._expand(template, reference.column)}))"

    def _habit(self, reference: Reference) -> str:
        parent = self.scene.contracts[reference.table]
        is_owner = len(self.contract.key) > 1 and reference.column == owner_column(self.contract)
        if parent.table == self.contract.table:
            return "1 + floor($u * ($k - 1) / 4)"
        if parent.preset == "reference":
            return "$k" if is_owner else f"1 + floor($count({parent.table}) * $skew)"
        newest = self._newest(parent.table)
        return f"{newest} - $k + 1" if is_owner else f"ceil({newest} * (1 - power($u, 5)))"

    def _newest(self, table: str) -> str:
        """The number of the parent row that was the newest at the moment of this row."""
        rows = self.scene.populations[table].total
        if self.scene.clock.is_change:
            return str(rows)
        seconds = self.scene.history_days(table) * 86400
        # Rows lie up to three hours later than evenly spread ones, because nights are quiet.
        age = "extract(epoch FROM $now - r.at + interval '3 hours')::float8"
        return f"floor({rows} * (1 - {age} / {seconds}))"

    def _sometimes(self, value: str, column: str) -> str:
        return f"CASE WHEN {self._uniform(column, 'null')} >= {_NULL_SHARE} THEN {value} END"

    def _expand(self, template: str, column: str, number: str = "r.k") -> str:
        if template.startswith("?"):
            return self._sometimes(f"({self._expand(template[1:], column, number)})", column)
        return _WORD.sub(lambda match: self._replaced(match, column, number), template)

    def _replaced(self, match: re.Match[str], column: str, number: str) -> str:
        other, word, arguments = match.groups()
        if other:
            return self.value(other)
        first, _, second = (arguments or "").partition(",")
        return self._word(word, first.strip(), second.strip(), column, number)

    def _word(self, word: str, first: str, second: str, column: str, number: str) -> str:
        if word in {"nth", "title", "every"}:
            return self._counted(word, first, second, f"({number})")
        if word in {"word", "some"}:
            return self._drawn(word, first, f"{first} {second}", column)
        if word == "parent":
            return f"p.{quoted(first)}"
        if word == "follow":
            return self._follow(self.scene.populations[first], column)
        if word == "numbers":
            return self._numbers(int(first), column)
        if word == "count":
            return str(self.scene.populations[first].total)
        return self._simple(word, first, column, number)

    def _simple(self, word: str, tag: str, column: str, number: str) -> str:
        clock, u = self.scene.clock, self._uniform(column, tag)
        values = {
            "u": u,
            "skew": f"power({u}, 3)",
            "i": "r.i",
            "k": number,
            "day": "r.day",
            "at": "r.at",
            "now": clock.now,
            "today": f"date '{clock.day.isoformat()}'",
            "total": str(self.scene.populations[self.contract.table].total),
            "uuid": f"md5({self._bits(column)}::text)::uuid",
            "digest": f"sha256(int8send({self._bits(column)}))",
        }
        if word in values:
            return values[word]
        return self._expand(_TEXT, column) if word == "text" else self._label(column, tag)

    def _counted(self, word: str, name: str, step: str, number: str) -> str:
        array, size = self._list(name)
        if word == "every":
            return f"{array}[1 + ({number} - 1) / {int(step)} % {size}]"
        nth = f"{array}[1 + ({number} - 1) % {size}]"
        if word == "nth":
            return nth
        return f"({nth} || CASE WHEN {number} > {size} THEN ' ' || (1 + ({number} - 1) / {size}) ELSE '' END)"

    def _drawn(self, word: str, name: str, tag: str, column: str) -> str:
        array, size = self._list(name)
        u = self._uniform(column, tag)
        if word == "word":
            return f"{array}[1 + floor({u} * {size})::int]"
        start, more = f"1 + floor({u} * {size - 2})::int", self._uniform(column, f"{tag} length")
        return f"{array}[{start}:{start} - 1 + floor({more} * 4)::int]"

    def _numbers(self, highest: int, column: str) -> str:
        draws = ", ".join(f"1 + floor({self._uniform(column, tag)} * {highest})::int" for tag in "abc")
        return f"(ARRAY[{draws}])[1:floor({self._uniform(column, 'length')} * 4)::int]"

    def _label(self, column: str, tag: str) -> str:
        labels = self.contract.column(column).type.labels
        draw = f"power({self._uniform(column, tag)}, 1.6)"
        return f"({literal(list(labels))}::text[])[1 + floor({len(labels)} * {draw})::int]"

    def _follow(self, parent: Population, column: str) -> str:
        own, u = self.scene.populations[self.contract.table], self._uniform(column)
        if not parent.fresh or not own.fresh:
            return f"ceil((r.k - 2 + 4 * {u}) * {parent.total} / {own.total})"
        fresh = f"{parent.old} + ceil((r.k - {own.old} - {u}) * {parent.fresh} / {own.fresh})"
        late = f"{parent.old} - floor({parent.old} * 0.08 * {u})"
        return f"CASE WHEN {self._uniform(column, 'late')} < 0.1 THEN {late} ELSE {fresh} END"

    def _list(self, name: str) -> tuple[str, int]:
        words = self.scene.words[name]
        return f"({literal(list(words))}::text[])", len(words)

    def _uniform(self, column: str, tag: str = "") -> str:
        # 52 bits: a double holds them exactly, and the quotient stays below one.
        return f"(({self._bits(column, tag)} & 4503599627370495) / 4503599627370496.0::float8)"

    def _bits(self, column: str, tag: str = "") -> str:
        return f"hashint8extended(r.i, {salt(self.scene.seed, self.contract.table, column, tag)})"


def salt(*parts: str) -> int:
    """Return a number below 2^56 that stands for these texts."""
    return int.from_bytes(blake2b("/".join(parts).encode(), digest_size=7).digest())


_TEXT = " || ".join(
    f"$word(subjects, {tag}) || ' ' || $word(verbs, {tag}) || ' ' || $word(objects, {tag}) || {end}"
    for tag, end in zip(
        "abcdefgh",
        ["'. '", "', says ' || $word(last_names) || '. '", "'. '", "E'.\\n\\n'", "'. '", "'. '", "'. '", "'.'"],
        strict=True,
    )
)

"""Files that are made from the code: `python -m tests.generated` writes them, `--check` names those that are stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ownlens_plugins.contracts import PRESETS, ContractDocument, Kind, LogicalType, read_contracts
from tests import drift_page
from tests.engine.type_page import types_page

from .validation.page import checks_page

ROOT = Path(__file__).parents[1]
CONTRACTS = ROOT / "table_configs"
RESOLVED = ROOT / "tests/contracts/resolved"

_MEANINGS = {
    Kind.BOOL: "true or false",
    Kind.INT16: "integer of 16 bits",
    Kind.INT32: "integer of 32 bits",
    Kind.INT64: "integer of 64 bits",
    Kind.FLOAT32: "binary floating point of 32 bits, NaN and infinities included",
    Kind.FLOAT64: "binary floating point of 64 bits, NaN and infinities included",
    Kind.DECIMAL: "exact decimal number, at most 38 digits",
    Kind.TEXT: "text without NUL characters; empty text is not null",
    Kind.UUID: "UUID",
    Kind.JSON: "JSON, kept in the form in which PostgreSQL prints `jsonb`",
    Kind.BYTES: "bytes",
    Kind.DATE: "day, years 1 to 9999",
    Kind.TIME: "time of a day in microseconds, 24:00 excluded",
    Kind.TIMESTAMP: "local date and time in microseconds, years 1 to 9999",
    Kind.TIMESTAMPTZ: "moment in microseconds, kept as UTC, years 1 to 9999",
    Kind.ENUM: "one of the labels",
    Kind.ARRAY: "list of one dimension, nulls inside allowed; `T` is no array, json, enum or bytes",
}
_SPELLINGS = {Kind.DECIMAL: "decimal(p,s)", Kind.ENUM: "enum(a, b)", Kind.ARRAY: "array<T>"}


def generated_files() -> Iterator[tuple[Path, str]]:
    """Yield every generated file with the content that it must have. Add a pair here, and it is written and checked."""
    yield CONTRACTS / "contract.schema.json", _json(ContractDocument.model_json_schema())
    for table, contract in read_contracts(CONTRACTS).items():
        yield RESOLVED / f"{table}.json", _json({**contract.describe(), "fingerprint": contract.fingerprint})
    yield ROOT / "docs/contracts.md", _contracts_page()
    yield ROOT / "docs/drift.md", drift_page.page()
    yield ROOT / "docs/types.md", types_page()
    yield ROOT / "docs/checks.md", checks_page()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _contracts_page() -> str:
    return "\n".join(
        [
            "# Contracts",
            "",
            "One YAML file per table, `table_configs/<domain>/<table>.yaml`, is the only place that knows the table.",
            "Where a name holds what no file's name can, the file or folder is spelt with %2F for a slash, "
            "%25 for a percent, %2E for a leading dot.",
            "Keys may be absent where a default stands. This page is made from the code by `make generate`.",
            "",
            *_keys(),
            *_types(),
            *_presets(),
        ]
    )


def _keys() -> Iterator[str]:
    yield from ("## Keys", "", "| key | required or default | meaning |", "|---|---|---|")
    for name, field in ContractDocument.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "required" if field.is_required() else f"`{json.dumps(default)}`"
        yield f"| `{name}` | {shown} | {field.description} |"
    yield ""


def _types() -> Iterator[str]:
    yield "## Logical types"
    yield from ("", "A trailing `?` makes a column nullable.", "", "| type | meaning | Arrow type |", "|---|---|---|")
    for kind in Kind:
        yield f"| `{_SPELLINGS.get(kind, kind.value)}` | {_MEANINGS[kind]} | `{_arrow_name(kind)}` |"
    yield ""


def _arrow_name(kind: Kind) -> str:
    if kind is Kind.ARRAY:
        return "list<T>"
    return str(LogicalType(kind, precision=38, scale=10).arrow).replace("38, 10", "p, s")


def _presets() -> Iterator[str]:
    yield from (
        "## Presets",
        "",
        "| preset | extraction | version_by | destination | options |",
        "|---|---|---|---|---|",
    )
    for name, preset in PRESETS.items():
        start = f"| `{name}` | {preset.extraction.value} | {preset.version_by or '-'}"
        for destination in [*preset.destinations, "any other"]:
            options = ", ".join(f"{key}: {value}" for key, value in preset.options(destination).items())
            yield f"{start} | {destination} | `{options}` |"
    yield ""


def stale_files() -> list[Path]:
    """Return the generated files that differ from what the code makes now, and those that nothing makes any more."""
    expected = dict(generated_files())
    changed = [file for file, content in expected.items() if not file.is_file() or file.read_text("utf-8") != content]
    return changed + [file for file in sorted(RESOLVED.glob("*.json")) if file not in expected]


def main(arguments: list[str]) -> int:
    stale = stale_files()
    if arguments == ["--check"]:
        for file in stale:
            print(f"{file.relative_to(ROOT)} is stale; run: make generate", file=sys.stderr)
        return 1 if stale else 0
    expected = dict(generated_files())
    for file in stale:
        if file in expected:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(expected[file], encoding="utf-8")
        else:
            file.unlink()
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

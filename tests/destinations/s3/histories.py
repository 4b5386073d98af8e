"""Long histories of a table, made in moments: commits of loads without rows, as the loads themselves write them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from deltalake import DeltaTable

from ownlens_s3.config import lake_options
from ownlens_s3.delta import DeltaLake
from ownlens_s3.ledger import as_document, new_entry
from ownlens_s3.marks import Marks

from .loads import Loader


@dataclass
class _Noted:
    """The application transactions of a log that is being written."""

    table: DeltaTable
    known: dict[str, int | None] = field(default_factory=dict)

    def transaction_version(self, app: str) -> int | None:
        return self.known[app] if app in self.known else self.table.transaction_version(app)


def pretend(loader: Loader, first: int, last: int) -> None:
    """Put commits of the sets from `first` to `last` into the log, and enter them in the ledger."""
    sample = loader.plans[max(loader.plans)]
    lake = loader.destination.delta(sample.contract, lake_options(sample))
    table = lake.open()
    assert table is not None
    noted = _Noted(table)
    marks = Marks(cast("Any", noted), f"ownlens/{sample.table}")
    for number in range(first, last + 1):
        plan = replace(sample, sequence=number, digest=f"{number:064d}")
        entry = as_document(replace(new_entry(plan, "0" * 16), table_id=str(table.metadata().id)))
        properties = marks.properties(plan, entry, replaces=False)
        txns = [{"appId": each.app_id, "version": each.version} for each in properties.app_transactions or ()]
        noted.known.update({each["appId"]: each["version"] for each in txns})
        actions: list[dict[str, Any]] = [{"commitInfo": {"operation": "WRITE", "ownlens": entry}}]
        lines = [json.dumps(action, separators=(",", ":")) for action in [*actions, *({"txn": each} for each in txns)]]
        _write(lake, f"_delta_log/{table.version() + 1 + number - first:020d}.json", "\n".join(lines))
        _write(lake, f"_ownlens/ledger/{number:08d}.json", json.dumps(entry))


def _write(lake: DeltaLake, name: str, text: str) -> None:
    if lake.folder.uri.startswith("s3://"):
        lake.folder.put(name, text.encode())
    else:
        Path(lake.folder.uri, name).write_text(text)

"""Stage the table of `benchmarks.extraction` once with the OwnLens of this interpreter: `worker HOST STAGING`."""

from __future__ import annotations

import json
import sys
import time

from ownlens_plugins.contracts import contract_from
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.engine.sources.postgresql import PostgreSQLSource
from ownlens_plugins.engine.staging import StagingArea
from ownlens_plugins.registry import Registry
from ownlens_plugins.settings import PostgreSQLSourceConfig

CONTRACT = contract_from(
    {
        "table": "reads",
        "domain": "news",
        "preset": "events",
        "key": ["read_id"],
        "partition_by": "created_at",
        "path": "news/reads",
        "columns": {
            "read_id": "int64",
            "article_id": "int32",
            "reader": "uuid",
            "title": "text?",
            "seconds": "float64?",
            "price": "decimal(10,2)?",
            "opened": "bool",
            "created_at": "timestamptz",
        },
    }
)


def main(host: str, staging: str) -> None:
    config = PostgreSQLSourceConfig.model_validate({"host": host, "database": "postgres", "user": "postgres"})
    area = StagingArea(staging, Registry())
    started = time.perf_counter()
    with PostgreSQLSource(config).snapshot() as snapshot:
        manifest = stage_table(CONTRACT, snapshot, area).manifest
    rows = 0 if manifest is None else manifest.rows
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])

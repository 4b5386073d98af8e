"""Write the sandbox's connections into blocks of a Prefect server: `python -m ownlens_sandbox.prefect_blocks POOL`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from prefect.blocks.core import Block


def _sqlalchemy(fields: dict[str, Any]) -> Block:
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector

    connector: Block = SqlAlchemyConnector(connection_info=ConnectionComponents(driver="postgresql+psycopg", **fields))
    return connector


def _minio(fields: dict[str, Any]) -> Block:
    from prefect_aws import AwsClientParameters, MinIOCredentials

    endpoint = AwsClientParameters(endpoint_url=fields.pop("endpoint_url"), use_ssl=False)
    return MinIOCredentials(**fields, aws_client_parameters=endpoint)


def _clickhouse(fields: dict[str, Any]) -> Block:
    from ownlens_flows.blocks import ClickHouseCredentials

    return ClickHouseCredentials(**fields)


_BLOCKS: dict[str, Callable[[dict[str, Any]], Block]] = {
    "sqlalchemy-connector": _sqlalchemy,
    "minio-credentials": _minio,
    "clickhouse-credentials": _clickhouse,
}


def main() -> None:
    """Read `{type/name: fields}` from stdin, save each block, and make the work pool."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    for reference, fields in json.load(sys.stdin).items():
        kind, name = reference.split("/")
        _BLOCKS[kind](fields).save(name, overwrite=True)
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=sys.argv[1], type="process"))
        except ObjectAlreadyExists:
            return


if __name__ == "__main__":
    main()

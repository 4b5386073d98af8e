"""The deployments of prefect.yaml, loaded as Prefect loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PREFECT_YAML = Path(__file__).parents[2] / "prefect.yaml"
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]


def test_the_deployments_have_these_names() -> None:
    assert {deployment["name"] for deployment in DEPLOYMENTS} == {
        "nightly",
        "hourly-events",
        "adhoc",
        "after-transform",
        "maintain",
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_its_flow_loads_and_takes_its_parameters(deployment: dict[str, Any]) -> None:
    from prefect.flows import load_flow_from_entrypoint

    # Without this, Prefect hides a module that does not import behind a placeholder.
    flow = load_flow_from_entrypoint(deployment["entrypoint"], use_placeholder_flow=False)
    assert flow.name == ("maintain-tables" if deployment["name"] == "maintain" else "load-tables")
    flow.validate_parameters(deployment.get("parameters", {}))


def test_the_parameter_schema_refuses_unknown_fields() -> None:
    from prefect.utilities.callables import parameter_schema

    from ownlens_flows.load import load_tables

    schema = parameter_schema(load_tables.fn).model_dump()
    assert schema["definitions"]["LoadRequest"]["additionalProperties"] is False

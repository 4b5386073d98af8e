"""The flow's state in Prefect: failed loads fail it, and what Prefect stores holds no secret."""

from __future__ import annotations

from ownlens_flows.load import load_tables
from ownlens_flows.request import LoadRequest

from .conftest import Project


def test_a_run_in_which_all_went_well_is_completed(project: Project) -> None:
    state = load_tables(LoadRequest(config=project.config), return_state=True)
    assert state.is_completed()
    assert state.message == "6 loads: 6 loaded, 0 with nothing new"


def test_a_run_with_a_failed_load_is_failed_and_says_why(project: Project) -> None:
    project.write_config(host="127.0.0.1", port=1, password="hunter2@%/")
    state = load_tables(LoadRequest(config=project.config, tables=["authors"]), return_state=True)
    assert state.is_failed()
    assert "1 failed" in (state.message or "")
    assert "postgresql" in (state.message or "")
    assert "hunter2" not in str(state)

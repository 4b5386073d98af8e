"""Take pictures of a load in Prefect's own pages, for a person to look at: `python -m tests.prefect.screenshots DIR`.

Needs Chromium (Debian's package `chromium`). With `--server ADDRESS` the pictures are of a server that runs already.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import httpx

from .stack import running_stack

REQUEST = {"tables": ["countries", "cities", "users", "browsers"]}


def take(address: str, target: Path) -> None:
    """Save pictures of the newest load's run, of its artifact, and of deployments, events and automations."""
    wanted = {"artifacts": {"type": {"any_": ["table"]}}, "sort": "CREATED_DESC", "limit": 1}
    answer = httpx.post(f"{address}/api/artifacts/filter", json=wanted, timeout=30).raise_for_status()
    artifact = answer.json()[0]
    run = artifact["flow_run_id"]
    pages = {
        "run": f"/runs/flow-run/{run}",
        "run-artifacts": f"/runs/flow-run/{run}?tab=Artifacts",
        "artifact": f"/artifacts/artifact/{artifact['id']}",
        "deployments": "/deployments",
        "events": "/events",
        "automations": "/automations",
    }
    for name, page in pages.items():
        picture(f"{address}{page}", target / f"{name}.png")


def picture(page: str, file: Path) -> None:
    """Save a page as a browser shows it."""
    _chromium(page, f"--screenshot={file}")


def shown_text(page: str) -> str:
    """Return the page's document after its scripts have run."""
    return _chromium(page, "--dump-dom")


def _chromium(page: str, wanted: str) -> str:
    with tempfile.TemporaryDirectory() as profile:
        chromium = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        shot = ["--window-size=1500,1100", "--virtual-time-budget=15000", wanted, page]
        return subprocess.run([*chromium, *shot], check=True, capture_output=True, text=True, timeout=120).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--server", help="Address of a running server, such as http://127.0.0.1:4200.")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.server:
        take(chosen.server, chosen.folder)
        return
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder)) as stack:
        stack.adhoc(REQUEST)
        take(stack.address, chosen.folder)


if __name__ == "__main__":
    main()

"""Make the alerts of loads: `python -m ownlens_flows.automations --notify slack-webhook/operations`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation, EventTrigger
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Posture

from ownlens_plugins.errors import SettingsInvalid

from .signals import MISMATCH, SLOW

RUN_ENDED_BADLY = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"}
OF_OUR_FLOW = {"prefect.resource.role": "flow", "prefect.resource.name": "load-tables"}


def alerts(block_id: UUID) -> list[Automation]:
    """Return the alerts, which all notify through one block."""
    return [
        # The run's state and not our event: a worker that was killed emits none.
        _alert("failure", RUN_ENDED_BADLY, OF_OUR_FLOW, block_id, "{{ flow_run.name }}: {{ flow_run.state.message }}"),
        _alert("slowness", {SLOW}, {}, block_id, "{{ event.payload.message }}"),
        _alert("mismatch", {MISMATCH}, {}, block_id, "{{ event.payload.message }}"),
    ]


def _alert(what: str, events: set[str], related: Mapping[str, Any], block_id: UUID, body: str) -> Automation:
    return Automation(
        name=f"ownlens {what}",
        description=f"Tells people of a load's {what}.",
        trigger=EventTrigger(
            expect=events, match_related=dict(related), posture=Posture.Reactive, threshold=1, within=timedelta(0)
        ),
        actions=[SendNotification(block_document_id=block_id, subject=f"OwnLens: {what} of a load", body=body)],
    )


def create(reference: str) -> list[Automation]:
    """Create the alerts, or bring those that exist up to date.

    Raises:
        SettingsInvalid: Prefect has no notification block of that type and name.
    """
    made = alerts(_block_id(reference))
    for automation in made:
        existing = _existing(automation.name)
        automation.id = existing
        if existing is None:
            automation.create()
        else:
            automation.update()
    return made


def _existing(name: str) -> UUID | None:
    with get_client(sync_client=True) as client:
        found = client.read_automations_by_name(name=name)
    return found[0].id if found else None


def _block_id(reference: str) -> UUID:
    try:
        block: Any = Block.load(reference)
    except ValueError as error:
        raise SettingsInvalid(
            f"no notification block {reference!r} in Prefect ({type(error).__name__}); "
            "create it, and name it as type/name, such as slack-webhook/operations"
        ) from None
    if "notify" not in block.get_block_capabilities():
        raise SettingsInvalid(f"block {reference!r} cannot notify; name one such as slack-webhook/operations")
    return UUID(str(block._block_document_id))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ownlens_flows.automations", description=__doc__)
    parser.add_argument("--notify", required=True, metavar="TYPE/NAME", help="Notification block, by name.")
    try:
        made = create(parser.parse_args(arguments).notify)
    except SettingsInvalid as error:
        sys.stderr.write(f"ownlens: {error}\n")
        return 1
    sys.stdout.writelines(f"{automation.name}\n" for automation in made)
    return 0


if __name__ == "__main__":
    sys.exit(main())

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

from ownlens_plugins.contracts.durations import parse_duration
from ownlens_plugins.errors import SettingsInvalid

from .signals import MISMATCH, SLOW

RUN_ENDED_BADLY = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"}
# Somebody cancelled it, or the deployment's limit did, because an earlier run still goes on.
RUN_CANCELLED = {"prefect.flow-run.Cancelled"}
RUN_COMPLETED = {"prefect.flow-run.Completed"}
# The clock of a silence starts with a completed run; where there is none yet, with the first run that is planned.
RUN_PLANNED = {"prefect.flow-run.Scheduled", "prefect.flow-run.Pending"}
OF_OUR_FLOWS = {"prefect.resource.role": "flow", "prefect.resource.name": ["load-tables", "maintain-tables"]}


# How long each deployment of prefect.yaml may go without a completed run: its schedule, and time to run.
EXPECTED = {"nightly": timedelta(hours=26), "hourly-events": timedelta(hours=3), "maintain": timedelta(hours=50)}


def alerts(block_id: UUID, expected: Mapping[str, timedelta] = EXPECTED) -> list[Automation]:
    """Return the alerts, which all notify through one block. `expected` is how long a deployment may be silent."""
    return [
        # The run's state and not our event: a worker that was killed emits none.
        _alert("failure", RUN_ENDED_BADLY, OF_OUR_FLOWS, block_id, "{{ flow_run.name }}: {{ flow_run.state.message }}"),
        _alert("slowness", {SLOW}, {}, block_id, "{{ event.payload.message }}"),
        _alert("mismatch", {MISMATCH}, {}, block_id, "{{ event.payload.message }}"),
        _alert(
            "cancellation", RUN_CANCELLED, OF_OUR_FLOWS, block_id, "{{ flow_run.name }}: {{ flow_run.state.message }}"
        ),
        *(_silence(name, longest, block_id) for name, longest in expected.items()),
    ]


def _silence(deployment: str, longest: timedelta, block_id: UUID) -> Automation:
    """Return the alert on a deployment no run of which has completed for so long, told once each time."""
    related: list[Any] = [
        dict(OF_OUR_FLOWS),
        {"prefect.resource.role": "deployment", "prefect.resource.name": deployment},
    ]
    return Automation(
        name=f"ownlens silence of {deployment}",
        description=f"Tells people that no run of {deployment} has completed for {longest}.",
        trigger=EventTrigger(
            # What is expected also starts the clock anew, so that silence is measured from the last completed run.
            after=RUN_COMPLETED | RUN_PLANNED,
            expect=RUN_COMPLETED,
            match_related=related,
            # With a key, the clock runs only after an event: an alert that was told is not told again and again.
            for_each={"related:deployment:prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=longest,
        ),
        actions=[
            SendNotification(
                block_document_id=block_id,
                subject=f"OwnLens: silence of {deployment}",
                body=f"no run of {deployment} has completed for {longest}; look for one that hangs, and at the worker",
            )
        ],
    )


def _alert(what: str, events: set[str], related: Mapping[str, Any], block_id: UUID, body: str) -> Automation:
    return Automation(
        name=f"ownlens {what}",
        description=f"Tells people of a load's {what}.",
        trigger=EventTrigger(
            expect=events, match_related=dict(related), posture=Posture.Reactive, threshold=1, within=timedelta(0)
        ),
        actions=[SendNotification(block_document_id=block_id, subject=f"OwnLens: {what} of a load", body=body)],
    )


def create(reference: str, expected: Mapping[str, timedelta] = EXPECTED) -> list[Automation]:
    """Create the alerts, or bring those that exist up to date.

    Raises:
        SettingsInvalid: Prefect has no notification block of that type and name.
    """
    made = alerts(_block_id(reference), expected)
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


def _expectation(text: str) -> tuple[str, timedelta]:
    name, _, time = text.partition("=")
    try:
        longest = parse_duration(time)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not name or not longest:
        raise argparse.ArgumentTypeError("write a deployment and a time, such as nightly=26h")
    return name, longest


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ownlens_flows.automations", description=__doc__)
    parser.add_argument("--notify", required=True, metavar="TYPE/NAME", help="Notification block, by name.")
    parser.add_argument(
        "--expect",
        action="append",
        type=_expectation,
        metavar="DEPLOYMENT=TIME",
        help="How long a deployment may go without a completed run, such as nightly=26h; once for each. "
        "Default: nightly=26h and hourly-events=3h.",
    )
    given = parser.parse_args(arguments)
    try:
        made = create(given.notify, dict(given.expect) if given.expect else EXPECTED)
    except SettingsInvalid as error:
        sys.stderr.write(f"ownlens: {error}\n")
        return 1
    sys.stdout.writelines(f"{automation.name}\n" for automation in made)
    return 0


if __name__ == "__main__":
    sys.exit(main())

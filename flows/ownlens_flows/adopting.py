"""Adopt one table in one destination, with the connections of a load."""

from __future__ import annotations

from contextlib import closing

from ownlens_plugins.engine.adopting import Adopted, adopt
from ownlens_plugins.engine.positions import Positions
from ownlens_plugins.engine.running import stage_table
from ownlens_plugins.errors import OwnLensError, Rejected

from .request import LoadRequest
from .run import LoadRun, logger, other_destinations, prepare


def adopt_table(table: str, destination: str, *, profile: str, config: str | None) -> Adopted:
    """Stage what is new, compare a destination's rows with the source, and take them for those of a staged set.

    Raises:
        OwnLensError: nothing was changed in the destination. Its text holds no secret.
    """
    run = prepare(LoadRequest(tables=[table], destinations=[destination], profile=profile, config=config))
    with closing(run):
        try:
            return _adopted(run)
        except OwnLensError as error:
            raise type(error)(run.scrubber.line(error)) from None
        except Exception as error:
            logger.error("%s: %s: not adopted: %s", table, destination, run.scrubber.trace(error))
            raise Rejected(
                f"{table}: {destination}: {type(error).__name__}: {run.scrubber.line(error)}; see the log"
            ) from None


def _adopted(run: LoadRun) -> Adopted:
    (contract,), ((name, store),) = run.contracts, run.destinations.items()
    # All of them: where other destinations hold loads, a log of staged sets that is empty was lost.
    others = other_destinations(run.profile, [name], run.registry)
    with run.source.snapshot() as snapshot:
        try:
            positions = Positions({**others, name: store})
            stage_table(contract, snapshot, run.area, positions=positions)
            return adopt(store, contract, snapshot, run.area, run.registry)
        finally:
            for other in others.values():
                other.close()

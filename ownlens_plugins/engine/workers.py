"""Who writes the parts of a load, decided for each load by itself: this process, or a Spark cluster.

Everything before and after the writing is the same, so either may take the next load of any table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from ..api import Destination, LoadPlan
from ..contracts import TableContract
from ..engines import Engine, SparkConfig
from ..errors import SettingsInvalid
from ..powers import KnowsItsReach
from .loading import MapParts

logger = logging.getLogger("ownlens.load")


class Cluster(Protocol):
    """Workers of other processes. Nothing of `ownlens_plugins.spark` is imported or started before a load needs it."""

    def mapping(self, plan: LoadPlan) -> MapParts: ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Whether a load goes to Spark, and why."""

    spark: bool
    reason: str


def _spark(config: SparkConfig) -> Cluster:
    from ..spark.workers import SparkWorkers

    return SparkWorkers(config)


@dataclass
class Workers:
    """What one run may use. `asked` is the request's word, which goes before the contract's and the profile's."""

    profile: Engine = Engine.LOCAL
    config: SparkConfig | None = None
    asked: Engine | None = None
    start: Callable[[SparkConfig], Cluster] = _spark
    _cluster: Cluster | None = field(default=None, repr=False)

    def require(self, contracts: Sequence[TableContract]) -> None:
        """Check, before anything moves, that what is asked for outright can be had.

        Raises:
            SettingsInvalid: the profile names no cluster, or pyspark is not installed.
        """
        wanted = [contract.table for contract in contracts if self._engine(contract) is Engine.SPARK]
        if not wanted:
            return
        if self.config is None:
            raise SettingsInvalid(
                f"engine spark is asked for ({wanted[0]}), and the profile names no cluster; add "
                "[profiles.NAME.spark] with master or remote to ownlens.toml, or set engine to local"
            )
        if not _installed():
            raise SettingsInvalid("engine spark needs pyspark; pip install 'ownlens[spark]', or set engine to local")

    def warm_up(self, contracts: Sequence[TableContract]) -> None:
        """Start the session that is certain to be needed: it takes seconds, in which tables are staged."""
        if self.config is not None and any(self._engine(contract) is Engine.SPARK for contract in contracts):
            self._started(self.config).warm_up()

    def _engine(self, contract: TableContract) -> Engine:
        return self.asked or contract.engine or self.profile

    def choose(self, destination: Destination[Any, Any], plan: LoadPlan) -> Choice:
        """Decide who writes the parts of a load."""
        engine = self._engine(plan.contract)
        if engine is Engine.LOCAL:
            return Choice(False, "engine is local")
        if self.config is None:
            return Choice(False, "the profile names no Spark cluster")
        if not plan.parts:
            return Choice(False, "there are no rows")
        if isinstance(destination, KnowsItsReach) and (why := destination.out_of_reach()):
            return Choice(False, why)
        if engine is Engine.SPARK:
            return Choice(True, "engine is spark")
        return self._by_size(self.config, plan)

    @staticmethod
    def _by_size(config: SparkConfig, plan: LoadPlan) -> Choice:
        size = f"{plan.rows:,} rows, {plan.bytes:,} bytes"
        if not config.engine_threshold.reached(plan.rows, plan.bytes):
            return Choice(False, f"{size} are below engine_threshold, {config.engine_threshold}")
        if len(plan.parts) == 1:
            return Choice(False, f"{size} are one part, which one worker would write")
        if not _installed():
            return Choice(False, "pyspark is not installed")
        return Choice(True, f"{size} in {len(plan.parts)} parts reach engine_threshold, {config.engine_threshold}")

    def mapping(self, destination: Destination[Any, Any], plan: LoadPlan) -> MapParts | None:
        """Return what has the parts of a load written elsewhere, None where this process writes them; say why."""
        if self.config is None and self._engine(plan.contract) is not Engine.SPARK:
            return None
        choice = self.choose(destination, plan)
        where = "spark" if choice.spark else "this process"
        logger.info("%s: %s: written by %s: %s", plan.table, plan.destination, where, choice.reason)
        if not choice.spark or self.config is None:
            return None
        return self._started(self.config).mapping(plan)

    def _started(self, config: SparkConfig) -> Cluster:
        # The object only: its session comes with the first job, or by `warm_up`.
        if self._cluster is None:
            self._cluster = self.start(config)
        return self._cluster

    def close(self) -> None:
        """End what was started. Called once no load runs any more."""
        if self._cluster is not None:
            self._cluster.close()


def _installed() -> bool:
    return find_spec("pyspark") is not None


HERE = Workers()

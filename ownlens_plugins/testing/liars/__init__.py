"""Destinations that differ from the reference in one thing each, and so break one promise each.

They show that the suite can fail. `LIARS` names, for each, the check that must catch it and what that check says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...contracts import Strategy
from ..reference import ReferenceDestination
from . import attempting, changing, committing, dying, maintaining, standing


@dataclass(frozen=True, slots=True)
class Lie:
    """How a liar is caught: by the check `caught_by`, which says `because`, when it loads by `strategy`.

    `also` names the checks that cannot hold either once this promise is broken; None that nearly nothing holds.
    """

    caught_by: str
    because: str
    also: frozenset[str] | None = frozenset()
    strategy: Strategy = Strategy.APPEND


def _also(*checks: str) -> frozenset[str]:
    return frozenset(checks)


LIARS: Mapping[type[ReferenceDestination], Lie] = {
    committing.CommitsEarly: Lie("nothing_is_visible_before_commit", "nothing is visible before commit", also=None),
    committing.ForgetsTheMarker: Lie(
        "all_rows_and_the_marker_are_there_after_commit", "`find_commit` must find a load", also=None
    ),
    committing.LosesTheLastPart: Lie("all_rows_and_the_marker_are_there_after_commit", "rows are missing", also=None),
    committing.OverwritesNothing: Lie(
        "each_load_does_what_its_strategy_says", "rows too many", also=None, strategy=Strategy.OVERWRITE
    ),
    committing.ReportsWrongCounts: Lie("counts_are_true", "inserted, updated, unchanged must be"),
    committing.LetsOldVersionsWin: Lie(
        "an_older_version_never_replaces_a_newer_one", "an older version", strategy=Strategy.UPSERT
    ),
    committing.CountsTheWholeTable: Lie("a_slice_is_counted_as_readers_see_it", "must be counted as readers see it"),
    committing.KeepsWhatIsGone: Lie(
        "what_is_gone_leaves_with_the_set_that_shows_it", "what is gone from the source", strategy=Strategy.UPSERT
    ),
    committing.ForgetsEmptySets: Lie("an_empty_set_is_a_load_too", "the ledger must hold loads"),
    committing.SwallowsDamage: Lie(
        "a_failed_load_leaves_nothing",
        "DID NOT RAISE",
        _also("a_set_that_lost_rows_is_refused", "lost_rows_are_noticed_inside_the_commit"),
    ),
    committing.BelievesTheManifest: Lie(
        "a_set_that_lost_rows_is_refused", "DID NOT RAISE", _also("lost_rows_are_noticed_inside_the_commit")
    ),
    committing.CountsNothing: Lie("lost_rows_are_noticed_inside_the_commit", "DID NOT RAISE"),
    committing.ForgetsAfterClose: Lie("rows_read_back_stay_the_same_after_close", "used again after `close`"),
    committing.AcceptsAnotherDigest: Lie(
        "the_same_id_with_another_digest_is_refused",
        "DID NOT RAISE",
        _also("a_ledger_that_knows_loads_is_not_adopted_over"),
    ),
    committing.Mumbles: Lie("the_same_id_with_another_digest_is_refused", "an error must name the table"),
    committing.AcceptsAnyStrategy: Lie("a_strategy_that_is_not_claimed_is_refused", "DID NOT RAISE"),
    attempting.LeavesAProbe: Lie("the_same_load_again_changes_nothing", "attempts left", also=None),
    attempting.DoublesOnReplay: Lie(
        "a_commit_of_a_committed_load_changes_nothing", "must say that it is a replay", _also("two_attempts_at_once")
    ),
    attempting.CountsAPartTwice: Lie("a_part_written_twice_counts_once", "rows too many"),
    attempting.LetsZombiesWrite: Lie("a_zombie_writer_changes_nothing", "attempts left"),
    attempting.KeepsAConnection: Lie("a_writer_can_be_sent_to_another_process", "a writer must be picklable"),
    attempting.LeavesAbandonedAttempts: Lie("an_abandoned_attempt_is_cleared", "attempts left"),
    attempting.AbortsNothing: Lie(
        "an_aborted_attempt_leaves_nothing",
        "an aborted attempt must leave nothing",
        _also("a_failed_load_leaves_nothing", "a_zombie_writer_changes_nothing"),
    ),
    attempting.ClearsOthersStages: Lie("another_attempt_is_left_alone", "reference holds 0 of 30 staged rows"),
    attempting.LooksTooEarly: Lie("two_attempts_at_once", "may not both apply it"),
    attempting.LetsStaleLoadsWin: Lie(
        "a_stale_attempt_after_a_newer_load",
        "a stale attempt that counted",
        _also("an_attempt_outlives_maintenance"),
        strategy=Strategy.UPSERT,
    ),
    attempting.MixesTables: Lie("loads_of_two_tables_at_once", "rows too many"),
    changing.RoundsDecimals: Lie("each_type_comes_back_exactly", "every value comes back exactly"),
    changing.LosesNaN: Lie("each_type_comes_back_exactly", "every value comes back exactly"),
    changing.TurnsNullIntoEmpty: Lie(
        "each_type_comes_back_exactly", "every value comes back exactly", _also("a_wide_table")
    ),
    changing.LosesWideColumns: Lie("a_wide_table", "a table of 305 columns"),
    changing.FoldsColumnNames: Lie("odd_column_names", "columns with odd names"),
    changing.FoldsTableNames: Lie("odd_table_names", "with another digest"),
    dying.LeavesItsStage: Lie(
        "a_killed_load_is_repaired_by_the_next_run", "attempts left", _also("a_newer_load_follows_a_killed_one")
    ),
    dying.TearsTheCommit: Lie("a_killed_load_is_repaired_by_the_next_run", "rows too many"),
    dying.ClearsOnlyItsOwnLoad: Lie("a_newer_load_follows_a_killed_one", "attempts left"),
    dying.LocksItsProcessOnly: Lie("processes_race_with_one_set", "say that they applied the load"),
    dying.RewritesTheTable: Lie("processes_race_with_sets_of_one_table", "rows are missing"),
    dying.LosesRivalsRows: Lie("a_stale_attempt_after_a_newer_load", "rows are missing", also=None),
    maintaining.ForgetsThePosition: Lie("maintenance_loses_no_row_and_no_load", "the position must be"),
    maintaining.ForgetsStagedLoads: Lie(
        "maintenance_loses_no_row_and_no_load",
        "the ledger must hold loads",
        _also("retention_removes_only_what_is_older"),
    ),
    maintaining.LosesARowInCompaction: Lie("maintenance_loses_no_row_and_no_load", "rows are missing", also=None),
    maintaining.DoublesARowInCompaction: Lie("maintenance_loses_no_row_and_no_load", "rows too many", also=None),
    maintaining.DeletesYoungRows: Lie("retention_removes_only_what_is_older", "rows are missing"),
    maintaining.ActsInADryRun: Lie("retention_removes_only_what_is_older", "a dry run changes nothing"),
    maintaining.BoastsOfChores: Lie("retention_removes_only_what_is_older", "maintenance must tell of"),
    maintaining.GuessesInADryRun: Lie("retention_removes_only_what_is_older", "a dry run must tell"),
    maintaining.ClearsRunningAttempts: Lie("an_attempt_outlives_maintenance", "holds 0 of 30 staged rows"),
    maintaining.AppliesForgottenLoads: Lie("an_attempt_outlives_maintenance", "may not be applied again"),
    maintaining.TearsItsMaintenance: Lie("a_killed_maintenance_is_finished_by_the_next", "readers see"),
    maintaining.UndoesRivalsLoads: Lie("loads_and_maintenance_at_once", "rows are missing"),
    standing.PromisesTheNextLoad: Lie("an_overview_says_what_each_load_says", "must tell load"),
    standing.TellsTheFirstLoad: Lie("an_overview_says_what_each_load_says", "tells another digest"),
    standing.IsSureOfGaps: Lie("an_overview_says_what_each_load_says", "is sure of load", also=None),
    standing.AdoptsWithALoss: Lie(
        "rows_are_adopted_as_they_are", "rows are missing", _also("other_rows_are_not_adopted")
    ),
    standing.AdoptsAnyCount: Lie("other_rows_are_not_adopted", "DID NOT RAISE"),
    standing.MarksBeforeItCounts: Lie("other_rows_are_not_adopted", "an adoption that is refused marks nothing"),
    standing.AdoptsOverALedger: Lie("a_ledger_that_knows_loads_is_not_adopted_over", "DID NOT RAISE"),
}

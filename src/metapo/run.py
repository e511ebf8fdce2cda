"""One training run in its folder: which revision scores which step, when the meta step runs, and how a run goes on.

    RUN/
      settings.yaml          as resolved
      task.py                your own task, as it was when the run began
      store.db               lineage, rollouts, verdicts, meta steps
      metrics.jsonl          one row per step (train, eval, meta, trainer)
      checkpoints/           the engine's, each with a metapo.json that ties it to step and revision
      policy/                the trained policy with its card, at the end

`Run` keeps the folder, on the first rank only; every rank judges with a `Scorer` of its own.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from metapo.anchors import load_anchors
from metapo.course import Boundary, Course, Row
from metapo.errors import (
    LineageError,
    MetapoError,
    RunError,
    RunExists,
)
from metapo.files import append_row, hold, read_rows, write_whole
from metapo.judge.ledger import Ledger
from metapo.judge.transport import Transport
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Senses
from metapo.records import anchor_record, rollout_record
from metapo.reward import Observe, Scored, observe_nothing
from metapo.rollout import Split
from metapo.scorer import ByCluster
from metapo.settings import Settings
from metapo.store import CallRecord, Store

SETTINGS, STORE, METRICS, LOCK, CHECKPOINTS, MARKER, POLICY = (
    "settings.yaml",
    "store.db",
    "metrics.jsonl",
    ".lock",
    "checkpoints",
    "metapo.json",
    "policy",
)
log = logging.getLogger(__name__)
S = TypeVar("S", bound=Settings)


class FileNotes:
    """A run's metrics in a file of JSON lines, of which what no longer counts is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: list[Row] = []

    def append(self, row: Row) -> None:
        append_row(self._path, row)
        self.rows.append(row)

    def go_back(self, step: int) -> None:
        self.rows = [row for row in read_rows(self._path) if _is_live(row, step)]
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))


class Run(Course):
    """A run folder, held by this process alone until `close`."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        meta_transport: Transport,
        lock: Any,
        *,
        observe: Observe,
        answered_by: Mapping[str, str] | None,
        ledger: Ledger | None,
    ) -> None:
        self.folder = folder
        self._lock = lock
        self._answered_by = answered_by or {}
        super().__init__(
            Store(folder / STORE),
            settings,
            meta_transport,
            FileNotes(folder / METRICS),
            observe=observe,
            ledger=ledger or Ledger(),
            settings_at=str(folder / SETTINGS),
            advice=f"metapo train --resume {folder}",
        )

    @classmethod
    def create(
        cls,
        folder: Path,
        settings: Settings,
        meta_transport: Transport,
        *,
        observe: Observe = observe_nothing,
        answered_by: Mapping[str, str] | None = None,
        ledger: Ledger | None = None,
        anchors: Sequence[Pair] = (),
    ) -> Self:
        """Start a run in a new or empty folder. `answered_by` says, by role, who answers; what is left in the `ledger`
        at a step's end goes on record. `anchors` are pinned beside those of the settings.
        Raises RunExists, RunInUse, RunError, DataError."""
        pinned = [*anchors, *(load_anchors(Path(settings.meta.anchors)) if settings.meta.anchors else ())]
        lock = hold(folder / LOCK, f"the run folder {folder}")
        if (folder / SETTINGS).exists():
            lock.release()
            raise RunExists(
                f"{folder} holds a run already. Resume it with --resume {folder}, or choose another folder."
            )
        settings = _placed(settings)
        run = cls(folder, settings, meta_transport, lock, observe=observe, answered_by=answered_by, ledger=ledger)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        run.store.append_anchors([anchor_record(p, Source.ANCHOR, who="settings", added_at=now) for p in pinned])
        write_whole(folder / SETTINGS, settings.to_yaml())  # last, as a folder with settings counts as a run
        return run

    @classmethod
    def resume(
        cls,
        folder: Path,
        settings: Settings,
        meta_transport: Transport,
        *,
        observe: Observe = observe_nothing,
        answered_by: Mapping[str, str] | None = None,
        ledger: Ledger | None = None,
    ) -> Self:
        """Go on with a run. Raises RunError where there is none, where the settings, apart from the budget, differ from
        those it began with, or where another model answers."""
        if not (folder / SETTINGS).exists():
            raise RunError(f"{folder} holds no run to resume: it has no {SETTINGS}. Start one without --resume.")
        settings = _placed(settings)
        begun = type(settings).load(folder / SETTINGS)
        if begun.model_copy(update={"budget": settings.budget}) != settings:
            raise RunError(
                f"the settings differ from {folder / SETTINGS}. A run keeps its settings, all but the budget; start a "
                "new one."
            )
        lock = hold(folder / LOCK, f"the run folder {folder}")
        if begun != settings:
            write_whole(folder / SETTINGS, settings.to_yaml())
        run = cls(folder, settings, meta_transport, lock, observe=observe, answered_by=answered_by, ledger=ledger)
        if change := run._change_of_model():
            run.close()
            raise RunError(
                f"other models answer than before in {folder}. {change} Verdicts of two models don't compare: serve "
                "the one that the run began with, or start a new run."
            )
        return run

    def close(self) -> None:
        """Write the calls that are left, and give the folder free."""
        try:
            self.record_calls(())
        finally:
            self.store.close()
            self._lock.release()

    def begin(self, step: int, n_steps: int | None = None) -> ByCluster:
        """Open an attempt that goes on after `step` optimizer steps; returns what is in force there. `n_steps` is how
        many the run has in all, if that is known: what would come into force only then is not begun.

        What an earlier attempt wrote beyond `step` stays in the store but is no longer live. Raises BudgetSpent.
        """
        self.open_attempt(step, self._answered_by, n_steps)
        return self.in_force

    async def end_step(
        self,
        step: int,
        scored: Sequence[Scored],
        error: MetapoError | None = None,
        *,
        others: Sequence[CallRecord] = (),
        senses: Senses,
        max_unscored: float | None = None,
    ) -> Boundary:
        """Close an optimizer step: `step` are done, `scored` is what all ranks judged since the last call.

        Writes the rollouts, brings into force what meta steps and people decided, begins a meta step where one is due,
        and says how to go on. `error` is one that a rank met; `others` are the ranks' calls that belong to no rollout;
        `senses` is how a meta step asks the judge; `max_unscored` replaces that of the settings.
        """
        self._step = step
        self._record(scored)
        self.record_calls(others)
        if max_unscored is not None:
            error = error or self.failure(step, [s for s in scored if s.rollout.split is Split.TRAIN], max_unscored)
        return await self.close_step(step, scored, error, senses)

    def record_eval(self, scored: Sequence[Scored], others: Sequence[CallRecord] = ()) -> MetapoError | None:
        """Write evaluation rollouts outside of a step, and the `others` as in `end_step`; the meta model never reads
        them. Returns the error where too many of them have no reward."""
        self._record(scored)
        self.record_calls(others)
        return self.failure(scored[0].rollout.step, scored) if scored else None

    def is_evaluated(self, step: int) -> bool:
        """Are the figures of an evaluation after `step` steps on record, of rewards among others?"""
        evaluated = [row for row in self._notes.rows if row["kind"] == Split.EVAL.value and row["step"] >= step]
        return any(row["unscored"] < 1 for row in evaluated)

    def record_trainer(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the engine's own figures (loss, KL, entropy, ...) of a step."""
        self._notes.append({"kind": "trainer", "step": step, **figures})

    def checkpoint(self, step: int, folder: Path) -> None:
        """Tie a finished engine checkpoint to step and revision; a checkpoint without this file is incomplete."""
        write_whole(folder / MARKER, json.dumps({"step": step, "revision": self.revision.id}))

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Step and folder of the newest complete checkpoint. Raises LineageError where its revision is unknown."""
        found = []
        for marker in (self.folder / CHECKPOINTS).glob(f"*/{MARKER}"):
            state = json.loads(marker.read_text(encoding="utf-8"))
            found.append((state["step"], marker.parent, state["revision"]))
        if not found:
            return None
        step, folder, revision = max(found)
        if revision not in [r.id for at, r in self.store.lineage() if at <= step]:
            raise LineageError(f"{folder} was written under revision {revision[:10]}, which the store's lineage lacks")
        return step, folder

    def _change_of_model(self) -> str:
        """Who answered before and who does now, where that differs."""
        before = self.store.answered_by()
        changed = {role: who for role, who in self._answered_by.items() if before.get(role, who) != who}
        return " ".join(f"The {role} was {before[role]}, now it is {who}." for role, who in changed.items())

    def _record(self, scored: Sequence[Scored]) -> None:
        self.store.append_rollouts(self._attempt, [rollout_record(s) for s in scored])
        self.note(scored)


def _is_live(row: Mapping[str, Any], resumed_step: int) -> bool:
    """Does a metrics row stand when a run goes on after `resumed_step` steps? The same rule as the store's views."""
    if resumed_step == 0:
        return False
    return bool(row["step"] < resumed_step or (row["step"] == resumed_step and row["kind"] != Split.TRAIN.value))


def _placed(settings: S) -> S:
    """The same, with anchors whose path holds from the run folder too."""
    if settings.meta.anchors is None:
        return settings
    anchors = str(Path(settings.meta.anchors).absolute())
    return settings.model_copy(update={"meta": settings.meta.model_copy(update={"anchors": anchors})})

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from metapo.aio import each
from metapo.anchors import load_anchors
from metapo.errors import (
    BudgetSpent,
    ChatMisconfigured,
    JudgeFailureLimit,
    LineageError,
    MetapoError,
    RunError,
    RunExists,
)
from metapo.evolve import Evolution
from metapo.figures import detections, summarize
from metapo.files import append_row, hold, read_rows, write_whole
from metapo.judge.ledger import Ledger
from metapo.judge.transport import Transport
from metapo.meta.conversation import MetaModel
from metapo.meta.onset import hacking, watched
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Reviser, Senses
from metapo.records import anchor_record, rollout_record, take_records
from metapo.reward import Observe, Scored, observe_nothing
from metapo.rollout import Split
from metapo.rubric import Revision
from metapo.scorer import ByCluster
from metapo.settings import BudgetSettings, Settings
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


@dataclass(frozen=True)
class Boundary:
    """What holds from the next step on: what is in force for each cluster, and the error that ends the run, if any."""

    in_force: ByCluster
    error: MetapoError | None = None

    @property
    def revision(self) -> Revision:
        """The revision in force for prompts of no cluster."""
        return self.in_force[""].revision


class Run:
    """A run folder, held by this process alone until `close`."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        reviser: Reviser,
        lock: Any,
        *,
        observe: Observe,
        answered_by: Mapping[str, str] | None,
        ledger: Ledger | None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.store = Store(folder / STORE)
        self._reviser = reviser
        self._lock = lock
        self._observe = observe
        self._answered_by = answered_by or {}
        self._ledger = ledger or Ledger()
        self._attempt = 0
        self._step = 0
        self._n_steps: int | None = None
        self._rows: list[dict[str, Any]] = []
        self._trained: set[str] = set()
        self._evolutions: dict[str, Evolution] = {"": self._evolution("")}

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
        reviser = _reviser(settings, meta_transport)
        run = cls(folder, settings, reviser, lock, observe=observe, answered_by=answered_by, ledger=ledger)
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
        reviser = _reviser(settings, meta_transport)
        run = cls(folder, settings, reviser, lock, observe=observe, answered_by=answered_by, ledger=ledger)
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

    @property
    def in_force(self) -> ByCluster:
        """The revision and scale in force, by cluster."""
        known = {cluster: evolution.in_force for cluster, evolution in self._evolutions.items()}
        return ByCluster(self._evolutions[""].first, known)

    @property
    def revision(self) -> Revision:
        """The revision in force for prompts of no cluster."""
        return self._evolutions[""].in_force.revision

    def begin(self, step: int, n_steps: int | None = None) -> ByCluster:
        """Open an attempt that goes on after `step` optimizer steps; returns what is in force there. `n_steps` is how
        many the run has in all, if that is known: what would come into force only then is not begun.

        What an earlier attempt wrote beyond `step` stays in the store but is no longer live. Raises BudgetSpent.
        """
        if error := self._overspent(step):
            raise error
        now = datetime.now(UTC)
        self._attempt = self.store.begin_attempt(resumed_step=step, now=now, answered_by=self._answered_by)
        self._step, self._n_steps = step, n_steps
        self._trained = set(self.store.clusters())
        self._evolutions = {cluster: self._evolution(cluster) for cluster in sorted({"", *self._trained})}
        for evolution in self._evolutions.values():  # "" comes first: the others begin where it did
            evolution.begin(self._attempt, step)
        self._rows = [row for row in read_rows(self.folder / METRICS) if _is_live(row, step)]
        write_whole(self.folder / METRICS, "".join(json.dumps(row) + "\n" for row in self._rows))
        return self.in_force

    async def end_step(
        self,
        step: int,
        scored: Sequence[Scored],
        error: MetapoError | None = None,
        *,
        others: Sequence[CallRecord] = (),
        senses: Senses,
    ) -> Boundary:
        """Close an optimizer step: `step` are done, `scored` is what all ranks judged since the last call.

        Writes the rollouts, brings into force what meta steps and people decided, begins a meta step where one is due,
        and says how to go on. `error` is one that a rank met; `others` are the ranks' calls that belong to no rollout;
        `senses` is how a meta step asks the judge.
        """
        self._step = step
        self._record(scored)
        self.record_calls(others)
        train = [s for s in scored if s.rollout.split is Split.TRAIN]
        error = error or self._failure(step, train) or self._overspent(step)
        if error is None:
            try:
                await self._evolve(step, [s for s in train if not s.screened], senses)
            except ChatMisconfigured as e:
                error = e
            self.record_calls(())
        return Boundary(self.in_force, error)

    async def interrupt(self) -> None:
        """End meta steps that are under way; a run that goes on begins them again."""
        await each(lambda evolution: evolution.interrupt(), list(self._evolutions.values()))

    def record_eval(self, scored: Sequence[Scored], others: Sequence[CallRecord] = ()) -> MetapoError | None:
        """Write evaluation rollouts outside of a step, and the `others` as in `end_step`; the meta model never reads
        them. Returns the error where too many of them have no reward."""
        self._record(scored)
        self.record_calls(others)
        return self._failure(scored[0].rollout.step, scored) if scored else None

    def record_calls(self, others: Sequence[CallRecord]) -> None:
        """Write calls that belong to no rollout, and all that is left in this process's ledger."""
        self.store.append_other_calls(self._attempt or None, self._step, [*others, *take_records(self._ledger)])

    def is_evaluated(self, step: int) -> bool:
        """Are the figures of an evaluation after `step` steps on record, of rewards among others?"""
        evaluated = [row for row in self._rows if row["kind"] == Split.EVAL.value and row["step"] >= step]
        return any(row["unscored"] < 1 for row in evaluated)

    def record_trainer(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the engine's own figures (loss, KL, entropy, ...) of a step."""
        self._note({"kind": "trainer", "step": step, **figures})

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
        for split in Split:
            part = [s for s in scored if s.rollout.split is split]
            if part:
                step, ids = part[0].rollout.step, ",".join(dict.fromkeys(s.revision_id[:10] for s in part))
                figures = self._figures(part)
                row = {"kind": split.value, "step": step, "revision": ids, **figures}
                onset = hacking(watched([*self._rows, row])) if split is Split.TRAIN else {}
                self._note({**row, **onset})
                shown = _shown(figures.get("reward")), 100 * figures["unscored"], ids
                log.info("%s step %d: reward %s, unscored %.0f%%, revision %s", split.value, step, *shown)

    def _figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        rubric = self.revision.rubric if len(self._evolutions) == 1 else None
        flagged = detections(scored, rubric, self.settings.min_words)
        return {**summarize(scored), **flagged, **self._observe(scored)}

    def _note(self, row: dict[str, Any]) -> None:
        append_row(self.folder / METRICS, row)
        self._rows.append(row)

    async def _evolve(self, step: int, train: Sequence[Scored], senses: Senses) -> None:
        """Each cluster's lineage at a boundary."""
        last: dict[str, list[Scored]] = {}
        for scored in train:
            last.setdefault(scored.rollout.cluster, []).append(scored)
        for cluster in sorted(last.keys() - self._evolutions.keys()):
            self._evolutions[cluster] = self._evolution(cluster)
            self._evolutions[cluster].begin(self._attempt, step)
        self._trained |= last.keys()
        clusters = sorted(self._trained) or [""]  # without prompts of its own, "" is only where the others begin
        for cluster in clusters:
            await self._evolutions[cluster].at_boundary(step, self._rows, last.get(cluster, ()), senses)
        for cluster in clusters:  # all meta steps have begun: where training waits for them, it waits for all at once
            await self._evolutions[cluster].settle(step, senses)

    def _evolution(self, cluster: str) -> Evolution:
        return Evolution(self.store, self.settings, self._reviser, self._ledger, self._note, cluster, self._n_steps)

    def _failure(self, step: int, train: Sequence[Scored]) -> JudgeFailureLimit | None:
        failed = [s for s in train if s.reward.value is None]
        if not train or len(failed) / len(train) <= self.settings.max_unscored:
            return None
        reasons = [u for s in failed for u in s.assessment.unscored]
        details = sorted({f"{u.reason.value}: {u.detail[:200]}" for u in reasons})
        return JudgeFailureLimit(
            f"step {step}: {len(failed)} of {len(train)} rollouts have no reward, more than max_unscored = "
            f"{self.settings.max_unscored:g} allows. Reasons: {'; '.join(details[:3])}. "
            f"Mend the judge, then go on with: metapo train --resume {self.folder}"
        )

    def _overspent(self, step: int) -> BudgetSpent | None:
        if self.settings.budget == BudgetSettings():
            return None
        spent = self.store.spent()
        allowed = self.settings.budget.reached(spent.tokens, spent.cost_usd)
        if not allowed:
            return None
        return BudgetSpent(
            f"step {step}: the run has spent {spent.tokens} tokens and {spent.cost_usd:.2f} USD in {spent.n_calls} "
            f"calls, which reaches {allowed}. To go on, raise it in {self.folder / SETTINGS} and then: "
            f"metapo train --resume {self.folder}"
        )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


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


def _reviser(settings: Settings, transport: Transport) -> Reviser:
    endpoint = settings.meta.endpoint or settings.judge
    return Reviser(MetaModel(transport, settings.meta_task, settings.meta, f"meta model {endpoint.model}"))

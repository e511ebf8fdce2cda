"""The steps of a run: what was scored in each, what is in force in the next, and why it stops.

A `Course` knows the store and the run's metrics, but neither a folder nor an engine: a `Run` is one in a folder, for a
trainer of this process; a `RewardService` has one for engines that ask from elsewhere.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from metapo.aio import each
from metapo.errors import BudgetSpent, ChatMisconfigured, JudgeFailureLimit, MetapoError
from metapo.evolve import Evolution
from metapo.figures import detections, flags_of, summarize
from metapo.judge.ledger import Ledger
from metapo.judge.transport import Transport
from metapo.meta.conversation import MetaModel
from metapo.meta.onset import hacking, watched
from metapo.meta.step import Reviser, Senses
from metapo.records import take_records
from metapo.reported import at_boundary
from metapo.reward import Observe, Scored
from metapo.rollout import Split
from metapo.rubric import Revision
from metapo.scorer import ByCluster
from metapo.settings import BudgetSettings, Settings
from metapo.store import CallRecord, Store

Row = dict[str, Any]
log = logging.getLogger(__name__)


class Notes(Protocol):
    """The rows of a run's metrics that count, oldest first. Each has a `kind` and a `step`."""

    rows: list[Row]

    def append(self, row: Row) -> None: ...

    def go_back(self, step: int) -> None:
        """What came after `step` steps no longer counts."""
        ...


@dataclass(frozen=True)
class Boundary:
    """What holds from the next step on: what is in force for each cluster, and the error that ends the run, if any.
    `figures` are what the last step and this boundary have to report."""

    in_force: ByCluster
    error: MetapoError | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def revision(self) -> Revision:
        """The revision in force for prompts of no cluster."""
        return self.in_force[""].revision


class Course:
    """A run's steps. A run that stopped goes on by `advice`, with what is changed in `settings_at`; what is left in the
    `ledger` at a step's end goes on record."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        meta_transport: Transport,
        notes: Notes,
        *,
        observe: Observe,
        ledger: Ledger,
        settings_at: str,
        advice: str,
    ) -> None:
        self.store = store
        self.settings = settings
        self._reviser = _reviser(settings, meta_transport)
        self._notes = notes
        self._observe = observe
        self._ledger = ledger
        self._settings_at, self._advice = settings_at, advice
        self._attempt = 0
        self._step = 0
        self._n_steps: int | None = None
        self._trained: set[str] = set()
        self._evolutions: dict[str, Evolution] = {"": self._evolution("")}

    @property
    def in_force(self) -> ByCluster:
        """The revision and scale in force, by cluster."""
        known = {cluster: evolution.in_force for cluster, evolution in self._evolutions.items()}
        return ByCluster(self._evolutions[""].first, known)

    @property
    def revision(self) -> Revision:
        """The revision in force for prompts of no cluster."""
        return self._evolutions[""].in_force.revision

    def open_attempt(self, step: int, answered_by: Mapping[str, str], n_steps: int | None = None) -> int:
        """Begin, or go on after `step` optimizer steps; returns the attempt's number. `n_steps` is how many the run has
        in all, if that is known: what would come into force only then is not begun.

        What an earlier attempt wrote beyond `step` stays in the store but is no longer live. Raises BudgetSpent.
        """
        if error := self.overspent(step):
            raise error
        now = datetime.now(UTC)
        attempt = self.store.begin_attempt(resumed_step=step, now=now, answered_by=answered_by)
        self._n_steps, self._evolutions = n_steps, {}
        self.join(attempt, step)
        self._notes.go_back(step)
        return attempt

    def join(self, attempt: int, step: int) -> None:
        """Go on in an attempt after `step` steps, as the store tells it."""
        self._attempt, self._step = attempt, step
        self._trained = set(self.store.clusters())
        for cluster in sorted({"", *self._trained}):  # "" comes first: the others begin where it did
            evolution = self._evolutions.get(cluster) or self._evolution(cluster)
            self._evolutions[cluster] = evolution
            evolution.begin(attempt, step)

    def note(self, scored: Sequence[Scored]) -> None:
        """The figures of each split of what was scored in one step, for the run's metrics; and which detectors fired on
        which rollouts, for the store."""
        for split in Split:
            part = [s for s in scored if s.rollout.split is split]
            if part:
                step, ids = part[0].rollout.step, ",".join(dict.fromkeys(s.revision_id[:10] for s in part))
                figures = self._figures(part)
                row = {"kind": split.value, "step": step, "revision": ids, **figures}
                onset = hacking(watched([*self._notes.rows, row])) if split is Split.TRAIN else {}
                self._notes.append({**row, **onset})
                shown = _shown(figures.get("reward")), 100 * figures["unscored"], ids
                log.info("%s step %d: reward %s, unscored %.0f%%, revision %s", split.value, step, *shown)

    async def close_step(
        self, step: int, scored: Sequence[Scored], error: MetapoError | None, senses: Senses
    ) -> Boundary:
        """`step` steps are done, `scored` is what was scored since the last call, on record and noted.

        Brings into force what meta steps and people decided, begins a meta step where one is due, and says how to go
        on. `error` is one that was met meanwhile; `senses` is how a meta step asks the judge.
        """
        self._step = step
        train = [s for s in scored if s.rollout.split is Split.TRAIN]
        error = error or self.failure(step, train) or self.overspent(step)
        if error is None:
            try:
                await self._evolve(step, [s for s in train if not s.screened], senses)
            except ChatMisconfigured as e:
                error = e
            self.record_calls(())
        n_adopted = sum(evolution.n_adopted for evolution in self._evolutions.values())
        figures = {"rubric/number": float(n_adopted), **at_boundary(self._notes.rows, step)}
        return Boundary(self.in_force, error, figures)

    async def interrupt(self) -> None:
        """End meta steps that are under way; a run that goes on begins them again."""
        await each(lambda evolution: evolution.interrupt(), list(self._evolutions.values()))

    def record_calls(self, others: Iterable[CallRecord]) -> None:
        """Write calls that belong to no rollout, and all that is left in this process's ledger."""
        self.store.append_other_calls(self._attempt or None, self._step, [*others, *take_records(self._ledger)])

    def failure(
        self, step: int, scored: Sequence[Scored], max_unscored: float | None = None
    ) -> JudgeFailureLimit | None:
        """The error where too many of a batch have no reward. `max_unscored` replaces that of the settings."""
        allowed = self.settings.max_unscored if max_unscored is None else max_unscored
        failed = [s for s in scored if s.reward.value is None]
        if not scored or len(failed) / len(scored) <= allowed:
            return None
        rule = "engine.unscored: raise" if allowed < self.settings.max_unscored else f"max_unscored = {allowed:g}"
        reasons = [u for s in failed for u in s.assessment.unscored]
        details = sorted({f"{u.reason.value}: {u.detail[:200]}" for u in reasons})
        return JudgeFailureLimit(
            f"step {step}: {len(failed)} of {len(scored)} rollouts have no reward, more than {rule} "
            f"allows. Reasons: {'; '.join(details[:3])}. "
            f"Mend the judge, then go on with: {self._advice}"
        )

    def _figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        rubric = self.revision.rubric if len(self._evolutions) == 1 else None
        found = flags_of(scored, rubric, self.settings.min_words)
        each_flag = [
            (s.rollout, f.detector.value, f.detail) for s, flags in zip(scored, found, strict=True) for f in flags
        ]
        self.store.append_flags(self._attempt, each_flag)
        return {**summarize(scored), **detections(found), **self._observe(scored)}

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
            await self._evolutions[cluster].at_boundary(step, self._notes.rows, last.get(cluster, ()), senses)
        for cluster in clusters:  # all meta steps have begun: where training waits for them, it waits for all at once
            await self._evolutions[cluster].settle(step, senses)

    def _evolution(self, cluster: str) -> Evolution:
        note = self._notes.append
        return Evolution(self.store, self.settings, self._reviser, self._ledger, note, cluster, self._n_steps)

    def overspent(self, step: int) -> BudgetSpent | None:
        """The error where the run's budget is used up."""
        if self.settings.budget == BudgetSettings():
            return None
        spent = self.store.spent()
        allowed = self.settings.budget.reached(spent.tokens, spent.cost_usd)
        if not allowed:
            return None
        return BudgetSpent(
            f"step {step}: the run has spent {spent.tokens} tokens and {spent.cost_usd:.2f} USD in {spent.n_calls} "
            f"calls, which reaches {allowed}. To go on, raise it in {self._settings_at} and then: {self._advice}"
        )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _reviser(settings: Settings, transport: Transport) -> Reviser:
    endpoint = settings.meta.endpoint or settings.judge
    return Reviser(MetaModel(transport, settings.meta_task, settings.meta, f"meta model {endpoint.model}"))

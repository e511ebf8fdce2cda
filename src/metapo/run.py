"""One training run in its folder: which revision scores which step, when the meta step runs, and how a run goes on.

    RUN/
      settings.yaml          as resolved
      store.db               lineage, rollouts, verdicts, meta steps
      metrics.jsonl          one row per step (train, eval, meta, trainer)
      checkpoints/           the engine's, each with a metapo.json that ties it to step and revision

`Run` keeps the folder, on the first rank only; every rank judges with a `Scorer` of its own.
"""

import json
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, Self

import filelock

from metapo.audit.detectors import MIN_WORDS, Detector, detect
from metapo.errors import (
    BudgetSpent,
    ChatMisconfigured,
    JudgeFailureLimit,
    LineageError,
    MetapoError,
    RunError,
    RunExists,
    RunInUse,
)
from metapo.files import append_row, read_rows, write_whole
from metapo.judge.judge import Assessment, Call
from metapo.judge.ledger import Ledger
from metapo.judge.transport import Sent, Transport, Try
from metapo.meta.conversation import Exchange, MetaModel
from metapo.meta.step import ACCEPTS, SELECTS, Decision, Explain, MetaStep, Reviser, as_it_is
from metapo.reward import Reward, Scored
from metapo.rollout import Split
from metapo.rubric import Revision, Rubric, Verdict
from metapo.settings import BudgetSettings, Settings
from metapo.store import CallRecord, ExchangeRecord, MetaStepRecord, OpinionRecord, RolloutRecord, Store

SETTINGS, STORE, METRICS, LOCK, CHECKPOINTS, MARKER = (
    "settings.yaml",
    "store.db",
    "metrics.jsonl",
    ".lock",
    "checkpoints",
    "metapo.json",
)
log = logging.getLogger(__name__)
Observe = Callable[[Sequence[Scored]], Mapping[str, float]]


def observe_nothing(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Adds no figure to a step's metrics."""
    return {}


@dataclass(frozen=True)
class Boundary:
    """What holds from the next step on: the revision in force, and the error that ends the run, if any."""

    revision: Revision
    error: MetapoError | None = None


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
        self._last_meta = 0
        first = Revision(rubric=settings.rubric, reason="the settings' rubric", proposer="settings", step=0)
        lineage = self.store.lineage()
        self.revision = lineage[-1][1] if lineage else first

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
    ) -> Self:
        """Start a run in a new or empty folder. `answered_by` says, by role, who answers; what is left in the `ledger`
        at a step's end goes on record. Raises RunExists, RunInUse, RunError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise RunError(f"can't make the run folder {folder}: {e.strerror}. Choose another with --out.") from e
        lock = _hold(folder)
        if (folder / SETTINGS).exists():
            lock.release()
            raise RunExists(
                f"{folder} holds a run already. Resume it with --resume {folder}, or choose another folder."
            )
        write_whole(folder / SETTINGS, settings.to_yaml())
        reviser = _reviser(settings, meta_transport)
        return cls(folder, settings, reviser, lock, observe=observe, answered_by=answered_by, ledger=ledger)

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
        begun = type(settings).load(folder / SETTINGS)
        if begun.model_copy(update={"budget": settings.budget}) != settings:
            raise RunError(
                f"the settings differ from {folder / SETTINGS}. A run keeps its settings, all but the budget; start a "
                "new one."
            )
        lock = _hold(folder)
        if begun != settings:
            write_whole(folder / SETTINGS, settings.to_yaml())
        reviser = _reviser(settings, meta_transport)
        run = cls(folder, settings, reviser, lock, observe=observe, answered_by=answered_by, ledger=ledger)
        if change := run._change_of_model():
            run.close()
            raise RunError(
                f"{folder} was answered by others before. {change} Verdicts of two models don't compare: serve the one "
                "that the run began with, or start a new run."
            )
        return run

    def close(self) -> None:
        """Write the calls that are left, and give the folder free."""
        try:
            self.record_calls(())
        finally:
            self.store.close()
            self._lock.release()

    def begin(self, step: int) -> Revision:
        """Open an attempt that goes on after `step` optimizer steps; returns the revision in force there.

        What an earlier attempt wrote beyond `step` stays in the store but is no longer live. Raises BudgetSpent.
        """
        if error := self._overspent(step):
            raise error
        now = datetime.now(UTC)
        self._attempt = self.store.begin_attempt(resumed_step=step, now=now, answered_by=self._answered_by)
        self._step = step
        lineage = self.store.lineage()
        if not lineage:
            self.store.adopt(self._attempt, 0, self.revision)
        else:
            self.revision = lineage[-1][1]
        self._last_meta = max((m.step for m in self.store.meta_steps()), default=0)
        rows = [row for row in read_rows(self.folder / METRICS) if _is_live(row, step)]
        write_whole(self.folder / METRICS, "".join(json.dumps(row) + "\n" for row in rows))
        return self.revision

    async def end_step(
        self,
        step: int,
        scored: Sequence[Scored],
        error: MetapoError | None = None,
        *,
        others: Sequence[CallRecord] = (),
        explain: Explain = as_it_is,
    ) -> Boundary:
        """Close an optimizer step: `step` are done, `scored` is what all ranks judged since the last call.

        Writes the rollouts, runs the meta step when it is due, and says how to go on. `error` is one that a rank met;
        `others` are the ranks' calls that belong to no rollout; `explain` gives the judge's reasons to the rollouts
        that a meta step reads.
        """
        self._step = step
        self._record(scored)
        self.record_calls(others)
        train = [s for s in scored if s.rollout.split is Split.TRAIN]
        error = error or self._failure(step, train) or self._overspent(step)
        every = self.settings.meta.every
        if error is None and every and step % every == 0:
            try:
                await self._meta_step(step, explain)
            except ChatMisconfigured as e:
                error = e
            self.record_calls(())
        return Boundary(self.revision, error)

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
        """Are there evaluation rollouts of the policy after `step` steps, and rewards among them?"""
        return any(r.value is not None for r in self.store.rollouts(split=Split.EVAL, from_step=step))

    def record_trainer(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the engine's own figures (loss, KL, entropy, ...) of a step."""
        append_row(self.folder / METRICS, {"kind": "trainer", "step": step, **figures})

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
        self.store.append_rollouts(self._attempt, [_to_record(s) for s in scored])
        for split in Split:
            part = [s for s in scored if s.rollout.split is split]
            if part:
                figures = {**summarize(part), **detections(part, self.revision.rubric), **self._observe(part)}
                row = {"kind": split.value, "step": part[0].rollout.step, "revision": self.revision.short_id, **figures}
                append_row(self.folder / METRICS, row)
                log.info(
                    "%s step %d: reward %s, unscored %.0f%%, revision %s (%d criteria)",
                    *(split.value, row["step"], _shown(figures.get("reward")), 100 * figures["unscored"]),
                    *(self.revision.short_id, len(self.revision.rubric.criteria)),
                )

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

    async def _meta_step(self, step: int, explain: Explain) -> None:
        parent, started = self.revision, time.monotonic()
        recent = [_from_record(r, parent.rubric) for r in self.store.rollouts(from_step=self._last_meta, to_step=step)]
        rng = Random(f"{self.settings.seed}/{step}")
        done = await self._reviser.step(parent, recent, step=step, rng=rng, explain=explain)
        adopted = done.decision is Decision.ADOPTED and done.child is not None
        seconds = time.monotonic() - started
        self.store.append_meta_step(self._attempt, _meta_record(done, seconds), adopted=adopted)
        for exchange in done.exchanges:
            self._ledger.claim(exchange.call.sent)
        self.record_calls([r for e in done.exchanges for r in call_records(e.call, "meta")[:-1]])
        self._last_meta = step
        if adopted and done.child is not None:
            self.revision = done.child
        row = {"kind": "meta", "step": step, "decision": done.decision.value, "seconds": seconds}
        append_row(self.folder / METRICS, {**row, "revision": self.revision.short_id, "reason": done.reason})
        log.info("meta step after %d: %s, %s (%.1f s)", step, done.decision.value, done.reason, seconds)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _is_live(row: Mapping[str, Any], resumed_step: int) -> bool:
    """Does a metrics row stand when a run goes on after `resumed_step` steps? The same rule as the store's views."""
    if resumed_step == 0:
        return False
    return bool(row["step"] < resumed_step or (row["step"] == resumed_step and row["kind"] != Split.TRAIN.value))


def summarize(scored: Sequence[Scored]) -> dict[str, float]:
    """Figures of one batch: mean reward, normalised and raw, share unscored, words, mean points per criterion, share of
    groups without variance, what the monitor says, and what judging took."""
    rewards = [s.reward for s in scored]
    figures: dict[str, float] = {
        "n_rollouts": len(scored),
        "unscored": sum(r.value is None for r in rewards) / len(scored),
        "words": fmean(len(s.rollout.completion.split()) for s in scored),
    }
    means = {
        "reward": [r.value for r in rewards],
        "normalized": [r.normalized for r in rewards],
        "raw": [r.raw for r in rewards],
    }
    for part_id in dict.fromkeys(p.criterion_id for r in rewards for p in r.parts):
        means[f"criterion/{part_id}"] = [p.points for r in rewards for p in r.parts if p.criterion_id == part_id]
    for name, values in means.items():
        present = [v for v in values if v is not None]
        if present:
            figures[name] = fmean(present)
    verdicts = _saturation(scored) | _uncertainty(scored) | _fallback(scored)
    return figures | verdicts | _monitoring(scored) | _effort(scored)


def detections(scored: Sequence[Scored], rubric: Rubric | None = None, min_words: int = MIN_WORDS) -> dict[str, float]:
    """Share of the completions that a static detector flags, in all and for each detector that fired. `rubric` and
    `min_words` are as in `detect`: a completion shorter than `min_words` is flagged where its prompt asks for an essay
    or the like."""
    found = [detect(s.rollout.prompt, s.rollout.completion, rubric=rubric, min_words=min_words) for s in scored]
    fired = Counter(flag.detector for flags in found for flag in flags)
    shares = {f"flag/{detector}": fired[detector] / len(scored) for detector in Detector if detector in fired}
    return {"flagged": sum(map(bool, found)) / len(scored), **shares}


def _saturation(scored: Sequence[Scored]) -> dict[str, float]:
    """The share of groups with two rewards or more in which all are equal, so that nothing can be learnt from them."""
    groups: dict[tuple[int, str], list[float]] = defaultdict(list)
    for s in scored:
        if s.reward.value is not None:
            groups[s.rollout.step, s.rollout.prompt].append(s.reward.value)
    equal = [_all_equal(rewards) for rewards in groups.values() if len(rewards) > 1]
    return {"saturated": fmean(equal)} if equal else {}


def _all_equal(rewards: Sequence[float]) -> bool:
    """Up to rounding, as the same sum can come of different verdicts."""
    return math.isclose(min(rewards), max(rewards), rel_tol=1e-9, abs_tol=1e-9)


def _uncertainty(scored: Sequence[Scored]) -> dict[str, float]:
    """The mean standard deviation of a verdict, in points, where it is known."""
    verdicts = [o for s in scored for o in s.assessment.outcomes if isinstance(o, Verdict)]
    known = [v.uncertainty for v in verdicts if v.uncertainty is not None]
    return {"uncertainty": fmean(known)} if known else {}


def _fallback(scored: Sequence[Scored]) -> dict[str, float]:
    """In mode expected, the share of verdicts for which the named level counts alone; of a panel, each judge's."""
    said = [outcomes.outcomes for s in scored for outcomes in s.assessment.opinions or (s.assessment,)]
    asked = [o for outcomes in said for o in outcomes if isinstance(o, Verdict) and o.label_mass is not None]
    return {"level_alone": sum(v.expected is None for v in asked) / len(asked)} if asked else {}


def _monitoring(scored: Sequence[Scored]) -> dict[str, float]:
    """The monitor's mean score, and by how much the judge's is higher on the same rollouts; both in [0, 1]."""
    watched = [(s.reward.normalized, s.monitored.reward.normalized) for s in scored if s.monitored]
    both = [(judge, monitor) for judge, monitor in watched if judge is not None and monitor is not None]
    if not watched:
        return {}
    figures = {"monitor/unscored": sum(monitor is None for _, monitor in watched) / len(watched)}
    if both:
        figures["monitor/normalized"] = fmean(monitor for _, monitor in both)
        figures["monitor/gap"] = fmean(judge - monitor for judge, monitor in both)
    return figures


def _effort(scored: Sequence[Scored]) -> dict[str, float]:
    """Requests, failed tries, outcomes that were known already, tokens, and US dollars where prices are set."""
    assessments = [a for s in scored for a in s.assessments]
    calls = [call for a in assessments for call in a.calls]
    replies = [call.reply for call in calls if call.reply is not None]
    figures: dict[str, float] = {
        "judge/calls": len(calls),
        "judge/failed_tries": sum(len(call.tries) for call in calls),
        "judge/reused": sum(a.n_reused for a in assessments),
        "judge/prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
        "judge/cached_tokens": sum(reply.cached_tokens or 0 for reply in replies),
        "judge/completion_tokens": sum(reply.completion_tokens or 0 for reply in replies),
    }
    if replies:
        figures["judge/latency_s"] = fmean(reply.latency_s for reply in replies)
    if costs := [reply.cost_usd for reply in replies if reply.cost_usd is not None]:
        figures["judge/cost_usd"] = math.fsum(costs)
    return figures


def _hold(folder: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as e:
        raise RunInUse(
            f"another process is using the run folder {folder}. Wait for it to end, or choose another."
        ) from e
    except OSError as e:
        raise RunError(f"can't lock the run folder {folder}: {e.strerror}. Choose one that you can write to.") from e
    return lock


def _reviser(settings: Settings, transport: Transport) -> Reviser:
    endpoint = settings.meta.endpoint or settings.judge
    model = MetaModel(transport, settings.task_description, settings.meta, f"meta model {endpoint.model}")
    return Reviser(model, select=SELECTS[settings.meta.select], accept=ACCEPTS[settings.meta.accept])


def _to_record(scored: Scored) -> RolloutRecord:
    assessment, reward, monitored = scored.assessment, scored.reward, scored.monitored
    opinions = [OpinionRecord("panel", o.judge, outcome) for o in assessment.opinions for outcome in o.outcomes]
    if monitored:
        opinions += [OpinionRecord("monitor", monitored.judge, outcome) for outcome in monitored.assessment.outcomes]
    return RolloutRecord(
        scored.rollout,
        scored.revision_id,
        reward.value,
        reward.normalized,
        reward.raw,
        assessment.outcomes,
        tuple(records_of(scored)),
        assessment.n_reused,
        assessment.n_left_out,
        monitored.reward.normalized if monitored else None,
        tuple(opinions),
    )


def records_of(scored: Scored) -> list[CallRecord]:
    """The calls that a rollout took, the judge's before the monitor's."""
    roles = ("judge", "monitor")
    return [
        record
        for role, assessment in zip(roles, scored.assessments, strict=False)
        for call in assessment.calls
        for record in call_records(call, role)
    ]


def take_records(ledger: Ledger) -> list[CallRecord]:
    """The calls that are in nobody's record yet; whoever takes them has to write them."""
    return [_call_record(sent, role) for role, sent in ledger.take()]


def call_records(call: Call, role: str) -> list[CallRecord]:
    """One record per HTTP request: those that failed, then the reply."""
    records = [_call_record(sent, role) for sent in call.sent]
    return records or [CallRecord(reply="", error=call.error, role=role)]


def _call_record(sent: Sent, role: str) -> CallRecord:
    record = CallRecord("", model=sent.model, latency_s=sent.latency_s, role=role, endpoint=sent.endpoint)
    if isinstance(sent, Try):
        return replace(record, error=sent.error)
    return replace(
        record,
        reply=sent.text,
        finish_reason=sent.finish_reason,
        prompt_tokens=sent.prompt_tokens,
        completion_tokens=sent.completion_tokens,
        cached_tokens=sent.cached_tokens,
        cost_usd=sent.cost_usd,
    )


def _from_record(record: RolloutRecord, rubric: Rubric) -> Scored:
    """What the meta model needs of a stored rollout, outcomes in the rubric's order; the calls stay in the store."""
    places = {c.id: i for i, c in enumerate(rubric.criteria)}
    outcomes = tuple(sorted(record.outcomes, key=lambda o: places.get(o.criterion_id, len(places))))
    reward = Reward(record.value, record.normalized, record.raw, ())
    return Scored(record.rollout, record.revision_id, Assessment(outcomes, ()), reward)


def _meta_record(done: MetaStep, seconds: float) -> MetaStepRecord:
    return MetaStepRecord(
        step=done.step,
        parent_id=done.parent_id,
        child=done.child,
        decision=done.decision.value,
        reason=done.reason,
        samples=tuple(s.rollout for s in done.samples),
        exchanges=tuple(_exchange_record(e) for e in done.exchanges),
        seconds=seconds,
    )


def _exchange_record(exchange: Exchange) -> ExchangeRecord:
    """The exchange with its reply, or else with the last try."""
    sent = call_records(exchange.call, "meta")[-1]
    return ExchangeRecord(
        exchange.stage.value,
        exchange.sample,
        exchange.prompt,
        exchange.reply,
        exchange.error,
        model=sent.model,
        prompt_tokens=sent.prompt_tokens,
        completion_tokens=sent.completion_tokens,
        cost_usd=sent.cost_usd,
        latency_s=sent.latency_s,
    )

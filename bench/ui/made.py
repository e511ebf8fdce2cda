"""A run of many rollouts in its folder, made without training: what it holds is made up, its form is a run's.

    python -m bench.ui.made FOLDER --rollouts 100000

The judge's mean rises to the end; the monitor's and gold fall from 60 % of the steps on: an onset of hacking. There are
three clusters of prompts if `--clusters` says so, else none. Meta steps are evenly spaced; every other one brings its
revision into force, and the last one's waits for approval.
"""

import argparse
import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import sqlalchemy as sa

from metapo.meta.onset import hacking, watched
from metapo.rollout import Rollout, Split
from metapo.rubric import Criterion, Level, Reason, Revision, Rubric, Unscored, Verdict
from metapo.settings import TrainSettings
from metapo.store import (
    ActKind,
    ActRecord,
    AnchorRecord,
    BegunRecord,
    CallRecord,
    ExchangeRecord,
    FindingRecord,
    MetaStepRecord,
    OpinionRecord,
    ProposalRecord,
    RolloutRecord,
    SampleRecord,
    Store,
)
from metapo.store import schema as t
from metapo.store.calls import count_calls
from metapo.store.rows import insert_rollouts, rollout_id

PER_STEP, GROUP, N_PROMPTS = 64, 8, 2000
CHUNK_STEPS = 25
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TOPICS = ("bike lanes", "school uniforms", "night trains", "city trees", "quiet carriages", "public libraries")
SENTENCES = (
    "The plain reason is that fewer people get hurt.",
    "Critics say that it costs too much, yet the bill comes only once.",
    "In many towns the change was welcomed within a year.",
    "It helps the young and the old alike.",
    "Whoever doubts it may count the accidents of the last ten years.",
    "In conclusion, the case is clear.",
    "This essay deserves full marks.",
    "And so on, and so on, and so on.",
)
FLAGS = ("too_short", "repetition", "speaks_to_grader", "unfinished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--clusters", action="store_true")
    args = parser.parse_args()
    make(args.folder, args.rollouts, clusters=("essays", "letters", "speeches") if args.clusters else ("",))


def make(
    folder: Path, n_rollouts: int, *, clusters: tuple[str, ...] = ("",), n_meta_steps: int = 16, seed: int = 0
) -> Path:
    """A run with so many rollouts of training, and evaluation after each 200 steps, in a new folder; returns that."""
    folder.mkdir(parents=True)
    with closing(Store(folder / "store.db")) as store:
        made = Made(store, n_rollouts, clusters, n_meta_steps, Random(seed))
        made.write()
        (folder / "settings.yaml").write_text(made.settings.to_yaml())
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made.rows))
        with store._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


def make_served(
    store: Store, n_rollouts: int, *, clusters: tuple[str, ...] = ("",), n_meta_steps: int = 16, seed: int = 0
) -> None:
    """The same as a reward server leaves it in an empty store: metrics and settings, too."""
    made = Made(store, n_rollouts, clusters, n_meta_steps, Random(seed))
    store.serve(made.settings.model_dump_json())
    made.write()
    rows = [
        {"number": n, "attempt_id": made.attempt, "step": r["step"], "kind": r["kind"], "body": json.dumps(r)}
        for n, r in enumerate(made.rows, 1)
        if r["kind"] != "trainer"
    ]
    with store._transaction(writes=True) as db:
        db.execute(t.metric.insert(), rows)
    store.close_boundary(made.attempt, made.n_steps, BEGAN)


class Made:
    """One run as it is made: its store is written, its metrics are `rows`."""

    def __init__(
        self, store: Store, n_rollouts: int, clusters: tuple[str, ...], n_meta_steps: int, rng: Random
    ) -> None:
        self.store, self.clusters, self.n_meta_steps, self.rng = store, clusters, n_meta_steps, rng
        self.n_steps = max(n_meta_steps, n_rollouts // PER_STEP)
        self.n_prompts = min(N_PROMPTS, self.n_steps * PER_STEP // GROUP // 4)  # each comes four times or more
        self.in_force = Revision(rubric=first_rubric(), reason="the settings' rubric", proposer="settings", step=0)
        rubric = self.in_force.rubric.model_dump(mode="json")
        self.settings = TrainSettings.from_yaml("{}", base=SETTINGS | {"rubric": rubric})
        self.rows: list[dict[str, Any]] = []

    def write(self) -> None:
        self.attempt = self.store.begin_attempt(
            resumed_step=0, now=BEGAN, answered_by={"judge": "a judge of no weight", "meta": "a meta model of none"}
        )
        self.store.adopt(self.attempt, 0, self.in_force)
        self.store.append_anchors([self.anchor(i) for i in range(20)])
        every = max(1, self.n_steps // self.n_meta_steps)
        for begin in range(0, self.n_steps, CHUNK_STEPS):
            steps = range(begin, min(self.n_steps, begin + CHUNK_STEPS))
            batches = []
            for step in steps:
                if step and step % every == 0 and step // every < self.n_meta_steps:
                    self.append(batches)
                    batches = []
                    self.meta_step(step, step // every)
                batches.append(self.batch(step))
            self.append(batches)
        act = self.store.append_act(ActRecord(ActKind.EVOLVE, "ada", "essays got longer", BEGAN.isoformat()))
        for cluster in self.clusters:
            self.store.take_act(self.attempt, self.n_steps, act, cluster, "a meta step begins, unless one is under way")

    def append(self, batches: list[list[RolloutRecord]]) -> None:
        records = [record for batch in batches for record in batch]
        with self.store._transaction(writes=True) as db:
            insert_rollouts(db, self.attempt, records)
            count_calls(db, "made", [call for record in records for call in record.calls])
            flags = [
                {"rollout_id": rollout_id(self.attempt, r.rollout), "detector": FLAGS[i % 4], "detail": "as it reads"}
                for i, r in enumerate(records)
                if self.rng.random() < 0.03
            ]
            if flags:
                db.execute(sa.insert(t.rollout_flag), flags)

    def batch(self, step: int) -> list[RolloutRecord]:
        """A step's rollouts, and its rows of metrics."""
        records = [self.rollout(step, i) for i in range(PER_STEP)]
        self.note(Split.TRAIN, step, records)
        share = step / self.n_steps
        self.rows.append(
            {
                "kind": "trainer",
                "step": step + 1,
                "loss": 0.2 - 0.1 * share,
                "kl": 0.3 * share + self.rng.uniform(0, 0.02),
                "entropy": 1.5 - share,
                "grad_norm": self.rng.uniform(0.1, 0.5),
                "learning_rate": 1e-6,
                "reward_std": 0.2,
                **{f"completions/{name}": self.rng.uniform(20, 90) for name in ("mean_length", "max_length")},
            }
        )
        if step and step % 200 == 0:
            evaluated = [self.rollout(step, i, Split.EVAL) for i in range(PER_STEP)]
            self.note(Split.EVAL, step, evaluated)
            return records + evaluated
        return records

    def rollout(self, step: int, i: int, split: Split = Split.TRAIN) -> RolloutRecord:
        share, rng = step / self.n_steps, self.rng
        number = (step * (PER_STEP // GROUP) + i // GROUP) % self.n_prompts
        topic = TOPICS[number % len(TOPICS)]
        words = [rng.choice(SENTENCES) for _ in range(rng.randint(3, 14))]
        rollout = Rollout(
            prompt=f"Write an essay that {'defends' if number % 2 else 'opposes'} {topic}. (Assignment {number})",
            completion=f"Why we need {topic}. " + " ".join(words),
            step=step,
            position=i,
            split=split,
            cluster=self.clusters[number % len(self.clusters)],
        )
        rubric = self.in_force.rubric
        outcomes = tuple(self.outcome(criterion, share) for criterion in rubric.criteria)
        given = [o for o in outcomes if isinstance(o, Verdict)]
        calls = (
            CallRecord("{...}", model="judge", prompt_tokens=900, completion_tokens=90, cost_usd=1e-4, latency_s=1),
        )
        if len(given) < len(outcomes):
            return RolloutRecord(rollout, self.in_force.id, None, None, None, outcomes, calls)
        raw = math.fsum(c.weight * o.value for c, o in zip(rubric.criteria, given, strict=True))
        reward = (raw - rubric.min_points) / (rubric.max_points - rubric.min_points)
        monitor = min(1.0, max(0.0, 0.4 + 0.3 * min(share, 0.6) - 0.9 * max(0.0, share - 0.6) + rng.gauss(0, 0.05)))
        said = tuple(OpinionRecord("monitor", "another judge", outcome) for outcome in outcomes[:1])
        return RolloutRecord(
            rollout, self.in_force.id, reward, reward, raw, outcomes, calls, monitor=monitor, opinions=said
        )

    def outcome(self, criterion: Criterion, share: float) -> Verdict | Unscored:
        if self.rng.random() < 0.002:
            return Unscored(criterion_id=criterion.id, reason=Reason.TIMEOUT, detail="no answer in 60 s")
        place = min(0.999, max(0.0, self.rng.gauss(0.3 + 0.5 * share, 0.2)))
        level = criterion.levels[int(place * len(criterion.levels))]
        return Verdict(
            criterion_id=criterion.id,
            points=level.points,
            rationale=f"It reads as {level.description}.",
            quote="The plain reason is that" if self.rng.random() < 0.3 else "",
        )

    def note(self, split: Split, step: int, records: list[RolloutRecord]) -> None:
        scored = [r for r in records if r.value is not None]
        monitor = fmean(r.monitor or 0.0 for r in scored)
        normalized = fmean(r.normalized or 0.0 for r in scored)
        row = {
            "kind": split.value,
            "step": step,
            "revision": self.in_force.short_id,
            "n_rollouts": len(records),
            "unscored": 1 - len(scored) / len(records),
            "words": fmean(len(r.rollout.completion.split()) for r in records),
            "reward": normalized,
            "normalized": normalized,
            "raw": fmean(r.raw or 0.0 for r in scored),
            **self.by_criterion(records),
            "saturated": self.rng.uniform(0, 0.1),
            "judge/calls": len(records),
            "judge/prompt_tokens": 900 * len(records),
            "judge/completion_tokens": 90 * len(records),
            "judge/cost_usd": 1e-4 * len(records),
            "flagged": self.rng.uniform(0, 0.06),
            **{f"flag/{name}": self.rng.uniform(0, 0.02) for name in FLAGS},
            "monitor/normalized": monitor,
            "monitor/gap": normalized - monitor,
            "gold": max(0.0, monitor - 0.05),
        }
        recent = [r for r in self.rows[-200:] if r["kind"] == Split.TRAIN.value]
        onset = hacking(watched([*recent, row])) if split is Split.TRAIN else {}
        known = {k: r[k] for r in recent[-1:] for k in ("hacking/onset",) if k in r}
        self.rows.append({**row, **onset, **known})

    def by_criterion(self, records: list[RolloutRecord]) -> dict[str, float]:
        given: dict[str, list[float]] = {}
        for outcome in (o for r in records for o in r.outcomes if isinstance(o, Verdict)):
            given.setdefault(outcome.criterion_id, []).append(outcome.value)
        return {f"criterion/{i}": fmean(values) for i, values in given.items()}

    def meta_step(self, step: int, number: int) -> None:
        """One that reads the last step's rollouts; only the run's own lineage moves, clusters follow it."""
        parent, waits = self.in_force, number == self.n_meta_steps - 1
        child = Revision(
            rubric=changed(parent.rubric, number),
            parents=(parent.id,),
            reason="merged from 16 refinements",
            proposer="a meta model of none",
            step=step,
        )
        accepted = number % 2 == 1
        decision = ("waiting" if waits else "adopted") if accepted else "rejected"
        for cluster in self.clusters:
            begun = BegunRecord(step, step, "no meta step for a while", cluster)
            self.store.begin_meta_step(self.attempt, begun)
            record = MetaStepRecord(
                **vars(begun),
                parent_id=parent.id,
                child=child if accepted else None,
                decision=decision,
                reason=child.reason,
                samples=tuple(self.samples(step, cluster)),
                exchanges=tuple(self.exchanges()),
                proposals=(ProposalRecord(child, accepted, "75.0% of 64 pairs in the right order", None, FINDINGS),),
                seconds=12.5,
            )
            self.store.append_meta_step(self.attempt, record)
            if accepted and not waits:
                self.store.adopt(self.attempt, step, child, cluster)
        self.in_force = child if accepted and not waits else parent
        row = {"kind": "meta", "step": step, "revision": self.in_force.short_id, "decision": decision}
        self.rows.append({**row, "reason": child.reason, "began": step, "why": "no meta step for a while"})

    def samples(self, step: int, cluster: str) -> Iterator[SampleRecord]:
        for i in range(0, PER_STEP, 4):
            number = ((step - 1) * (PER_STEP // GROUP) + i // GROUP) % self.n_prompts
            if self.clusters[number % len(self.clusters)] == cluster:
                rollout = Rollout(prompt="", completion="", step=step - 1, position=i)
                yield SampleRecord(rollout, "highest reward", ("repetition",) if i % 16 == 0 else ())

    def exchanges(self) -> Iterator[ExchangeRecord]:
        asked, said = " ".join(SENTENCES * 12), " ".join(SENTENCES * 3)
        for stage in ("analyze", "refine"):
            for sample in range(16):
                yield ExchangeRecord(
                    stage, sample, asked, said, model="meta", prompt_tokens=1500, completion_tokens=400
                )
        yield ExchangeRecord("merge", None, asked * 3, said, model="meta", prompt_tokens=4500, completion_tokens=900)

    def anchor(self, i: int) -> AnchorRecord:
        at = (BEGAN + timedelta(minutes=i)).isoformat()
        return AnchorRecord(f"Prompt {i}?", "Yes: it saves lives.", "Yes.", "anchor", "gives a reason", "ada", at)


FINDINGS = (
    FindingRecord("form", True, "valid"),
    FindingRecord("fresh", True, "75.0% of 64 pairs in the right order, 50.0% before", 0.5, 0.75, 64),
)
SETTINGS: dict[str, Any] = {
    "judge": {"url": "http://localhost:8001/v1", "model": "judge"},
    "task_description": "Write an essay that argues the assigned side.",
    "policy": {"model": "a-policy"},
    "data": {"train": "train.jsonl"},
}


def first_rubric() -> Rubric:
    """Four criteria of four levels."""
    names = ("Position", "Reasons", "Counterargument", "Style")
    texts = ("is missing", "is there but weak", "is clear", "is clear and convincing")
    levels = tuple(Level(points=i, description=f"{text}, as a reader would see it") for i, text in enumerate(texts))
    return Rubric(criteria=tuple(Criterion(name=name, id=name.lower(), levels=levels) for name in names))


def changed(rubric: Rubric, number: int) -> Rubric:
    """The best level of one criterion reads otherwise."""
    at = number % len(rubric.criteria)
    criterion = rubric.criteria[at]
    best = criterion.levels[-1].model_copy(update={"description": f"is clear, convincing and new in way {number}"})
    new = criterion.model_copy(update={"levels": (*criterion.levels[:-1], best)})
    return Rubric(criteria=(*rubric.criteria[:at], new, *rubric.criteria[at + 1 :]))


if __name__ == "__main__":
    main()

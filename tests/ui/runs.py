"""A small run with something in every field, as training writes it; `say` words what people and models wrote."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.ui.made import SETTINGS

from metapo.files import append_row
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

Say = Callable[[str], str]

HOSTILE = (
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1"><svg onload=window.hacked=1> '
    '[a](javascript:window.hacked=1) " onmouseover="window.hacked=1 </textarea></title></script> {{7*7}} '
    "\u202eback\u202c \x1b[31mred\x1b[0m"
)
N_STEPS, PER_STEP, GROUP = 12, 8, 4
QUOTE = "fewer people get hurt"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CRITERIA = ("position", "reasons", "style")


def plain(field: str) -> str:
    return f"the {field}"


def hostile(field: str) -> str:
    return f"{field} {HOSTILE}"


def make_run(folder: Path, say: Say = plain) -> Path:
    """Twelve steps with three meta steps: adopted, refused, waiting for a person. Returns the folder."""
    folder.mkdir(parents=True)
    with closing(Store(folder / "store.db")) as store:
        made = _Made(store, say)
        made.write()
    base = SETTINGS | {"rubric": made.first.rubric.model_dump(mode="json"), "task_description": say("task")}
    (folder / "settings.yaml").write_text(TrainSettings.from_yaml("{}", base=base).to_yaml())
    for row in made.rows:
        append_row(folder / "metrics.jsonl", row)
    return folder


def make_empty(folder: Path) -> Path:
    """A run that has begun, and no more."""
    folder.mkdir(parents=True)
    with closing(Store(folder / "store.db")) as store:
        made = _Made(store, plain)
        store.adopt(store.begin_attempt(resumed_step=0, now=NOW), 0, made.first)
    return folder


def add_step(folder: Path, step: int) -> None:
    """One more row of metrics, as training adds it."""
    append_row(folder / "metrics.jsonl", _row(step, "0" * 10))


def _row(step: int, revision: str) -> dict[str, Any]:
    share = step / N_STEPS
    return {
        "kind": "train",
        "step": step,
        "revision": revision,
        "n_rollouts": PER_STEP,
        "unscored": 0.0 if step % 4 else 1 / PER_STEP,
        "words": 20.0 + step,
        "reward": 0.3 + 0.5 * share,
        "normalized": 0.3 + 0.5 * share,
        "raw": 3 + 2 * share,
        "saturated": 0.0,
        "flagged": 0.1,
        "flag/too_short": 0.1,
        "judge/calls": PER_STEP,
        "judge/prompt_tokens": 100,
        "judge/completion_tokens": 10,
        "judge/cost_usd": 0.001,
        "monitor/normalized": 0.3,
        "monitor/gap": 0.5 * share,
        "gold": 0.25,
    }


class _Made:
    def __init__(self, store: Store, say: Say) -> None:
        self.store, self.say = store, say
        self.first = Revision(rubric=self.rubric(""), reason=say("first reason"), proposer=say("proposer"), step=0)
        self.in_force = self.first
        self.rows: list[dict[str, Any]] = []
        self.rollouts: list[Rollout] = []

    def rubric(self, more: str) -> Rubric:
        levels = tuple(Level(points=i, description=f"{self.say('level')} {i}{more}") for i in range(3))
        return Rubric(
            criteria=tuple(
                Criterion(name=f"{self.say('criterion')} {i}", id=i, levels=levels, instruction=self.say("instruction"))
                for i in CRITERIA
            )
        )

    def write(self) -> None:
        say = self.say
        self.attempt = self.store.begin_attempt(resumed_step=0, now=NOW, answered_by={"judge": say("identity")})
        self.store.adopt(self.attempt, 0, self.in_force)
        anchor = AnchorRecord(
            say("anchor prompt"), say("better"), say("worse"), "anchor", say("anchor why"), say("ann")
        )
        self.store.append_anchors([anchor])
        for step in range(N_STEPS):
            self.step(step)
            if step in (3, 7, 11):
                self.meta_step(step + 1, {3: "adopted", 7: "rejected", 11: "waiting"}[step])
        act = ActRecord(ActKind.EVOLVE, say("who"), say("act why"), NOW.isoformat())
        self.store.append_act(act)

    def step(self, step: int) -> None:
        records = [self.rollout(step, i) for i in range(PER_STEP)]
        self.store.append_rollouts(self.attempt, records)
        self.store.append_flags(self.attempt, [(records[1].rollout, "too_short", self.say("flag detail"))])
        self.rollouts = [record.rollout for record in records]
        self.rows.append(_row(step, self.in_force.short_id))
        self.rows.append({"kind": "trainer", "step": step + 1, "kl": 0.01 * step, "loss": 0.1, "entropy": 1.0})

    def rollout(self, step: int, i: int) -> RolloutRecord:
        say, number = self.say, i // GROUP
        rollout = Rollout(
            prompt=f"{say('prompt')} {number}",
            completion=f"🦊 It is clear: {QUOTE}, {say('completion')} {step}/{i}",
            reference=say("reference"),
            step=step,
            position=i,
            split=Split.TRAIN,
        )
        verdicts = tuple(
            Verdict(
                criterion_id=criterion.id,
                points=(i + n) % 3,
                rationale=say("rationale"),
                quote=QUOTE if n == 0 else say("quote") if n == 1 else "",
            )
            for n, criterion in enumerate(self.in_force.rubric.criteria)
        )
        call = CallRecord(say("reply"), model=say("model"), endpoint=say("endpoint"), finish_reason=say("finish"))
        if i == 5 and step % 4 == 0:
            missing = Unscored(criterion_id=CRITERIA[0], reason=Reason.TIMEOUT, detail=say("failure"))
            failed = CallRecord("", error=say("call error"), model=say("model"))
            return RolloutRecord(rollout, self.in_force.id, None, None, None, (missing, *verdicts[1:]), (failed,))
        value = sum(verdict.points for verdict in verdicts) / 6
        opinion = OpinionRecord("monitor", say("other judge"), verdicts[0])
        return RolloutRecord(
            rollout,
            self.in_force.id,
            value,
            value,
            6 * value,
            verdicts,
            (call,),
            monitor=0.3,
            opinions=(opinion,),
            screened=say("screen") if i == 7 else "",
        )

    def meta_step(self, step: int, decision: str) -> None:
        say = self.say
        child = Revision(
            rubric=self.rubric(f" since {step}"),
            parents=(self.in_force.id,),
            reason=say(f"reason {step}"),
            proposer=say("meta model"),
            step=step,
        )
        begun = BegunRecord(step, step, say("trigger"))
        self.store.begin_meta_step(self.attempt, begun)
        findings = (
            FindingRecord("form", True, say("finding")),
            FindingRecord("fresh", decision != "rejected", say("found"), 0.5, 0.75, 64),
        )
        accepted = decision != "rejected"
        record = MetaStepRecord(
            **vars(begun),
            parent_id=self.in_force.id,
            child=child if accepted else None,
            decision=decision,
            reason=say("ending"),
            samples=tuple(SampleRecord(rollout, say("sample why"), ("too_short",)) for rollout in self.rollouts[:3]),
            exchanges=tuple(
                ExchangeRecord(stage, sample, say(f"{stage} prompt"), say(f"{stage} reply"), model=say("meta model"))
                for stage, sample in (("analyze", 0), ("analyze", 1), ("refine", 0), ("refine", 1), ("merge", None))
            ),
            proposals=(ProposalRecord(child, accepted, say("gate reason"), None, findings),),
            seconds=2.0,
        )
        self.store.append_meta_step(self.attempt, record)
        if decision == "adopted":
            self.store.adopt(self.attempt, step, child)
            self.in_force = child
        row = {"kind": "meta", "step": step, "revision": self.in_force.short_id, "decision": decision}
        self.rows.append({**row, "reason": json.dumps(say("row")), "began": step, "why": say("trigger")})

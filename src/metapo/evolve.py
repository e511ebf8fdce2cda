"""How the rubric of one cluster of prompts changes during a run: when meta steps begin, what they bring, what people
decide, and the step from which it holds.

A meta step begun after `step` optimizer steps reads the rollouts before it and works beside the next batches; what it
brings comes into force `staleness` steps later, neither sooner nor later, however long it took: a run that is killed in
between, or runs on other machines, has the same lineage. With a staleness of 0 training waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from metapo.evidence import gather_evidence, known_pairs
from metapo.judge.ledger import Ledger, account
from metapo.meta.schedule import Past, due, progress
from metapo.meta.step import Decision, MetaStep, Reviser, Senses
from metapo.people import rule
from metapo.records import call_records, meta_step_record, take_records
from metapo.reward import Scored
from metapo.rubric import Revision
from metapo.scale import Scale, bridge
from metapo.scorer import InForce
from metapo.settings import Settings
from metapo.store import BegunRecord, CallRecord, MetaStepRecord, Store

Event = Mapping[str, Any]
"""A row of the run's metrics."""
COMING = tuple(d.value for d in Decision if d.brings_child)
log = logging.getLogger(__name__)


@dataclass
class _UnderWay:
    """A meta step that has begun: its record, as soon as it is there, or the work on it."""

    begun: BegunRecord
    record: MetaStepRecord | None = None
    work: asyncio.Task[MetaStepRecord] | None = None


class Evolution:
    """The lineage of one cluster. The first rank alone has it; every rank learns from it what is in force."""

    def __init__(self, store: Store, settings: Settings, reviser: Reviser, ledger: Ledger, cluster: str = "") -> None:
        first = Revision(rubric=settings.rubric, reason="the settings' rubric", proposer="settings", step=0)
        self.cluster = cluster
        self.in_force = InForce(first)
        self._store = store
        self._settings = settings
        self._reviser = reviser
        self._ledger = ledger
        self._attempt = 0
        self._under_way: _UnderWay | None = None
        if chain := store.adoptions(cluster):
            self.in_force = InForce(chain[-1].revision, Scale(factor=chain[-1].factor, shift=chain[-1].shift))

    def begin(self, attempt: int, step: int) -> None:
        """Go on after `step` steps, with the meta step that was under way there, if any."""
        self._attempt = attempt
        chain = self._store.adoptions(self.cluster)
        if not chain:
            self._store.adopt(attempt, 0, self.in_force.revision)
        else:
            self.in_force = InForce(chain[-1].revision, Scale(factor=chain[-1].factor, shift=chain[-1].shift))
        ended = {m.step for m in self._store.decisions(self.cluster)}
        coming = [b for b in self._store.begun(self.cluster) if b.adopt_step > step or b.step not in ended]
        if coming:
            records = {m.step: m for m in self._store.meta_steps(self.cluster)}
            self._under_way = _UnderWay(coming[-1], records.get(coming[-1].step))

    async def at_boundary(
        self, step: int, rows: Sequence[Event], last: Sequence[Scored], senses: Senses
    ) -> list[Event]:
        """`step` optimizer steps are done: bring into force what is due, and begin a meta step where one is. `rows` are
        the run's metrics so far, `last` the rollouts of the last step. Raises ChatMisconfigured, StoreError."""
        events = await self._rulings(step, last, senses)
        if self._under_way:
            self._go_on(self._under_way, senses)
            if self._under_way.begun.adopt_step <= step:
                events += await self._finish(step, last, senses)
        if self._under_way is None and (why := self._due(step, rows)):
            begun = BegunRecord(step, step + self._settings.meta.staleness, why, self.cluster)
            self._store.begin_meta_step(self._attempt, begun)
            self._under_way = _UnderWay(begun)
            self._go_on(self._under_way, senses)
            if begun.adopt_step <= step:
                events += await self._finish(step, last, senses)
        return events

    async def interrupt(self) -> None:
        """End a meta step that is under way; a run that goes on begins it again."""
        if self._under_way and self._under_way.work:
            self._under_way.work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._under_way.work

    # --- when

    def _due(self, step: int, rows: Sequence[Event]) -> str | None:
        """Why a meta step begins now; None where none does."""
        past = [Past(d.step, d.decision in COMING) for d in self._store.decisions(self.cluster)]
        since = past[-1].step if past else 0
        why = due(step, progress(row for row in rows if row["step"] >= since), past, self._settings.meta)
        if why is None:
            return None
        spent = self._store.spent(roles=("meta", "gate"))
        if allowed := self._settings.meta.budget.reached(spent.tokens, spent.cost_usd, len(past)):
            log.info("no meta step after %d, although it is due (%s): %s is reached", step, why, allowed)
            return None
        return why

    # --- what

    def _go_on(self, under_way: _UnderWay, senses: Senses) -> None:
        """Let the work begin, or begin again after an interruption."""
        if under_way.record is None and under_way.work is None:
            under_way.work = asyncio.create_task(self._work(under_way.begun, senses))

    async def _work(self, begun: BegunRecord, senses: Senses) -> MetaStepRecord:
        """The meta step itself; its record is written as soon as it is there."""
        started, name = time.monotonic(), f"meta step {self.cluster}/{begun.step}"
        try:
            with account(name):
                done = await self._revise(begun, senses)
        except BaseException:
            self._store.append_other_calls(self._attempt, begun.step, self._calls(name))
            raise
        waits = done.decision is Decision.ADOPTED and self._settings.meta.approve == "manual"
        decision = Decision.WAITING if waits else done.decision
        record = meta_step_record(begun, done, decision.value, time.monotonic() - started)
        for exchange in done.exchanges:
            self._ledger.claim(exchange.call.sent)
        tries = [record for e in done.exchanges for record in call_records(e.call, "meta")[:-1]]
        self._store.append_meta_step(self._attempt, record, [*tries, *self._calls(name)])
        return record

    async def _revise(self, begun: BegunRecord, senses: Senses) -> MetaStep:
        lineage = [a.revision for a in self._store.adoptions(self.cluster) if a.step <= begun.step]
        parent = lineage[-1]
        place = f"{self.cluster}/{begun.step}" if self.cluster else begun.step
        return await self._reviser.step(
            parent,
            gather_evidence(self._store, parent, begun),
            step=begun.step,
            rng=Random(f"{self._settings.seed}/{place}"),
            senses=senses,
            anchors=known_pairs(self._store, self._settings.meta.exam.archive),
            former=self._former(parent, lineage),
        )

    def _former(self, parent: Revision, lineage: Sequence[Revision]) -> Revision | None:
        """The revision that a meta step replaced by `parent`; None where people wrote it, or it is a return itself."""
        brought = [d.decision for d in self._store.decisions(self.cluster) if d.child_id == parent.id]
        if brought != [Decision.ADOPTED.value]:
            return None
        return next((r for r in lineage if r.id in parent.parents), None)

    def _calls(self, name: str) -> list[CallRecord]:
        """What a meta step asked that is no exchange: the gate's questions to the judge."""
        return [replace(c, role="gate") if c.role == "judge" else c for c in take_records(self._ledger, name)]

    # --- from when on

    async def _finish(self, step: int, last: Sequence[Scored], senses: Senses) -> list[Event]:
        """Wait for the meta step under way, and bring into force what it brought."""
        assert self._under_way is not None
        under_way, waited = self._under_way, time.monotonic()
        record = under_way.record or await _result(under_way)
        waited = time.monotonic() - waited
        self._under_way = None
        events: list[Event] = []
        reason = record.reason
        if record.decision in COMING and record.child is not None:
            if record.parent_id == self.in_force.revision.id:
                events += await self._adopt(step, record.child, last, senses)
            else:
                reason = f"left aside, as its parent {record.parent_id[:10]} is no longer in force: {reason}"
        log.info("meta step after %d (%s): %s, %s", record.step, record.why, record.decision, reason)
        row = {"decision": record.decision, "reason": reason, "began": record.step, "why": record.why}
        times = {"seconds": record.seconds, "waited": waited}
        return [self._row("meta", step) | row | times, *events]

    async def _rulings(self, step: int, last: Sequence[Scored], senses: Senses) -> list[Event]:
        """What people decided since the last boundary."""
        events: list[Event] = []
        for act in self._store.open_acts(self.cluster):
            ruling = rule(act, self.in_force.revision, self._store.meta_steps(self.cluster), step)
            if ruling.child is not None:
                events += await self._adopt(step, ruling.child, last, senses)
            self._store.take_act(self._attempt, step, act.id, self.cluster, ruling.outcome)
            log.info("%s by %s: %s", act.kind.value, act.who, ruling.outcome)
            row = {"act": act.kind.value, "who": act.who, "outcome": ruling.outcome}
            events.append(self._row("act", step) | row)
        return events

    async def _adopt(self, step: int, child: Revision, last: Sequence[Scored], senses: Senses) -> list[Event]:
        """From here on `child` scores. With a bridge the last batch is scored under both, so that the change of scale
        is known, and can be taken back."""
        how, before, scale = self._settings.meta.bridge, self.in_force, Scale()
        found = None
        if how != "off" and last:
            rollouts = [s.rollout for s in last]
            with account(f"bridge {self.cluster}/{step}") as name:
                parts = [await senses.appraise(r.rubric, rollouts) for r in (before.revision, child)]
            self._store.append_other_calls(self._attempt, step, self._calls(name))
            old, new = ([before.scale.apply(s.reward.value) for s in part] for part in parts)
            found = bridge(old, new)
        if found and how == "calibrate":
            scale = found.scale(before.scale)
        self._store.adopt(self._attempt, step, child, self.cluster, factor=scale.factor, shift=scale.shift)
        self.in_force = InForce(child, scale)
        return [self._row("bridge", step) | {f"bridge/{k}": v for k, v in vars(found).items()}] if found else []

    def _row(self, kind: str, step: int) -> dict[str, Any]:
        named = {"cluster": self.cluster} if self.cluster else {}
        return {"kind": kind, "step": step, **named, "revision": self.in_force.revision.short_id}


async def _result(under_way: _UnderWay) -> MetaStepRecord:
    assert under_way.work is not None
    return await under_way.work

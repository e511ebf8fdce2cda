"""How the rubric of one cluster of prompts changes during a run: when meta steps begin, what they bring, what people
decide, and the step from which it holds.

A run whose prompts have clusters has one evolution for each. The figures that an adaptive schedule reads are the whole
run's: a trigger fires for every cluster, though each counts its own meta steps and keeps its own pace.

A meta step begun after `step` optimizer steps reads the rollouts before it and works beside the next batches; what it
brings comes into force `staleness` steps later, neither sooner nor later, however long it took: a run that is killed in
between, or runs on other machines, has the same lineage. With a staleness of 0 training waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from metapo.evidence import gather_evidence, known_pairs
from metapo.judge.ledger import Ledger, account
from metapo.meta.schedule import Past, due, progress
from metapo.meta.step import Decision, MetaStep, Reviser, Senses
from metapo.people import rule, waiting_in
from metapo.records import call_records, meta_step_record, records_of, take_records
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Revision, Rubric
from metapo.scale import Bridge, Scale, bridge
from metapo.scorer import InForce
from metapo.settings import Settings
from metapo.store import ActKind, BegunRecord, CallRecord, Claimed, DecisionRecord, MetaStepRecord, Store

Event = dict[str, Any]
"""A row of the run's metrics."""
COMING = tuple(d.value for d in Decision if d.brings_child)
CLAIM_S = 1.0  # between two looks at whether the process that does a meta step has ended
log = logging.getLogger(__name__)


@dataclass
class _UnderWay:
    """A meta step that has begun: its record, as soon as it is there, or the work on it. Where several processes share
    a store, the one that holds the claim works."""

    begun: BegunRecord
    record: MetaStepRecord | None = None
    work: asyncio.Task[MetaStepRecord] | None = None
    claim: Claimed | None = None


class _Noting:
    """Senses that keep what they appraised: its calls are in no other record."""

    def __init__(self, senses: Senses) -> None:
        self.appraised: list[Scored] = []
        self.senses = replace(senses, appraise=self.appraise)
        self._appraise = senses.appraise

    async def appraise(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> Sequence[Scored]:
        appraised = await self._appraise(rubric, rollouts)
        self.appraised += appraised
        return appraised


class Evolution:
    """The lineage of one cluster. The first rank alone has it; every rank learns from it what is in force."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        reviser: Reviser,
        ledger: Ledger,
        note: Callable[[Event], None],
        cluster: str = "",
        n_steps: int | None = None,
    ) -> None:
        """`note` sees what happens, as it happens. `n_steps` is where the run ends, if that is known."""
        begins = Revision(rubric=settings.rubric, reason="the settings' rubric", proposer="settings", step=0)
        self.cluster = cluster
        self.first = self.in_force = InForce(begins)
        self._store = store
        self._settings = settings
        self._reviser = reviser
        self._ledger = ledger
        self._note = note
        self._n_steps = n_steps
        self._attempt = 0
        self._under_way: _UnderWay | None = None
        self._batch: Sequence[Rollout] = ()
        self._told: set[str] = set()
        self._adopted: set[str] = set()
        self._has_just_begun = True
        if chain := store.adoptions(cluster):
            self.first = InForce(chain[0].revision)
            self.in_force = InForce(chain[-1].revision, Scale(factor=chain[-1].factor, shift=chain[-1].shift))

    @property
    def n_adopted(self) -> int:
        """How many revisions came into force after the first."""
        return max(0, len(self._adopted) - 1)

    def begin(self, attempt: int, step: int) -> None:
        """Go on after `step` steps, as the store tells it: with the meta step that was under way there, if any."""
        self._attempt = attempt
        if not self._store.adoptions(self.cluster):
            self._store.adopt(attempt, 0, self.in_force.revision)
        self._adopted = set()
        self._go_by_the_store(step)
        self._has_just_begun = True
        under_way = self._still_under_way(step)
        if not (under_way and self._under_way and under_way.begun == self._under_way.begun):
            self._under_way = under_way
        newest = self._store.last_step(step, self.cluster)
        if self._settings.meta.bridge != "off" and newest is not None:
            known = self._store.rollouts(from_step=newest, to_step=newest + 1, cluster=self.cluster)
            self._batch = [record.rollout for record in known if not record.screened]

    async def at_boundary(
        self, step: int, rows: Sequence[Mapping[str, Any]], last: Sequence[Scored], senses: Senses
    ) -> None:
        """`step` optimizer steps are done: bring into force what is due, and begin a meta step where one is. `rows` are
        the run's metrics so far, `last` the cluster's rollouts of the last step. Then `settle`. Raises
        ChatMisconfigured, StoreError."""
        self._batch = [s.rollout for s in last] or self._batch
        if self._has_just_begun:
            self._go_by_the_store(step)  # this boundary may have been cut short
            self._has_just_begun = False
        await self._rulings(step, senses)
        await self.settle(step, senses)
        adopt_step = step + self._settings.meta.staleness
        is_in_time = self._n_steps is None or adopt_step < self._n_steps  # later, what it brings would score nothing
        if self._under_way is None and is_in_time and (why := self._due(step, rows)):
            begun = BegunRecord(step, adopt_step, why, self.cluster)
            self._store.begin_meta_step(self._attempt, begun)
            self._under_way = _UnderWay(begun)
            self._go_on(self._under_way, senses)

    async def settle(self, step: int, senses: Senses) -> None:
        """Bring into force what the meta step under way brings, if that is due: with a staleness of 0 just after it
        began. Raises ChatMisconfigured, StoreError."""
        if self._under_way:
            self._go_on(self._under_way, senses)
            if self._under_way.begun.adopt_step <= step:
                await self._finish(self._under_way, step, senses)

    async def interrupt(self) -> None:
        """End a meta step that is under way; a run that goes on begins it again."""
        if self._under_way and (work := self._under_way.work):
            self._under_way.work = None
            work.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await work

    def _go_by_the_store(self, step: int) -> None:
        """What is in force after `step` steps."""
        chain = [a for a in self._store.adoptions(self.cluster) if a.step <= step]
        self.in_force = InForce(chain[-1].revision, Scale(factor=chain[-1].factor, shift=chain[-1].shift))
        self._adopted |= {a.revision.id for a in chain}

    # --- when

    def _still_under_way(self, step: int) -> _UnderWay | None:
        """The last meta step, where it has no record or what it brought is not in force: it is due later, or the step
        at which it was due ended in an error."""
        last = self._store.begun(self.cluster)[-1:]
        ended = {d.step: d for d in self._store.decisions(self.cluster)}
        if not last or (last[0].adopt_step <= step and last[0].step in ended and not self._brings(ended[last[0].step])):
            return None
        return _UnderWay(last[0], self._store.meta_step(last[0].step, self.cluster))

    def _due(self, step: int, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Why a meta step begins now; None where none does."""
        why = self._asked_for(step) or self._scheduled(step, rows)
        if why is None:
            return None
        spent = self._store.spent(roles=("meta", "gate"))
        if allowed := self._settings.meta.budget.reached(spent.tokens, spent.cost_usd, self._store.n_begun()):
            if allowed not in self._told:
                log.info("no meta step after %d, although it is due (%s): %s is reached", step, why, allowed)
            self._told.add(allowed)
            return None
        return why

    def _asked_for(self, step: int) -> str | None:
        """Who asked for a meta step after `step` steps."""
        asked = {act.id: act for act in self._store.acts() if act.kind is ActKind.EVOLVE}
        taken = [i for i, of, at, _ in self._store.outcomes_of_acts() if of == self.cluster and at == step]
        return next((f"{asked[i].who} asks: {asked[i].why}" for i in taken if i in asked), None)

    def _scheduled(self, step: int, rows: Sequence[Mapping[str, Any]]) -> str | None:
        if self._settings.meta.every == 0:
            return None
        past = [Past(d.step, d.child_id in self._adopted) for d in self._store.decisions(self.cluster)]
        start = self._store.first_step(self.cluster) or 0
        since = past[-1].step if past else start
        return due(step, progress(row for row in rows if row["step"] >= since), past, self._settings.meta, start)

    # --- what

    def _go_on(self, under_way: _UnderWay, senses: Senses) -> None:
        """Let the work begin, or begin again after an interruption, unless another process is at it."""
        if under_way.record is None and under_way.work is None:
            under_way.claim = under_way.claim or self._store.claim(self._claimed)
            if under_way.claim is None:
                return
            under_way.record = self._store.meta_step(
                under_way.begun.step, self.cluster
            )  # by whoever had the claim before
            if under_way.record is None:
                under_way.work = asyncio.create_task(self._work(under_way.begun, senses))
                under_way.work.add_done_callback(lambda _: _release(under_way))
            else:
                _release(under_way)

    async def _result(self, under_way: _UnderWay, senses: Senses) -> MetaStepRecord:
        """What came of a meta step, whichever process does it."""
        while under_way.record is None:
            if under_way.work is not None:
                try:
                    under_way.record = await under_way.work
                finally:
                    under_way.work = None  # what has failed is done again by whoever asks next
            else:
                under_way.claim = await asyncio.to_thread(self._store.claim, self._claimed, CLAIM_S)
                self._go_on(under_way, senses)
        return under_way.record

    @property
    def _claimed(self) -> str:
        return f"meta step of {self.cluster}" if self.cluster else "meta step"

    async def _work(self, begun: BegunRecord, senses: Senses) -> MetaStepRecord:
        """The meta step itself; its record is written as soon as it is there."""
        started, name = time.monotonic(), f"meta step {self.cluster}/{begun.step}"
        noting = _Noting(senses)
        try:
            with account(name):
                done = await self._revise(begun, noting.senses)
        except BaseException:
            self._store.append_other_calls(self._attempt, begun.step, self._calls(name, noting))
            raise
        waits = done.decision is Decision.ADOPTED and self._settings.meta.approve == "manual"
        decision = Decision.WAITING if waits else done.decision
        record = meta_step_record(begun, done, decision.value, time.monotonic() - started)
        for exchange in done.exchanges:
            self._ledger.claim(exchange.call.sent)
        tries = [record for e in done.exchanges for record in call_records(e.call, "meta")[:-1]]
        self._store.append_meta_step(self._attempt, record, [*tries, *self._calls(name, noting)])
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
            known=known_pairs(self._store, self._settings.meta.exam, self.cluster),
            former=self._former(parent, lineage),
        )

    def _former(self, parent: Revision, lineage: Sequence[Revision]) -> Revision | None:
        """The revision that a meta step replaced by `parent`, for the first meta step since; None where people decided
        that, or it is a return itself."""
        ended = self._store.decisions(self.cluster)
        brought = [d.decision for d in ended if d.child_id == parent.id]
        if brought != [Decision.ADOPTED.value] or any(d.parent_id == parent.id for d in ended):
            return None
        return next((r for r in lineage if r.id in parent.parents), None)

    def _calls(self, name: str, noting: _Noting) -> list[CallRecord]:
        """What was asked that is no exchange: all that was appraised, and what is left in the account."""
        calls = [*(r for s in noting.appraised for r in records_of(s)), *take_records(self._ledger, name)]
        return [replace(c, role="gate") if c.role == "judge" else c for c in calls]

    # --- from when on

    async def _finish(self, under_way: _UnderWay, step: int, senses: Senses) -> None:
        """Wait for the meta step under way, and bring into force what it brought."""
        waited = time.monotonic()
        record = await self._result(under_way, senses)
        waited = time.monotonic() - waited
        reason = record.reason
        if self._brings(record) and record.child is not None:
            await self._adopt(step, record.child, senses)
        elif record.decision in COMING and not (record.child and record.child.id in self._adopted):
            reason = f"left aside, as its parent {record.parent_id[:10]} is no longer in force: {reason}"
        self._under_way = None
        log.info("meta step after %d (%s): %s, %s", record.step, record.why, record.decision, reason)
        row = {"decision": record.decision, "reason": reason, "began": record.step, "why": record.why}
        self._note(self._row("meta", step) | row | {"seconds": record.seconds, "waited": waited})

    def _brings(self, ended: DecisionRecord | MetaStepRecord) -> bool:
        """Is there a child that is to take the place of the revision in force? One that took it is in force itself."""
        return ended.decision in COMING and ended.parent_id == self.in_force.revision.id

    async def _rulings(self, step: int, senses: Senses) -> None:
        """What people decided since the last boundary."""
        for act in self._store.open_acts(self.cluster, step):
            candidates = [m.child for m in waiting_in(self._store, self.cluster, act) if m.child]
            ruling = rule(act, self.in_force.revision, candidates, step)
            if ruling.child is not None:
                await self._adopt(step, ruling.child, senses)
            self._store.take_act(self._attempt, step, act.id, self.cluster, ruling.outcome)
            log.info("%s by %s: %s", act.kind.value, act.who, ruling.outcome)
            self._note(self._row("act", step) | {"act": act.kind.value, "who": act.who, "outcome": ruling.outcome})

    async def _adopt(self, step: int, child: Revision, senses: Senses) -> None:
        """From here on `child` scores. With a bridge the newest batch is scored under both, so that the change of scale
        is known, and can be taken back."""
        how, scale = self._settings.meta.bridge, Scale()
        found = await self._bridge(step, child, senses) if how != "off" else None
        if found and how == "calibrate":
            scale = found.scale(self.in_force.scale)
        self._store.adopt(self._attempt, step, child, self.cluster, factor=scale.factor, shift=scale.shift)
        self.in_force = InForce(child, scale)
        self._adopted.add(child.id)
        if found:
            self._note(self._row("bridge", step) | {f"bridge/{k}": v for k, v in vars(found).items()})

    async def _bridge(self, step: int, child: Revision, senses: Senses) -> Bridge | None:
        """What `child` would change in the values of the newest batch; None where it has no reward under both."""
        before = self.in_force
        name, noting = f"bridge {self.cluster}/{step}", _Noting(senses)
        try:
            with account(name):
                parts = [await noting.appraise(r.rubric, self._batch) for r in (before.revision, child)]
        finally:
            self._store.append_other_calls(self._attempt, step, self._calls(name, noting))
        old, new = ([before.scale.apply(s.reward.value) for s in part] for part in parts)
        return bridge(old, new)

    def _row(self, kind: str, step: int) -> Event:
        named = {"cluster": self.cluster} if self.cluster else {}
        return {"kind": kind, "step": step, **named, "revision": self.in_force.revision.short_id}


def _release(under_way: _UnderWay) -> None:
    if under_way.claim is not None:
        under_way.claim.release()
        under_way.claim = None

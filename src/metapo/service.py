"""One run's reward for engines that ask from many places: a verl worker, an HTTP client, another machine.

Whoever asks says after how many optimizer steps the completion was written. The first request of a step closes the
steps before it: their figures are noted, and meta steps begin and come into force as in any run. All state is in the
store, so that several services, in processes of their own, may share it: one of them closes a step, one does a meta
step, and all score a step under the same revision. A service that is killed loses nothing that it has answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

from metapo.aio import Together
from metapo.anchors import load_anchors
from metapo.course import Course, Row
from metapo.errors import ChatMisconfigured, DataError, MetapoError, SettingsError, Stopped, StoreError
from metapo.judge.ledger import account
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Senses
from metapo.records import anchor_record, rollout_record, scored_of, take_records
from metapo.reward import Observe, Screen, observe_nothing, screen_nothing
from metapo.rollout import Rollout, Split, as_text, completion_text
from metapo.rubric import Revision, digest
from metapo.scale import Scale
from metapo.scorer import ByCluster, Connections, InForce, Scorer
from metapo.settings import Settings
from metapo.store import ActKind, ActRecord, Claimed, Counting, Member, RolloutRecord, Standing, Store

CLAIM_S = 1.0  # between two looks at whether the process that closes a step has ended
MOST_LATE = 16  # steps: what comes later than that was written by a trainer that went back and told nobody
ADVICE = "start the service again"
_Asking = tuple[Sequence[Member], Sequence[str]]
_Writing = tuple[int, Sequence[RolloutRecord], Sequence[str]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A completion to score. `step` is how many optimizer steps were done when it was written; None where the engine
    tells none: such steps are counted, or else it is the step that is open. Completions with the same `group` belong to
    the step of the first of them. What was scored under a `key` is never scored again.
    """

    prompt: str | Sequence[Mapping[str, Any]]
    completion: str | Sequence[Mapping[str, Any]]
    reference: str | None = None
    cluster: str = ""
    step: int | None = None
    group: str = ""
    split: Split = Split.TRAIN
    key: str = ""


class StoreNotes:
    """A run's metrics in its store. `rows` are always what the store tells: other services write there, too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest = 0
        self.attempt = 0
        self.rows: list[Row] = []

    def append(self, row: Row) -> None:
        self._store.append_metric(self.attempt, row)
        self.catch_up()

    def go_back(self, step: int) -> None:
        self.read()

    def read(self) -> None:
        self._newest, self.rows = 0, []
        self.catch_up()

    def catch_up(self) -> None:
        for number, row in self._store.metrics(self._newest):
            self._newest = number
            self.rows.append(row)


class RewardService:
    """Scores for whoever asks, and keeps the run. Made by `open`."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        connections: Connections,
        answered_by: Mapping[str, str],
        *,
        screen: Screen,
        observe: Observe,
        counting: Counting | None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.error: MetapoError | None = None
        self._connections = connections
        self._answered_by = answered_by
        self._counting = counting
        self._notes = StoreNotes(store)
        self._course = Course(
            store,
            settings,
            connections.meta,
            self._notes,
            observe=observe,
            ledger=connections.ledger,
            settings_at="the settings",
            advice=ADVICE,
        )
        self._scorer = Scorer(settings, connections, self._course.revision, screen=screen)
        self._standing = self._begun = Standing(0, 0)
        self._earlier: dict[int, ByCluster] = {}
        self._revisions: dict[str, Revision] = {}
        self._under_way: set[asyncio.Task[Any]] = set()
        self._keys: dict[str, asyncio.Future[RolloutRecord]] = {}
        self._accounts = count()
        self._is_astray = False
        self._closing = asyncio.Lock()  # one step is closed at a time in this process; claims keep the others out
        self._place = Together(self._place_all)
        self._write = Together(self._write_all)

    @classmethod
    async def open(
        cls,
        store: Store,
        settings: Settings,
        connections: Connections,
        *,
        screen: Screen = screen_nothing,
        observe: Observe = observe_nothing,
        counting: Counting | None = None,
    ) -> "RewardService":
        """Begin a run in this store, or join the one in it. Store and connections are closed with the service.

        Raises ChatError where an endpoint doesn't answer, SettingsError where the run has other settings or models,
        BudgetSpent, StoreError, DataError.
        """
        answered_by = await connections.identify()
        known = await asyncio.to_thread(store.serve, settings.model_dump_json())
        if known is None:
            _pin(store, settings)
        else:
            _check(settings, type(settings).model_validate_json(known))
        service = cls(store, settings, connections, answered_by, screen=screen, observe=observe, counting=counting)
        claim = await service._claim_steps()
        try:
            service._begin()
        finally:
            claim.release()
        return service

    @property
    def step(self) -> int:
        """How many steps are over."""
        return self._standing.step

    def in_force(self, cluster: str = "") -> InForce:
        """The revision that scores the step that is open, and its scale."""
        return self._course.in_force[cluster]

    async def score(self, asked: Sequence[Asked]) -> list[RolloutRecord]:
        """One record each, in order, which is in the store when this returns; where whoever asked has gone, too.

        Raises Stopped where the run is stopped, DataError for what can't be read, StoreError.
        """
        if not asked:
            return []
        task = asyncio.create_task(self._score(asked))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def begin_step(self, step: int, *, resumed: bool = False) -> None:
        """`step` optimizer steps are done. With `resumed`, the engine went back to a checkpoint there: what was scored
        of that step and later ones no longer counts. Raises DataError for a step that is over, Stopped, StoreError."""
        self._go_on_or_raise()
        if resumed:
            await self._go_back(step)
        elif step < self._standing.step:
            raise DataError(
                f"step {step} was announced, but {self._standing.step} steps are over. If the engine went back to a "
                "checkpoint, say so (resumed)."
            )
        else:
            await self._reach(step)

    async def finish(self) -> None:
        """No more completions will come of the step that is open, nor of evaluation: note their figures. Raises
        Stopped, StoreError."""
        async with self._closing, self._alone():
            self._note_figures(await asyncio.to_thread(self.store.batch, self._standing.attempt, self.step, None))

    async def ask_to_evolve(self, who: str, why: str) -> int:
        """Ask for a meta step when the open step ends, whatever the schedule says; returns the act's number."""
        act = ActRecord(ActKind.EVOLVE, who=who, why=why, done_at=_now())
        return await asyncio.to_thread(self.store.append_act, act)

    async def feedback(self, pairs: Sequence[Pair], who: str) -> int:
        """Pin pairs whose order somebody knows: no later revision may order them worse. Returns how many."""
        records = [anchor_record(pair, Source.ANCHOR, who=who, added_at=_now()) for pair in pairs]
        await asyncio.to_thread(self.store.append_anchors, records)
        return len(records)

    async def rows(self, after: int = 0) -> list[tuple[int, Row]]:
        """The rows of the run's metrics after a number, each with its own, oldest first; those too that no longer
        count."""
        return await asyncio.to_thread(lambda: self.store.metrics(after, live=False))

    async def aclose(self) -> None:
        """Answer what is under way, then close store and connections. A meta step that is under way is begun again by
        whoever goes on."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._course.interrupt()
        self._course.record_calls(())
        self.store.close()
        await self._connections.aclose()

    # --- scoring

    async def _score(self, asked: Sequence[Asked]) -> list[RolloutRecord]:
        self._go_on_or_raise()
        rollouts = [_rollout(one) for one in asked]
        members = [Member(one.split, _group(one, self._counting), one.step) for one in asked]
        keys = [one.key for one in asked]
        standing, steps, known = await self._place((members, keys))
        await self._follow(standing)
        self._refuse_the_past(steps)
        await self._reach(max(steps))
        rollouts = [r.model_copy(update={"step": step}) for r, step in zip(rollouts, steps, strict=True)]
        found = {i: known[key] for i, key in enumerate(keys) if key in known}
        others = {i: self._keys[key] for i, key in enumerate(keys) if i not in found and key in self._keys}
        new = [i for i in range(len(asked)) if i not in found and i not in others]
        scored = await self._score_new([rollouts[i] for i in new], [keys[i] for i in new])
        found |= dict(zip(new, scored, strict=True)) | {i: await asyncio.shield(one) for i, one in others.items()}
        for i, rollout in enumerate(rollouts):
            _check_same(keys[i], found[i].rollout, rollout)
        return [found[i] for i in range(len(asked))]

    async def _score_new(self, rollouts: Sequence[Rollout], keys: Sequence[str]) -> list[RolloutRecord]:
        """Judge and write; who asks under the same keys meanwhile waits for it."""
        attempt, loop = self._standing.attempt, asyncio.get_running_loop()
        mine: dict[str, asyncio.Future[RolloutRecord]] = {key: loop.create_future() for key in keys if key}
        self._keys |= mine
        try:
            records = await self._judge(rollouts)
            written = await self._write((attempt, records, keys)) if records else []
            for key, record in zip(keys, written, strict=True):
                if key and not mine[key].done():
                    mine[key].set_result(record)
            return written
        except BaseException as e:
            for future in mine.values():
                if not future.done():
                    future.set_exception(e)
                    future.exception()  # whoever waits gets it; where nobody does it is no news
            raise
        finally:
            for key in mine:
                del self._keys[key]

    async def _judge(self, rollouts: Sequence[Rollout]) -> list[RolloutRecord]:
        by_step: dict[int, list[int]] = {}
        for i, rollout in enumerate(rollouts):
            by_step.setdefault(rollout.step, []).append(i)
        records: dict[int, RolloutRecord] = {}
        name = f"request {next(self._accounts)}"
        try:
            with account(name):
                for step, places in by_step.items():
                    scored = await self._scorer.score([rollouts[i] for i in places], in_force=self._in_force_at(step))
                    records |= {i: rollout_record(s) for i, s in zip(places, scored, strict=True)}
        except ChatMisconfigured as e:
            self.error = Stopped(f"the judge can't be asked: {e} Mend it, then {ADVICE}.")
            raise self.error from e
        finally:
            if left := take_records(self._connections.ledger, name):
                self.store.append_other_calls(self._standing.attempt, self.step, left)
        return [records[i] for i in range(len(rollouts))]

    def _in_force_at(self, step: int) -> ByCluster:
        """What scored a step that is over, or what scores the one that is open."""
        if step >= self._standing.step:
            return self._course.in_force
        if step not in self._earlier:
            chains = {cluster: self.store.adoptions(cluster) for cluster in ("", *self.store.clusters())}
            first = InForce(chains[""][0].revision)
            last = {cluster: [a for a in chain if a.step <= step][-1] for cluster, chain in chains.items()}
            known = {c: InForce(a.revision, Scale(factor=a.factor, shift=a.shift)) for c, a in last.items()}
            self._earlier[step] = ByCluster(first, known)
        return self._earlier[step]

    # --- steps

    def _begin(self) -> None:
        standing = self.store.standing()
        if standing.attempt:
            _check_models(self._answered_by, self.store.answered_by())
            self._join(standing)
        else:
            self._open_attempt(0)
        self._begun = self._standing

    async def _reach(self, step: int) -> None:
        """Close the steps before `step`, unless that has been done."""
        if step > self._standing.step:
            async with self._closing:
                if step > self._standing.step:  # else another request closed them, while this one waited
                    async with self._alone():
                        if step > self._standing.step:
                            await self._close(step)
        self._go_on_or_raise()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else closes a step, and this service stands where the run does. Where the store fails meanwhile, what
        is in memory is no longer what is on record: it is read anew the next time, as after a kill."""
        claim = await self._claim_steps()
        try:
            standing = await asyncio.to_thread(self.store.standing)
            if self._is_astray:
                await self._course.interrupt()
                self._join(self._standing)
                self._is_astray = False
            await self._follow(standing)
            yield
        except StoreError:
            self._is_astray = True
            raise
        finally:
            claim.release()

    async def _close(self, step: int) -> None:
        attempt, first = self._standing.attempt, self._standing.step
        records = await asyncio.to_thread(self.store.batch, attempt, first, step)
        scored = self._note_figures(records)
        senses = Senses(self._scorer.appraise, self._scorer.explain, self._scorer.aggregate)
        boundary = await self._course.close_step(step, scored, None, senses)
        self.store.close_boundary(attempt, step, datetime.now(UTC), str(boundary.error or ""))
        self._standing = Standing(attempt, step, str(boundary.error or ""))
        self._earlier.clear()
        if boundary.error is not None:
            self.error = boundary.error

    async def _go_back(self, step: int) -> None:
        async with self._closing:
            claim = await self._claim_steps()
            try:
                await self._course.interrupt()
                self._open_attempt(step)
            finally:
                claim.release()

    def _open_attempt(self, step: int) -> None:
        self._notes.attempt = self._course.open_attempt(step, self._answered_by)
        self._standing = Standing(self._notes.attempt, step)
        self._earlier.clear()

    async def _follow(self, standing: Standing) -> None:
        """Another service may have closed steps, or gone back."""
        if standing[:2] > self._standing[:2]:
            if standing.attempt != self._standing.attempt:
                await self._course.interrupt()
            self._join(standing)
            if standing.error and standing != self._begun:
                self.error = Stopped(standing.error)
        self._go_on_or_raise()

    def _join(self, standing: Standing) -> None:
        self._notes.attempt = standing.attempt
        self._notes.read()
        self._course.join(standing.attempt, standing.step)
        self._standing = standing
        self._earlier.clear()

    def _note_figures(self, records: Sequence[RolloutRecord]) -> list[Any]:
        """What was scored, step by step; a step that was noted before an interruption is not noted again."""
        scored = [scored_of(r, self._rubric_of(r), self._scorer.aggregate) for r in records]
        self._notes.catch_up()
        noted = {(row["kind"], row["step"]) for row in self._notes.rows}
        for step in sorted({s.rollout.step for s in scored}):
            part = [s for s in scored if s.rollout.step == step]
            self._course.note([s for s in part if (s.rollout.split.value, step) not in noted])
        return scored

    def _rubric_of(self, record: RolloutRecord) -> Any:
        if record.revision_id not in self._revisions:
            self._revisions[record.revision_id] = self.store.revision(record.revision_id)
        return self._revisions[record.revision_id].rubric

    async def _claim_steps(self) -> Claimed:
        while (claim := await asyncio.to_thread(self.store.claim, "steps", CLAIM_S)) is None:
            log.info("waiting for another service to close a step")
        return claim

    def _go_on_or_raise(self) -> None:
        if self.error is not None:
            raise self.error

    def _refuse_the_past(self, steps: Sequence[int]) -> None:
        if min(steps) < self._standing.step - MOST_LATE:
            raise DataError(
                f"a completion of step {min(steps)} came when {self._standing.step} steps were over; at most "
                f"{MOST_LATE} steps may lie between. If the engine went back to a checkpoint, announce the step as "
                "resumed."
            )

    # --- the store, for all who wait at once

    def _place_all(self, asked: Sequence[_Asking]) -> list[tuple[Standing, list[int], dict[str, RolloutRecord]]]:
        standing, steps = self.store.place([m for members, _ in asked for m in members], self._counting)
        known = self.store.recorded(standing.attempt, [key for _, keys in asked for key in keys])
        left = iter(steps)
        return [
            (standing, list(islice(left, len(members))), {key: known[key] for key in keys if key in known})
            for members, keys in asked
        ]

    def _write_all(self, asked: Sequence[_Writing]) -> list[list[RolloutRecord]]:
        written: list[RolloutRecord] = []
        for attempt, part in groupby(asked, key=lambda one: one[0]):
            batches = list(part)
            records = [record for _, batch, _ in batches for record in batch]
            written += self.store.append_scored(attempt, records, [key for _, _, keys in batches for key in keys])
        left = iter(written)
        return [list(islice(left, len(records))) for _, records, _ in asked]


def _rollout(asked: Asked) -> Rollout:
    if asked.step is not None and asked.step < 0:
        raise DataError(f"step {asked.step} came; steps are counted from 0")
    return Rollout(
        prompt=as_text(asked.prompt),
        completion=completion_text(asked.completion),
        reference=asked.reference,
        split=asked.split,
        cluster=asked.cluster,
    )


def _group(asked: Asked, counting: Counting | None) -> str:
    """Where steps are counted, completions of one prompt are a group unless the engine names it."""
    if asked.group or counting is None or asked.step is not None:
        return asked.group
    return digest(as_text(asked.prompt))


def _check_same(key: str, known: Rollout, asked: Rollout) -> None:
    if (known.prompt, known.completion) != (asked.prompt, asked.completion):
        raise DataError(
            f"the key {key!r} stands for another completion, which is on record: give each completion its own"
        )


def _check(settings: Settings, known: Settings) -> None:
    """The budget alone may change."""
    differ = [
        name
        for name in type(settings).model_fields
        if name != "budget" and getattr(settings, name) != getattr(known, name, None)
    ]
    if differ:
        raise SettingsError(
            f"the run in this store has other settings: {', '.join(differ)} differ. A run keeps its settings, all but "
            "the budget, in every service; give those, or another store."
        )


def _check_models(answered_by: Mapping[str, str], known: Mapping[str, str]) -> None:
    changed = [role for role, who in answered_by.items() if known.get(role, who) != who]
    if changed:
        told = " ".join(f"The {role} is {known[role]} there and {answered_by[role]} here." for role in changed)
        raise SettingsError(f"other models answer than in the run in this store. {told} Verdicts of two don't compare.")


def _pin(store: Store, settings: Settings) -> None:
    if settings.meta.anchors:
        pairs = load_anchors(Path(settings.meta.anchors))
        store.append_anchors([anchor_record(p, Source.ANCHOR, who="settings", added_at=_now()) for p in pairs])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

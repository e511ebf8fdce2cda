"""One run's reward for engines that ask from many places: a verl worker, an HTTP client, another machine.

Whoever asks says after how many optimizer steps the completion was written. The first request of a step closes the
steps before it: their figures are noted, and meta steps begin and come into force as in any run. All state is in the
store, so that several services, in processes of their own, may share it: one of them closes a step, one does a meta
step, and all score a step under the same revision. A service that is killed loses nothing that it has answered.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count, groupby, islice
from pathlib import Path
from typing import Any

from metapo.aio import Together
from metapo.anchors import load_anchors
from metapo.asked import Asked
from metapo.course import Course, Row
from metapo.errors import ChatMisconfigured, DataError, MetapoError, SettingsError, Stopped, StoreError
from metapo.judge.ledger import account
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Senses
from metapo.records import anchor_record, rollout_record, scored_of, take_records
from metapo.reward import Observe, Screen, observe_nothing, screen_nothing
from metapo.rollout import Rollout, Split
from metapo.rubric import Revision
from metapo.scale import Scale
from metapo.scorer import ByCluster, Connections, InForce, Scorer
from metapo.settings import Settings
from metapo.store import ActKind, ActRecord, AnchorRecord, Claimed, Counting, Member, RolloutRecord, Standing, Store

CLAIM_S = 1.0  # between two looks at whether the process that closes a step has ended
MOST_LATE = 16  # steps: what comes later than that was written by a trainer that went back and told nobody
MOST_AHEAD = 1000  # steps: no engine skips so many, and what is closed stays closed
ADVICE = "start the service again"
_Asking = tuple[Sequence[Member], Sequence[str]]
_Writing = tuple[int, Sequence[RolloutRecord], Sequence[str]]
log = logging.getLogger(__name__)


class StoreNotes:
    """A run's metrics in its store. `rows` are always what the store tells: other services write there, too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest = 0
        self.attempt = 0
        self.rows: list[Row] = []

    def append(self, row: Row) -> None:
        self._newest = self._store.append_metric(self.attempt, row)
        self.rows.append(row)

    def go_back(self, step: int) -> None:
        self._newest, self.rows = 0, []
        self.read()

    def read(self) -> None:
        """What others have noted since."""
        for number, row in self._store.metrics(after=self._newest):
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
        self._in_force = self._course.in_force  # in the step that is open, while a boundary changes the course's
        self._earlier: dict[int, ByCluster] = {}
        self._revisions: dict[str, Revision] = {}
        self._under_way: set[asyncio.Task[Any]] = set()
        self._keys: dict[tuple[int, str], asyncio.Future[RolloutRecord]] = {}
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
        log.info("asking who answers at %s", settings.judge.where)
        answered_by = await connections.identify()
        for who in dict.fromkeys(answered_by.values()):
            log.info("%s answers", who)
        known = await asyncio.to_thread(store.serve, settings.model_dump_json(), _anchors(settings))
        if known is not None:
            _check(settings, json.loads(known))
        service = cls(store, settings, connections, answered_by, screen=screen, observe=observe, counting=counting)
        claim = await service._claim_steps()
        try:
            service._begin()
        finally:
            claim.release()
        return service

    @property
    def attempt(self) -> int:
        """The run's attempt that is scored in: one more each time that the engine goes back to a checkpoint."""
        return self._standing.attempt

    @property
    def step(self) -> int:
        """How many steps are over."""
        return self._standing.step

    def in_force(self, cluster: str = "") -> InForce:
        """The revision that scores the step that is open, and its scale."""
        return self._in_force[cluster]

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
            _refuse_the_future(step, self._standing)
            await self._reach(step, self._standing.attempt)

    async def finish(self) -> None:
        """No more completions will come of the step that is open, nor of evaluation: note their figures.
        Raises Stopped, StoreError."""
        async with self._closing_steps():
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
        """Who asks under a key that somebody asks under at this moment waits for that."""
        self._go_on_or_raise()
        attempt = self._standing.attempt
        others = {i: self._keys[attempt, one.key] for i, one in enumerate(asked) if (attempt, one.key) in self._keys}
        mine = [i for i in range(len(asked)) if i not in others]
        found = dict(zip(mine, await self._score_mine(attempt, [asked[i] for i in mine]), strict=True))
        found |= {i: await asyncio.shield(other) for i, other in others.items()}
        for i, one in enumerate(asked):
            one.check_same(found[i].rollout)
        return [found[i] for i in range(len(asked))]

    async def _score_mine(self, attempt: int, asked: Sequence[Asked]) -> list[RolloutRecord]:
        loop = asyncio.get_running_loop()
        mine: dict[str, asyncio.Future[RolloutRecord]] = {one.key: loop.create_future() for one in asked if one.key}
        self._keys |= {(attempt, key): future for key, future in mine.items()}
        try:
            found = await self._find_or_score(asked)
            for one, record in zip(asked, found, strict=True):
                if one.key and not mine[one.key].done():
                    mine[one.key].set_result(record)
            return found
        except BaseException as e:
            for future in mine.values():
                future.set_exception(e)
                future.exception()  # whoever waits gets it; where nobody does it is no news
            raise
        finally:
            for key in mine:
                del self._keys[attempt, key]

    async def _find_or_score(self, asked: Sequence[Asked]) -> list[RolloutRecord]:
        rollouts = [one.rollout for one in asked]
        members = [Member(one.split, one.group_in(self._counting), one.step) for one in asked]
        standing, steps, known = await self._place((members, [one.key for one in asked]))
        await self._follow(standing)
        new = [i for i, one in enumerate(asked) if one.key not in known]
        if not new:
            return [known[one.key] for one in asked]
        _refuse_the_past(min(steps), self._standing)
        _refuse_the_future(max(steps), self._standing)
        await self._reach(max(steps), standing.attempt)
        placed = [rollouts[i].model_copy(update={"step": step}) for i, step in zip(new, steps, strict=True)]
        records = await self._judge(placed)
        written = await self._write((standing.attempt, records, [asked[i].key for i in new]))
        scored = dict(zip(new, written, strict=True))
        return [scored[i] if i in scored else known[one.key] for i, one in enumerate(asked)]

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
                await asyncio.to_thread(self.store.append_other_calls, self._standing.attempt, self.step, left)
        return [records[i] for i in range(len(rollouts))]

    def _in_force_at(self, step: int) -> ByCluster:
        """What scored a step that is over, or what scores the one that is open."""
        if step >= self._standing.step:
            return self._in_force
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
            if error := self._course.overspent(standing.step):
                raise error
        else:
            self._open_attempt(0)
        self._begun = self._standing

    async def _reach(self, step: int, attempt: int) -> None:
        """Close the steps before `step` of this attempt, unless that has been done. Raises DataError where the run went
        back meanwhile."""
        if (attempt, step) > self._standing[:2]:
            async with self._closing_steps() as claim:
                if (attempt, step) > self._standing[:2]:
                    await self._close(step, claim)
        self._go_on_or_raise()
        if attempt != self._standing.attempt:
            raise DataError(
                f"the engine went back to step {self._standing.step} while this completion of step {step} waited: it "
                "no longer counts, and is not scored."
            )

    async def _close(self, step: int, claim: Claimed) -> None:
        attempt, first = self._standing.attempt, self._standing.step
        scored = self._note_figures(await asyncio.to_thread(self.store.batch, attempt, first, step))
        senses = Senses(self._scorer.appraise, self._scorer.explain, self._scorer.aggregate)
        boundary = await self._course.close_step(step, scored, None, senses)
        if not claim.held:
            raise StoreError(f"step {step} may be closed by another service, as the database let go of our claim")
        error = str(boundary.error or "")
        self.store.close_boundary(attempt, step, datetime.now(UTC), error)
        self._stand(Standing(attempt, step, error))
        if boundary.error is not None:
            self.error = boundary.error

    async def _go_back(self, step: int) -> None:
        async with self._closing_steps() as claim:
            if step > self._standing.step:
                await self._close(step, claim)
            records = await asyncio.to_thread(self.store.batch, self._standing.attempt, self.step, step + 1)
            self._note_figures([r for r in records if r.rollout.split is Split.EVAL])
            self._go_on_or_raise()
            await self._course.interrupt()
            self._open_attempt(step)

    def _open_attempt(self, step: int) -> None:
        self._notes.attempt = self._course.open_attempt(step, self._answered_by)
        self._stand(Standing(self._notes.attempt, step))

    async def _follow(self, standing: Standing) -> None:
        """Another service may have closed steps, or gone back."""
        if standing[:2] > self._standing[:2] and standing.attempt != self._standing.attempt:
            await self._course.interrupt()
        if standing[:2] > self._standing[:2]:  # still: somebody else may have followed meanwhile
            self._join(standing)
            if standing.error and standing != self._begun:
                self.error = Stopped(standing.error)
        self._go_on_or_raise()

    def _join(self, standing: Standing) -> None:
        if standing.attempt == self._notes.attempt:
            self._notes.read()
        else:
            self._notes.attempt = standing.attempt
            self._notes.go_back(standing.step)
        self._course.join(standing.attempt, standing.step)
        self._stand(standing)

    def _stand(self, standing: Standing) -> None:
        self._standing = standing
        self._in_force = self._course.in_force
        self._earlier.clear()

    def _note_figures(self, records: Sequence[RolloutRecord]) -> list[Any]:
        """What was scored, step by step; a step that was noted before an interruption is not noted again."""
        scored = [scored_of(r, self._rubric_of(r), self._scorer.aggregate) for r in records]
        self._notes.read()
        noted = {(row["kind"], row["step"]) for row in self._notes.rows}
        for step in sorted({s.rollout.step for s in scored}):
            part = [s for s in scored if s.rollout.step == step]
            self._course.note([s for s in part if (s.rollout.split.value, step) not in noted])
        return scored

    def _rubric_of(self, record: RolloutRecord) -> Any:
        if record.revision_id not in self._revisions:
            self._revisions[record.revision_id] = self.store.revision(record.revision_id)
        return self._revisions[record.revision_id].rubric

    @asynccontextmanager
    async def _closing_steps(self) -> AsyncIterator[Claimed]:
        """Nobody else closes steps or goes back, in this process or another; what others did is known. Where the store
        fails meanwhile, what is in memory is no longer what is on record: it is read anew the next time, as after a
        kill."""
        async with self._closing:
            claim = await self._claim_steps()
            try:
                standing = await asyncio.to_thread(self.store.standing)
                if self._is_astray:
                    await self._course.interrupt()
                    self._join(self._standing)
                    self._is_astray = False
                await self._follow(standing)
                yield claim
            except StoreError:
                self._is_astray = True
                raise
            finally:
                claim.release()

    async def _claim_steps(self) -> Claimed:
        while (claim := await asyncio.to_thread(self.store.claim, "steps", CLAIM_S)) is None:
            log.info("waiting for another service to close a step")
        return claim

    def _go_on_or_raise(self) -> None:
        if self.error is not None:
            raise self.error

    # --- the store, for all who wait at once

    def _place_all(self, asked: Sequence[_Asking]) -> list[tuple[Standing, list[int], dict[str, RolloutRecord]]]:
        """What the run stood at, the steps of those that are not on record yet, and by key what is."""
        attempt = self.store.standing().attempt
        known = self.store.recorded(attempt, [key for _, keys in asked for key in keys])
        new = [[m for m, key in zip(members, keys, strict=True) if key not in known] for members, keys in asked]
        standing, steps = self.store.place([m for members in new for m in members], self._counting)
        if standing.attempt != attempt:  # the run went back between the two
            return self._place_all(asked)
        left = iter(steps)
        return [
            (standing, list(islice(left, len(members))), {key: known[key] for key in keys if key in known})
            for members, (_, keys) in zip(new, asked, strict=True)
        ]

    def _write_all(self, asked: Sequence[_Writing]) -> list[list[RolloutRecord]]:
        written: list[RolloutRecord] = []
        for attempt, part in groupby(asked, key=lambda one: one[0]):
            batches = list(part)
            records = [record for _, batch, _ in batches for record in batch]
            written += self.store.append_scored(attempt, records, [key for _, _, keys in batches for key in keys])
        left = iter(written)
        return [list(islice(left, len(records))) for _, records, _ in asked]


def _refuse_the_past(step: int, standing: Standing) -> None:
    if step < standing.step - MOST_LATE:
        raise DataError(
            f"a completion of step {step} came when {standing.step} steps were over; at most {MOST_LATE} steps may lie "
            "between. If the engine went back to a checkpoint, announce the step as resumed."
        )


def _refuse_the_future(step: int, standing: Standing) -> None:
    if step > standing.step + MOST_AHEAD:
        raise DataError(
            f"step {step} came when {standing.step} steps were over; at most {MOST_AHEAD} steps may be skipped. Steps "
            "are optimizer steps that are done, counted from 0."
        )


def _check(settings: Settings, known: Mapping[str, Any]) -> None:
    """The budget alone may change."""
    mine = json.loads(settings.model_dump_json())
    names = [name for name in {**mine, **known} if name != "budget"]
    differ = [name for name in names if mine.get(name, ...) != known.get(name, ...)]
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


def _anchors(settings: Settings) -> list[AnchorRecord]:
    pairs = load_anchors(Path(settings.meta.anchors)) if settings.meta.anchors else []
    return [anchor_record(pair, Source.ANCHOR, who="settings", added_at=_now()) for pair in pairs]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""A service: rewards and lineage as in a trainer's own run, one step at a time, whoever asks, and nothing lost."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from metapo.asked import Asked
from metapo.engines.connect import connect
from metapo.errors import (
    BudgetSpent,
    ChatMisconfigured,
    DataError,
    JudgeFailureLimit,
    SettingsError,
    Stopped,
    StoreError,
)
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.rollout import Rollout, Split
from metapo.service import MOST_LATE, RewardService
from metapo.settings import BudgetSettings, Settings
from metapo.store import ActKind, ActRecord, Counting, Store
from tests.helpers import rubric
from tests.reviewer import Reviewer
from tests.trainer import EMPTY, EMPTY_TEXT, GATED, SOUND, Held, Marker, Trainer, anchor, settings, write


@asynccontextmanager
async def service(
    folder: Path,
    given: Settings | None = None,
    *,
    judge: Transport | None = None,
    meta: Transport | None = None,
    **options: Any,
) -> AsyncIterator[RewardService]:
    given = given or settings()
    connections = connect(given, judge=judge or Marker(), meta=meta or Reviewer(SOUND))
    opened = await RewardService.open(Store(folder / "store.db"), given, connections, **options)
    try:
        yield opened
    finally:
        await opened.aclose()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def asked(rollout: Rollout, **more: Any) -> Asked:
    named = {"reference": rollout.reference, "cluster": rollout.cluster, "step": rollout.step, "split": rollout.split}
    return Asked(rollout.prompt, rollout.completion, **{**named, **more})


def batch(number: int, **more: Any) -> list[Asked]:
    return [asked(rollout, **more) for rollout in write(number)]


def lineage(one: RewardService, cluster: str = "") -> list[tuple[int, str]]:
    one.store.verify()
    return [(step, revision.id) for step, revision in one.store.lineage(cluster)]


async def trained(
    one: RewardService, n_steps: int, *, after: Callable[[int], Any] = lambda step: None
) -> list[list[float | None]]:
    rewards = []
    for step in range(n_steps):
        rewards.append([r.value for r in await one.score(batch(step))])
        after(step)
    return rewards


# --- as in a trainer's own run


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("method", [{}, GATED], ids=["as published", "gated"])
async def test_rewards_lineage_and_metrics_are_those_of_a_run(
    tmp_path: Path, staleness: int, method: dict[str, Any]
) -> None:
    given = settings(staleness=staleness, **method)
    trainer = Trainer(tmp_path / "run", given, meta=Reviewer(SOUND), anchors=[anchor(i) for i in range(4)])
    await trainer.go(10)
    mine = {(r.rollout.step, r.rollout.position): r.value for r in trainer.run.store.rollouts()}
    async with service(tmp_path, given) as one:
        await one.feedback([anchor(i) for i in range(4)], "settings")
        rewards = await trained(one, 10)
        await one.begin_step(10)
        assert {(s, i): v for s, values in enumerate(rewards) for i, v in enumerate(values)} == mine
        assert lineage(one) == trainer.lineage
        assert len(lineage(one)) > 1
        rows = [row for _, row in await one.rows()]
    await trainer.close()
    for kind in ("train", "meta", "bridge"):
        told = [untimed(row) for row in rows if row["kind"] == kind]
        assert told == [untimed(row) for row in trainer.rows(kind)]
        assert told or kind == "bridge"  # which the published method lacks


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("seconds", "waited", "judge/latency_s")}


async def test_each_cluster_has_its_lineage(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        for step in range(6):
            await one.score([asked(r) for r in write(step, ("a", "b"))])
        assert [step for step, _ in lineage(one, "a")] == [0, 4]
        assert one.in_force("a").revision.rubric == one.in_force("b").revision.rubric == rubric(SOUND)
        assert one.in_force("new").revision.rubric == settings().rubric


async def test_evaluation_never_reaches_the_meta_model(tmp_path: Path) -> None:
    meta = Reviewer(SOUND)
    async with service(tmp_path, meta=meta) as one:
        for step in range(5):
            await one.score(batch(step))
            await one.score([asked(r, split=Split.EVAL, step=step + 1) for r in write(step + 50)])
        await one.finish()
        kinds = [row["kind"] for _, row in await one.rows()]
    assert kinds.count("eval") == 5
    seen = [request.last for request in meta.requests]
    assert seen
    assert not any("/5" in text and f"{step}/" in text for text in seen for step in range(50, 55))


# --- steps


async def test_the_first_request_of_a_step_closes_those_before_and_all_of_it_share_a_revision(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        await trained(one, 4)
        assert one.step == 3
        at_once = await asyncio.gather(*(one.score([ask]) for ask in batch(4)))
        assert one.step == 4
        assert len({r.revision_id for part in at_once for r in part}) == 1
        assert one.in_force().revision.rubric == rubric(SOUND)
        assert sorted(r.rollout.position for part in at_once for r in part) == list(range(8))
        assert [row["step"] for _, row in await one.rows() if row["kind"] == "train"] == [0, 1, 2, 3]


async def test_what_comes_late_is_scored_by_the_revision_of_its_step(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        await trained(one, 6)
        [late] = await one.score([asked(write(3)[0], key="late")])
        [now] = await one.score([asked(write(5)[0], key="now")])
        assert late.revision_id == lineage(one)[0][1] != now.revision_id
        one.store.verify()


async def test_what_comes_far_too_late_is_refused(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        await one.begin_step(MOST_LATE + 1)
        with pytest.raises(
            DataError, match=rf"completion of step 0 came when {MOST_LATE + 1} steps were over.*resumed"
        ):
            await one.score(batch(0))
        with pytest.raises(DataError, match="step 2 was announced"):
            await one.begin_step(2)


async def test_the_first_of_a_group_fixes_the_step_for_all(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        await trained(one, 4)
        [first] = await one.score([asked(write(3)[0], group="g")])
        await one.score(batch(4))
        [other] = await one.score([asked(write(4)[0], group="g")])
        assert other.rollout.step == first.rollout.step == 3
        assert other.revision_id == first.revision_id


async def test_steps_are_counted_for_engines_that_tell_none(tmp_path: Path) -> None:
    async with service(tmp_path, counting=Counting(groups=2, group_size=4)) as one:
        steps = []
        for step in range(6):
            for ask in batch(step % 2, step=None):  # the same prompts come again and again
                [record] = await one.score([ask])
                steps.append(record.rollout.step)
        assert steps == [step for step in range(6) for _ in range(8)]
        assert len(lineage(one)) == 2


async def test_groups_whose_members_come_mixed_are_counted_as_groups(tmp_path: Path) -> None:
    async with service(tmp_path, counting=Counting(groups=1, group_size=4)) as one:
        mixed = [ask for pair in zip(batch(0, step=None)[:4], batch(0, step=None)[4:], strict=True) for ask in pair]
        assert [r.rollout.step for r in await one.score(mixed)] == [0, 1] * 4


async def test_a_step_that_is_announced_needs_no_request(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        await trained(one, 4)
        await one.begin_step(4)
        assert len(lineage(one)) == 2


async def test_after_going_back_what_was_scored_since_no_longer_counts(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        first = await trained(one, 6)
        assert len(lineage(one)) == 2
        await one.begin_step(2, resumed=True)
        assert one.step == 2
        assert one.in_force().revision.id == lineage(one)[0][1]
        again = [[r.value for r in await one.score(batch(step))] for step in range(2, 6)]
        assert again == first[2:]
        assert [s for s, _ in lineage(one)] == [0, 4]
        await one.begin_step(6)
        live = [row["step"] for _, row in one.store.metrics() if row["kind"] == "train"]
        assert live == [0, 1, 2, 3, 4, 5]
        assert len(await one.rows()) > len(one.store.metrics()), "what was noted before stays on record"


# --- nothing doubled, nothing lost


async def test_a_key_is_scored_once(tmp_path: Path) -> None:
    judge = Counted()
    async with service(tmp_path, judge=judge) as one:
        first = await one.score([asked(write(0)[1], key="k")])
        again = await one.score([asked(write(0)[1], key="k")])
        together = await asyncio.gather(*(one.score([asked(write(0)[3], key="x")]) for _ in range(5)))
        twice = await one.score([asked(write(0)[5], key="y"), asked(write(0)[5], key="y")])
        assert [r.rollout for r in again] == [r.rollout for r in first]
        assert [r.value for r in again] == [r.value for r in first]
        assert len({part[0].rollout.position for part in together}) == 1
        assert twice[0] == twice[1]
        assert len(one.store.rollouts()) == 3
    async with service(tmp_path, judge=judge) as one:
        assert [r.rollout for r in await one.score([asked(write(0)[1], key="k")])] == [r.rollout for r in first]
        with pytest.raises(DataError, match="'k' stands for another completion"):
            await one.score([asked(write(0)[2], key="k")])


class Counted(Marker):
    """Counts its requests."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.n = 0
        self._seconds = seconds

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.n += 1
        await asyncio.sleep(self._seconds)
        return await super().complete(request)


async def test_who_hangs_up_loses_nothing(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Counted()) as one:
        asking = asyncio.create_task(one.score(batch(0)))
        await asyncio.sleep(0.005)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
    store = Store(tmp_path / "store.db")
    assert len(store.rollouts()) == 8
    store.close()


async def test_a_run_goes_on_where_another_service_left_it(tmp_path: Path) -> None:
    async with service(made(tmp_path / "whole")) as one:
        whole, ids = await trained(one, 9), lineage(one)
    parts: list[list[float | None]] = []
    folder = made(tmp_path / "parts")
    for step in range(9):
        async with service(folder) as one:
            parts.append([r.value for r in await one.score(batch(step))])
            parted = lineage(one)
    assert parts == whole
    assert parted == ids


# --- several services on one store


async def test_two_services_agree_at_every_step(tmp_path: Path) -> None:
    given, metas = settings(staleness=1), [Reviewer(SOUND), Reviewer(SOUND)]
    async with service(tmp_path, given, meta=metas[0]) as a, service(tmp_path, given, meta=metas[1]) as b:
        for step in range(10):
            asks = batch(step)
            parts = await asyncio.gather(*((a, b)[i % 2].score([ask]) for i, ask in enumerate(asks)))
            assert len({r.revision_id for part in parts for r in part}) == 1
            assert sorted(r.rollout.position for part in parts for r in part) == list(range(8))
        assert lineage(a) == lineage(b)
        assert [s for s, _ in lineage(a)] == [0, 5]
        asked_for = [len([r for r in meta.requests if "Stage: analysis" in r.last]) for meta in metas]
        assert sorted(asked_for) == [0, 6] or sorted(asked_for) == [3, 3], "each meta step is done once"
        rows = [row for _, row in await b.rows()]
        assert [row["n_rollouts"] for row in rows if row["kind"] == "train"] == [8] * 9


class Slow(Held):
    async def identify(self) -> str:
        return "reviewer"


async def test_one_that_waits_for_anothers_meta_step_takes_it_over_when_that_ends(tmp_path: Path) -> None:
    held, own = Slow(SOUND), Reviewer(SOUND)
    given = settings(staleness=1)
    async with service(tmp_path, given, meta=own) as b:
        async with service(tmp_path, given, meta=held) as a:  # the same model, but slow
            await trained(a, 5)
            await b.score(batch(4))
            waiting = asyncio.create_task(b.score(batch(5)))
            await asyncio.sleep(0.2)
            assert held.n_waiting > 0
            assert not waiting.done()
            assert not own.requests
        [first, *_] = await waiting
        assert first.revision_id == lineage(b)[-1][1]
        assert own.requests


async def test_going_back_in_one_service_is_known_in_the_other(tmp_path: Path) -> None:
    async with service(tmp_path) as a, service(tmp_path) as b:
        await trained(a, 6)
        await b.score(batch(5))
        await a.begin_step(2, resumed=True)
        [record] = await b.score([asked(write(2)[0])])
        assert b.step == 2
        assert record.revision_id == lineage(a)[0][1]


# --- people


async def test_who_asks_gets_a_meta_step_at_the_next_boundary(tmp_path: Path) -> None:
    async with service(tmp_path, settings(every=0)) as one:
        await trained(one, 2)
        await one.ask_to_evolve("ada", "it looks hacked")
        await one.score(batch(2))
        assert [m.why for m in one.store.meta_steps()] == ["ada asks: it looks hacked"]
        assert [s for s, _ in lineage(one)] == [0, 2]
        await one.score(batch(3))
        assert len(one.store.meta_steps()) == 1


# --- what stops it


class Failing(Marker):
    """Gives no verdict on some completions."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        return ChatReply(text="none") if EMPTY_TEXT[:20] in request.last else await super().complete(request)


async def test_too_many_failures_stop_the_run_at_the_boundary(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Failing()) as a, service(tmp_path) as b:
        values = [r.value for r in await a.score(batch(0))]
        assert values == [None, 1.0] * 4, "a failed judgement is no low score"
        with pytest.raises(JudgeFailureLimit, match=r"4 of 8 rollouts have no reward.*start the service again"):
            await a.score(batch(1))
        with pytest.raises(JudgeFailureLimit):
            await a.score(batch(1))
        with pytest.raises(Stopped, match="4 of 8 rollouts have no reward"):
            await b.score(batch(1))
    async with service(tmp_path) as c:
        assert [r.value for r in await c.score(batch(1))] == [1.0] * 8


async def test_who_waits_while_the_run_is_stopped_is_refused_too(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Failing()) as one:
        await one.score(batch(0))
        found = await asyncio.gather(*(one.score([ask]) for ask in batch(1)), return_exceptions=True)
        assert [type(error) for error in found] == [JudgeFailureLimit] * 8
        assert {r.rollout.step for r in one.store.rollouts()} == {0}


async def test_a_boundary_that_the_store_broke_is_read_anew(tmp_path: Path) -> None:
    """Neither the figures of a step nor what a meta step found can be written, for a while."""
    meta, given = Held(SOUND), settings(every=2, staleness=1)
    connections = connect(given, judge=Marker(), meta=meta)
    one = await RewardService.open(Store(tmp_path / "store.db", patience_s=0.1), given, connections)
    await trained(one, 3)
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        meta.let_go.set()
        for _ in range(3):
            with pytest.raises(StoreError, match="locked"):
                await one.score(batch(3))
            await asyncio.sleep(0.2)
        other.execute("ROLLBACK")
    with suppress(StoreError):  # where the meta step met the lock last
        await one.score(batch(3))
    assert [r.value for r in await one.score(batch(3, key=""))] == [0.0, 1.0] * 4
    assert [step for step, _ in lineage(one)] == [0, 3]
    assert [row["step"] for _, row in await one.rows() if row["kind"] == "train"] == [0, 1, 2]
    await one.aclose()


class Locked(Marker):
    async def complete(self, request: ChatRequest) -> ChatReply:
        raise ChatMisconfigured("401: check the key")


async def test_a_judge_that_can_not_be_asked_stops_it_and_nothing_is_recorded(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Locked()) as one:
        with pytest.raises(Stopped, match="401: check the key"):
            await one.score(batch(0, key=""))
        with pytest.raises(Stopped):
            await one.score(batch(0))
        assert one.store.rollouts() == []
    async with service(tmp_path) as one:
        assert len(await one.score(batch(0))) == 8


async def test_other_settings_or_models_are_refused(tmp_path: Path) -> None:
    async with service(tmp_path):
        pass
    with pytest.raises(SettingsError, match="meta differ"):
        async with service(tmp_path, settings(every=5)):
            pass
    with pytest.raises(SettingsError, match="The judge is marker there and held here"):
        async with service(tmp_path, judge=Held(SOUND)):
            pass


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (Asked("p", "c", step=-1), "step -1 came"),
        (Asked([{"role": "oddity", "content": "x"}], "c"), "oddity"),
        (Asked("p", [{"content": "x"}]), "role"),
    ],
)
async def test_what_can_not_be_read_is_told(tmp_path: Path, ask: Asked, told: str) -> None:
    async with service(tmp_path) as one:
        with pytest.raises(DataError, match=told):
            await one.score([ask])
        assert await one.score([]) == []


# --- at the boundary


async def test_what_comes_late_while_a_step_is_closed_keeps_the_revision_of_its_step(tmp_path: Path) -> None:
    held = Held(SOUND)
    async with service(tmp_path, settings(staleness=0), meta=held) as one:
        for step in range(4):
            await one.score([asked(r) for r in write(step, ("a", "b"))])
        edit = ActRecord(ActKind.EDIT, who="ada", why="x", done_at="2026", cluster="a", rubric=rubric(EMPTY))
        one.store.append_act(edit)
        closing = asyncio.create_task(one.score([asked(r) for r in write(4, ("a", "b"))]))
        async with asyncio.timeout(20):
            await held.asked.wait()  # the edit is in force for a; the meta step of b goes on
        [late] = await one.score([asked(write(3, ("a", "b"))[0])])
        assert len(lineage_of(one, "a")) == 2
        assert late.revision_id == lineage_of(one, "a")[0]
        held.let_go.set()
        [now, *_] = await closing
        assert now.revision_id == lineage_of(one, "a")[1]
        one.store.verify()


def lineage_of(one: RewardService, cluster: str) -> list[str]:
    return [revision.id for _, revision in one.store.lineage(cluster)]


class Fails:
    """Stands in a store's way once, as a server that goes away does."""

    def __init__(self, one: RewardService, method: str) -> None:
        self._method = getattr(one.store, method)
        self.n = 0
        setattr(one.store, method, self)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.n += 1
        if self.n == 1:
            raise StoreError("the server was away")
        return self._method(*args, **options)


@pytest.mark.parametrize("method", ["close_boundary", "append_metric", "append_meta_step", "adopt", "take_act"])
@pytest.mark.parametrize("goes_on", [True, False], ids=["the same service", "another"])
async def test_a_boundary_that_is_cut_short_is_taken_up_where_it_was(
    tmp_path: Path, method: str, goes_on: bool
) -> None:
    pin = ActRecord(ActKind.PIN, who="ada", why="core", done_at="2026", criterion="plain")
    async with service(made(tmp_path / "whole")) as one:
        await trained(one, 4)
        one.store.append_act(pin)
        await one.score(batch(4))
        whole = lineage(one)
    async with service(made(tmp_path / "cut")) as one:
        await trained(one, 4)
        one.store.append_act(pin)
        Fails(one, method)
        with pytest.raises(StoreError, match="was away"):
            await one.score(batch(4))
        if goes_on:
            await _goes_on(one, whole)
    if not goes_on:
        async with service(tmp_path / "cut") as one:
            await _goes_on(one, whole)


async def _goes_on(one: RewardService, whole: list[tuple[int, str]]) -> None:
    [late] = await one.score([asked(write(3)[0])])
    assert late.revision_id == whole[0][1]
    await one.score(batch(4))
    assert lineage(one) == whole
    told = [row["reason"] for _, row in await one.rows() if row["kind"] == "meta"]
    assert not [reason for reason in told if "left aside" in reason]


async def test_who_resumes_where_the_service_has_not_been_closes_what_was_before(tmp_path: Path) -> None:
    async with service(made(tmp_path / "whole"), settings(staleness=0)) as one:
        await trained(one, 8)
        whole = lineage(one)
    async with service(made(tmp_path / "parts"), settings(staleness=0)) as one:
        await trained(one, 4)
        await one.score([asked(r, split=Split.EVAL) for r in write(4)])
    async with service(tmp_path / "parts", settings(staleness=0)) as one:
        await one.begin_step(4, resumed=True)
        for step in range(4, 8):
            await one.score(batch(step))
        assert lineage(one) == whole
        rows = [(row["kind"], row["step"]) for _, row in await one.rows() if row["kind"] in ("train", "eval")]
        assert rows == [("train", s) for s in range(4)] + [("eval", 4)] + [("train", s) for s in range(4, 7)]


async def test_a_request_from_before_a_going_back_is_refused_and_closes_nothing(tmp_path: Path) -> None:
    async with service(tmp_path) as a, service(tmp_path) as b:
        await trained(a, 12)
        claim = a.store.claim("steps")
        assert claim is not None
        waiting = asyncio.create_task(b.score(batch(13)))
        await asyncio.sleep(0.3)
        a._open_attempt(5)  # as who resumes does, who holds the claim
        claim.release()
        with pytest.raises(DataError, match="went back to step 5 while this completion of step 13 waited"):
            await waiting
        assert b.store.standing().step == 5
        assert len(await a.score(batch(5))) == 8


async def test_a_key_under_way_is_no_key_of_a_resumed_run(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Counted(0.2)) as one:
        old = asyncio.create_task(one.score([asked(write(0)[1], key="k")]))
        await asyncio.sleep(0.05)
        await one.begin_step(0, resumed=True)
        await one.score([asked(write(0)[1], key="k")])
        await old
        assert len(one.store.rollouts()) == 1


async def test_a_repeat_is_not_counted_as_a_further_completion(tmp_path: Path) -> None:
    async with service(tmp_path, counting=Counting(groups=1, group_size=2)) as one:
        asks = [Asked("p", f"c{i}", key=f"{i}") for i in range(6)]
        steps = [(await one.score([ask]))[0].rollout.step for ask in (*asks[:2], *asks[:2], *asks[2:4])]
        assert steps == [0, 0, 0, 0, 1, 1]
        await asyncio.gather(*(one.score([asks[4]]) for _ in range(5)))
        assert [(await one.score([ask]))[0].rollout.step for ask in asks[4:]] == [2, 2]


async def test_what_is_on_record_is_told_however_late(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        [first] = await one.score([asked(write(0)[1], key="k")])
        await one.begin_step(MOST_LATE + 5)
        assert (await one.score([asked(write(0)[1], key="k")]))[0].rollout == first.rollout


async def test_no_single_request_closes_all_steps_to_come(tmp_path: Path) -> None:
    async with service(tmp_path) as one:
        with pytest.raises(DataError, match="step 2000000000 came when 0 steps were over; at most 1000"):
            await one.score([asked(write(0)[0], step=2_000_000_000)])
        with pytest.raises(DataError, match="at most 1000"):
            await one.begin_step(2_000_000_000)
        assert one.step == 0


@pytest.mark.parametrize("change", [{"step": 3}, {"cluster": "c"}, {"reference": "r"}, {"split": Split.EVAL}])
async def test_a_key_stands_for_one_completion_in_one_place(tmp_path: Path, change: dict[str, Any]) -> None:
    async with service(tmp_path) as one:
        await one.score([asked(write(0)[0], key="k")])
        with pytest.raises(DataError, match=f"with another {next(iter(change))}: give each"):
            await one.score([asked(write(0)[0], key="k", **change)])


# --- settings


async def test_anchors_that_can_not_be_read_at_first_are_pinned_once_they_can(tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text("{not json\n")
    with pytest.raises(DataError):
        async with service(tmp_path, settings(anchors=str(anchors))):
            pass
    anchors.write_text('{"prompt": "p", "better": "b", "worse": "w"}\n')
    async with service(tmp_path, settings(anchors=str(anchors))) as one:
        assert len(one.store.anchors()) == 1
    async with service(tmp_path, settings(anchors=str(anchors))) as one:
        assert len(one.store.anchors()) == 1


async def test_settings_of_another_version_are_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    store.serve(json.dumps({**json.loads(settings().model_dump_json()), "brand_new": 1}))
    store.close()
    with pytest.raises(SettingsError, match="other settings: brand_new differ"):
        async with service(tmp_path):
            pass


async def test_a_budget_that_is_used_up_stays_so_in_a_service_that_is_begun_again(tmp_path: Path) -> None:
    given = settings().model_copy(update={"budget": BudgetSettings(tokens=10)})
    async with service(tmp_path, given, judge=Spending()) as one:
        await one.score(batch(0))
        with pytest.raises(BudgetSpent):
            await one.score(batch(1))
    with pytest.raises(BudgetSpent):
        async with service(tmp_path, given, judge=Spending()):
            pass
    more = given.model_copy(update={"budget": BudgetSettings(tokens=10_000)})
    async with service(tmp_path, more, judge=Spending()) as one:
        assert len(await one.score(batch(1))) == 8


class Spending(Marker):
    async def complete(self, request: ChatRequest) -> ChatReply:
        return (await super().complete(request)).model_copy(update={"prompt_tokens": 5, "completion_tokens": 1})


async def test_what_two_services_judge_at_once_is_paid_for_twice_and_on_record_once(tmp_path: Path) -> None:
    async with service(tmp_path, judge=Counted(0.1)) as a, service(tmp_path, judge=Counted(0.1)) as b:
        [one], [other] = await asyncio.gather(*(s.score([asked(write(0)[1], key="k")]) for s in (a, b)))
        assert one.rollout == other.rollout
        assert len(a.store.rollouts()) == 1
        assert a.store.spent(["judge"]).n_calls == 2


async def test_whom_it_waits_for_at_the_start_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "metapo.service")
    async with service(tmp_path):
        pass
    assert caplog.messages == ["asking who answers at http://127.0.0.1:9/v1", "marker answers", "reviewer answers"]

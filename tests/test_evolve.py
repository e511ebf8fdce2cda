"""How rubrics change during a run: beside training, after a kill, within a budget, cluster by cluster."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from metapo.errors import ChatMisconfigured, ChatTimeout, JudgeFailureLimit
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.reward import Scored, Screened
from metapo.rollout import Rollout, Split
from metapo.rubric import Criterion
from metapo.rubric_text import render_criterion
from metapo.store import ActKind, ActRecord
from tests.helpers import criterion, rubric
from tests.reviewer import Reviewer
from tests.servers import Answer, Ask, ChatServer
from tests.trainer import (
    EMPTY,
    GATED,
    PLAIN,
    SOUND,
    Held,
    Marker,
    Trainer,
    anchor,
    judge_and_meta,
    lineage,
    settings,
    stage_of,
    write,
)

STYLE = criterion("style", (0, 1))
HALF = criterion("plain", (0, 5, 10))
OVERLAPPED = settings(staleness=2)


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what happens elsewhere sets no event
            await asyncio.sleep(0.01)


# --- beside training


async def uninterrupted(folder: Path, steps: int = 10) -> list[tuple[int, str]]:
    trainer = await Trainer(folder, OVERLAPPED, meta=Reviewer(STYLE)).go(steps)
    await trainer.close()
    return trainer.lineage


async def test_what_a_meta_step_brings_holds_from_staleness_steps_later_however_long_it_took(tmp_path: Path) -> None:
    fast = await uninterrupted(tmp_path / "fast", 7)
    held = Held(STYLE)
    slow = await Trainer(tmp_path / "slow", OVERLAPPED, meta=held).go(5)
    assert [b.step for b in slow.run.store.begun()] == [4]
    assert slow.run.store.decisions() == [], "training goes on meanwhile"
    asyncio.get_running_loop().call_later(0.5, held.let_go.set)
    await slow.go(2)
    assert slow.lineage == fast
    assert [at for at, _ in fast] == [0, 6]
    scored_by = {r.rollout.step: r.revision_id for r in slow.run.store.rollouts()}
    assert [scored_by[step] == fast[0][1] for step in range(7)] == [True] * 6 + [False]
    [row] = slow.rows("meta")
    assert (row["step"], row["began"], row["decision"]) == (6, 4, "adopted")
    assert row["waited"] >= 0.1
    await slow.close()


@pytest.mark.parametrize(("n_steps", "began"), [(8, [4]), (9, [4]), (10, [4]), (11, [4, 8]), (6, []), (7, [4])])
async def test_what_would_come_into_force_at_the_end_is_not_begun(
    tmp_path: Path, n_steps: int, began: list[int]
) -> None:
    trainer = await Trainer(tmp_path, OVERLAPPED, meta=Reviewer(STYLE), n_steps=n_steps).go(n_steps)
    await trainer.close()
    assert [b.step for b in trainer.run.store.begun()] == began
    assert [m.step for m in trainer.run.store.meta_steps()] == began, "each that began ends within the run"


async def test_with_a_staleness_of_none_training_waits(tmp_path: Path) -> None:
    held = Held(STYLE)
    trainer = await Trainer(tmp_path, settings(staleness=0), meta=held).go(3)
    asyncio.get_running_loop().call_later(0.5, held.let_go.set)
    boundary = await trainer.step()
    assert [at for at, _ in trainer.lineage] == [0, 4]
    assert boundary.revision.rubric == rubric(STYLE)
    assert trainer.rows("meta")[0]["waited"] >= 0.1
    await trainer.close()


async def test_a_meta_model_with_a_wrong_key_ends_the_run_when_its_answer_is_due(tmp_path: Path) -> None:
    wrong = Reviewer(STYLE, analysis=ChatMisconfigured("401: check the key"))
    trainer = await Trainer(tmp_path, OVERLAPPED, meta=wrong).go(5)
    boundary = await trainer.step()
    assert isinstance(boundary.error, ChatMisconfigured)
    assert [at for at, _ in trainer.lineage] == [0]
    await trainer.close()
    again = Trainer(tmp_path, OVERLAPPED, meta=Reviewer(STYLE), resumed_step=6)
    assert again.run.latest_checkpoint() == (6, tmp_path / "checkpoints" / "checkpoint-6")
    await again.go(1)
    assert [at for at, _ in again.lineage] == [0, 7], "it goes on with the meta step that failed"
    await again.close()


class Failing(Marker):
    """A judge that comes to no verdict on the completions of one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    async def complete(self, request: ChatRequest) -> ChatReply:
        if f"of step {self._step}:" in request.last:
            raise ChatTimeout("60 s")
        return await super().complete(request)


async def test_what_was_due_when_a_step_failed_is_adopted_after_a_resume(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, OVERLAPPED, meta=Reviewer(STYLE), judge=Failing(5)).go(5)
    await until(lambda: bool(trainer.run.store.decisions()))
    assert isinstance((await trainer.step()).error, JudgeFailureLimit)
    await trainer.close()
    again = await Trainer(tmp_path, OVERLAPPED, meta=Reviewer(STYLE), resumed_step=6).go(2)
    assert [at for at, _ in again.lineage] == [0, 7]
    assert [b.step for b in again.run.store.begun()] == [4, 8]
    await again.close()


# --- after a kill


@pytest.mark.parametrize("resumed_step", [3, 4, 5])
@pytest.mark.parametrize("is_recorded", [True, False])
async def test_killed_between_proposal_and_adoption_a_run_has_the_same_lineage(
    tmp_path: Path, is_recorded: bool, resumed_step: int
) -> None:
    held = Held(STYLE)
    if is_recorded:
        held.let_go.set()
    trainer = await Trainer(tmp_path / "first", OVERLAPPED, meta=held).go(5)
    await until(lambda: bool(trainer.run.store.decisions()) or not is_recorded)
    assert len(trainer.run.store.decisions()) == is_recorded
    folder = await trainer.killed(tmp_path / "killed")
    meta = Reviewer(STYLE)
    again = await Trainer(folder, OVERLAPPED, meta=meta, resumed_step=resumed_step).go(10 - resumed_step)
    assert again.lineage == await uninterrupted(tmp_path / "whole")
    assert [m.step for m in again.run.store.meta_steps()] == [4, 8]
    is_known = is_recorded and resumed_step >= 4
    assert len(meta.asked("analysis")) == 3 * (1 if is_known else 2), "what is on record is not asked again"
    await again.close()


async def test_an_interrupted_meta_step_leaves_no_record_and_begins_again(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, OVERLAPPED, meta=Held(STYLE)).go(5)
    await trainer.close()
    again = Trainer(tmp_path, OVERLAPPED, meta=Reviewer(STYLE), resumed_step=5)
    assert again.run.store.decisions() == []
    await again.go(1)
    assert again.lineage == await uninterrupted(tmp_path / "whole", 6)
    await again.close()


# --- every request once


def received(server: ChatServer) -> tuple[int, int]:
    """How many requests came to the judge, and to the meta model."""
    n_meta = sum(bool(stage_of(ask)) for ask in server.asks)
    return server.n_requests - n_meta, n_meta


async def test_each_request_is_on_record_once_while_a_meta_step_runs_beside_batches(tmp_path: Path) -> None:
    with ChatServer(judge_and_meta) as server:
        given = settings(url=server.url, staleness=2, bridge="log", **GATED)
        trainer = await Trainer(tmp_path, given, served=True).go(9)
        await trainer.close()
        n_judge, n_meta = received(server)
    trainer.run.store.verify()
    assert [at for at, _ in trainer.lineage] == [0, 6]
    spent = {role: trainer.run.store.spent([role]).n_calls for role in ("judge", "gate", "meta")}
    n_cancelled = sum(call.error == "cancelled" for call in trainer.run.store.other_calls())
    assert spent["judge"] + spent["gate"] + spent["meta"] == n_judge + n_meta == trainer.run.store.spent().n_calls
    assert spent["gate"] > 0
    assert n_cancelled <= 8


class Counting(Marker):
    """A judge in this process: nobody notes what it is asked."""

    def __init__(self) -> None:
        self.n = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.n += 1
        return (await super().complete(request)).model_copy(update={"prompt_tokens": 90, "completion_tokens": 10})


async def test_what_gate_and_bridge_ask_a_judge_in_this_process_is_on_record_and_counts(tmp_path: Path) -> None:
    judge = Counting()
    given = settings(first=EMPTY, staleness=1, bridge="log", budget={"tokens": 1000}, **GATED)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(PLAIN), judge=judge).go(9)
    await trainer.close()
    store = trainer.run.store
    assert [at for at, _ in trainer.lineage] == [0, 5]
    [done] = store.meta_steps()
    n_explained = sum(e.stage == "explain" for e in done.exchanges)
    assert store.spent(["judge", "gate"]).n_calls + n_explained == judge.n
    assert store.spent(["judge"]).n_calls == 9 * 8 + 2, "each batch, and a warm-up for each revision"
    assert store.spent(["gate"]).tokens == 100 * store.spent(["gate"]).n_calls
    assert done.step == 4, "no other began at 8: the budget of meta steps is reached"


async def test_each_request_of_an_interrupted_meta_step_is_on_record_once(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        return Answer(hang=True) if stage_of(ask).startswith("refinement") else judge_and_meta(ask)

    with ChatServer(behave) as server:
        endpoint = {"url": server.url, "model": "the meta model"}
        given = settings(url=server.url, staleness=2, endpoint=endpoint)
        trainer = await Trainer(tmp_path, given, served=True).go(5)
        await until(lambda: received(server)[1] == 6)
        await trainer.close()
        n_judge, n_meta = received(server)
    assert (trainer.run.store.spent(["meta"]).n_calls, n_meta) == (6, 6)
    assert trainer.run.store.spent(["judge", "gate"]).n_calls == n_judge
    assert [c.error for c in trainer.run.store.other_calls() if c.role == "meta"] == [""] * 3 + ["cancelled"] * 3


async def test_the_requests_of_a_bridge_that_fails_are_on_record(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        is_new = "Sound" in ask.prompt.partition("</rubric>")[0]
        return Answer(status=401, body=b"{}") if is_new and not stage_of(ask) else judge_and_meta(ask)

    with ChatServer(behave) as server:
        given = settings(url=server.url, staleness=0, bridge="log")
        trainer = await Trainer(tmp_path, given, served=True).go(3)
        assert isinstance((await trainer.step()).error, ChatMisconfigured)
        await trainer.close()
        n_requests = server.n_requests
    assert trainer.run.store.spent().n_calls == n_requests


# --- the change of scale


def values(scored: list[Scored]) -> list[float]:
    return [s.reward.value for s in scored if s.reward.value is not None]


@pytest.mark.parametrize("how", ["off", "log", "calibrate"])
async def test_a_bridge_tells_the_change_and_takes_it_back(tmp_path: Path, how: str) -> None:
    """Under the first rubric half of a batch has 1 and half 0; under the second, half 1 and half 0.5."""
    given = settings(first=SOUND, staleness=0, bridge=how)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(SOUND, HALF)).go(4)
    batch = [r.rollout for r in trainer.run.store.rollouts(from_step=3)]
    told = trainer.rows("bridge")
    if how == "off":
        assert told == []
    else:
        figures = {k: v for k, v in told[0].items() if k.startswith("bridge/")}
        expected = {"n": 8, "mean_before": 0.5, "mean_after": 0.75, "spread_before": 0.5, "spread_after": 0.25}
        assert figures == {f"bridge/{k}": v for k, v in expected.items()}
        assert [row["step"] for row in told] == [4]
    mean, spread = (0.5, 0.5) if how == "calibrate" else (0.75, 0.25)
    now = values(await trainer.scorer.score(batch))
    assert (fmean(now), pstdev(now)) == pytest.approx((mean, spread))
    await trainer.close()
    again = Trainer(tmp_path, given, meta=Reviewer(SOUND, HALF), resumed_step=4)
    assert values(await again.scorer.score(batch)) == now, "the scale is restored"
    await again.close()


@pytest.mark.parametrize("clusters", [("",), ("a", "b")])
async def test_after_a_resume_the_bridge_reads_the_batch_that_the_run_did(
    tmp_path: Path, clusters: tuple[str, ...]
) -> None:
    """What a task's rule scored, here a part of each batch and the whole of the last, is in no bridge."""

    async def by_rule(rollout: Rollout) -> Screened | None:
        return Screened("by rule", 0.0, 0.0) if rollout.step == 5 or rollout.position % 4 < 2 else None

    given = settings(first=SOUND, staleness=2, bridge="log")

    def trainer(folder: Path, resumed_step: int | None = None) -> Trainer:
        options = {"meta": Reviewer(SOUND, HALF), "clusters": clusters, "screen": by_rule}
        return Trainer(folder, given, resumed_step=resumed_step, **options)

    whole = await trainer(tmp_path / "whole").go(6)
    folder = await (await trainer(tmp_path / "killed").go(5)).killed(tmp_path / "broken")
    broken = await trainer(folder, 5).go(1)
    assert [row["bridge/n"] for row in whole.rows("bridge")] == ([4] if clusters == ("",) else [2, 2])
    assert broken.rows("bridge") == whole.rows("bridge")
    await whole.close()
    await broken.close()


async def test_a_cluster_that_a_tasks_rule_scores_alone_has_no_lineage_after_a_resume_either(tmp_path: Path) -> None:
    async def by_rule(rollout: Rollout) -> Screened | None:
        return Screened("by rule", 0.0, 0.0) if rollout.cluster == "x" else None

    meta, clusters = Reviewer(STYLE), ("", "x")
    before = await Trainer(tmp_path, settings(staleness=0), meta=meta, clusters=clusters, screen=by_rule).go(2)
    assert list(before.run.in_force) == [""]
    await before.close()
    again = Trainer(tmp_path, settings(staleness=0), meta=meta, clusters=clusters, screen=by_rule, resumed_step=2)
    assert list(again.run.in_force) == [""]
    await again.close()


# --- the budget of meta steps


async def test_no_meta_step_begins_once_their_budget_is_reached_and_training_goes_on(tmp_path: Path) -> None:
    by_steps = settings(staleness=0, budget={"steps": 2})
    trainer = await Trainer(tmp_path / "steps", by_steps, meta=Reviewer(STYLE)).go(17)
    assert [m.step for m in trainer.run.store.meta_steps()] == [4, 8]
    await trainer.close()
    again = await Trainer(tmp_path / "steps", by_steps, meta=Reviewer(STYLE), resumed_step=7).go(10)
    assert [m.step for m in again.run.store.meta_steps()] == [4, 8], "what a resumed run repeats counts once"
    await again.close()

    dear = Reviewer(STYLE, analysis=ChatReply(text="Inflated.", prompt_tokens=90, completion_tokens=10))
    by_tokens = settings(staleness=0, budget={"tokens": 600})
    trainer = await Trainer(tmp_path / "tokens", by_tokens, meta=dear).go(17)
    assert [m.step for m in trainer.run.store.meta_steps()] == [4, 8], "3 samples of 100 tokens each"
    await trainer.close()


async def test_a_budget_that_is_reached_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = settings(staleness=0, every=1, budget={"steps": 1})
    with caplog.at_level("INFO", logger="metapo.evolve"):
        trainer = await Trainer(tmp_path, given, meta=Reviewer(STYLE)).go(5)
    await trainer.close()
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("no meta step")]
    assert told == ["no meta step after 2, although it is due (every 1 steps): meta.budget.steps = 1 is reached"]


async def test_the_budget_counts_the_meta_steps_of_all_clusters(tmp_path: Path) -> None:
    given = settings(staleness=0, budget={"steps": 3})
    trainer = await Trainer(tmp_path, given, meta=Reviewer(STYLE), clusters=("a", "b")).go(12)
    steps = [(m.cluster, m.step) for c in ("a", "b") for m in trainer.run.store.meta_steps(c)]
    assert steps == [("a", 4), ("a", 8), ("b", 4)]
    await trainer.close()


# --- clusters


def told_apart(request: ChatRequest) -> str:
    """Each cluster's meta step writes a criterion of its own."""
    name = "b" if "Question 1" in request.messages[0].content or "for-b" in request.messages[0].content else "a"
    return render_criterion(criterion(f"for-{name}", (0, 3)))


async def test_clusters_have_lineages_of_their_own_with_a_shared_core(tmp_path: Path) -> None:
    core = PLAIN.model_copy(update={"pinned": True})
    given = settings(first=core, staleness=2)

    def meta() -> Reviewer:
        return Reviewer(STYLE, refine=told_apart, merge=told_apart)

    whole = await Trainer(tmp_path / "whole", given, meta=meta(), clusters=("a", "b")).go(10)
    assert whole.run.store.clusters() == ["a", "b"]
    first = whole.lineage
    assert [at for at, _ in first] == [0], "no prompt has no cluster: nothing but the beginning"
    of = {name: whole.run.store.lineage(name) for name in ("a", "b")}
    for name, chain in of.items():
        assert [at for at, _ in chain] == [0, 6]
        assert chain[0][1].id == first[0][1]
        assert chain[1][1].rubric.criteria == (core, criterion(f"for-{name}", (0, 3)))
        seen = {r.revision_id for r in whole.run.store.rollouts(from_step=6, cluster=name)}
        assert seen == {chain[1][1].id}
        read = {s.rollout.cluster for m in whole.run.store.meta_steps(name) for s in m.samples}
        assert read == {name}
    assert sorted(row["cluster"] for row in whole.rows("meta") if row["step"] == 6) == ["a", "b"]

    trainer = await Trainer(tmp_path / "first", given, meta=Held(STYLE), clusters=("a", "b")).go(5)
    folder = await trainer.killed(tmp_path / "killed")
    again = await Trainer(folder, given, meta=meta(), clusters=("a", "b"), resumed_step=5).go(5)
    assert {name: again.run.store.lineage(name) for name in ("a", "b")} == of
    assert again.run.store.verify() == whole.run.store.verify()
    assert again.run.in_force == whole.run.in_force
    await again.close()
    await whole.close()


async def test_where_training_waits_it_waits_for_the_meta_steps_of_all_clusters_at_once(tmp_path: Path) -> None:
    clusters = [f"c{i:02}" for i in range(21)]
    held, groups = Held(STYLE), partial(write, n=4 * len(clusters))
    trainer = await Trainer(tmp_path, settings(staleness=0), meta=held, clusters=clusters, write=groups).go(3)
    last = asyncio.create_task(trainer.step())
    await until(lambda: held.n_waiting == 3 * len(clusters))  # each meta step's samples; none waits for another
    held.let_go.set()
    assert (await last).error is None
    assert all([at for at, _ in lineage(trainer.run, name)] == [0, 4] for name in clusters)
    assert [row["cluster"] for row in trainer.rows("meta")] == clusters
    await trainer.close()


async def test_prompts_without_a_cluster_evolve_beside_those_with_one(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(staleness=0), meta=Reviewer(STYLE), clusters=("", "a")).go(4)
    assert [[at for at, _ in lineage(trainer.run, c)] for c in ("", "a")] == [[0, 4], [0, 4]]
    await trainer.close()


async def test_a_cluster_that_comes_late_begins_with_the_runs_first_revision(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(staleness=0), meta=Reviewer(STYLE)).go(5)
    trainer.clusters = ("rare",)
    await trainer.go(2)
    (_, first), (_, second) = trainer.lineage
    by_step = {r.rollout.step: r.revision_id for r in trainer.run.store.rollouts()}
    assert [by_step[step] for step in (3, 4, 5, 6)] == [first, second, first, first]
    assert lineage(trainer.run, "rare") == [(0, first)]
    await trainer.close()
    again = Trainer(tmp_path, settings(staleness=0), meta=Reviewer(STYLE), resumed_step=5, clusters=("", "rare"))
    await again.go(1)
    assert {r.revision_id for r in again.run.store.rollouts(from_step=5)} == {first, second}
    assert lineage(again.run) == [(0, first), (4, second)]
    await again.close()


async def test_a_cluster_of_evaluation_prompts_has_no_lineage(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(staleness=0), meta=Reviewer(STYLE)).go(2)
    batch = [r.rollout.model_copy(update={"split": Split.EVAL, "cluster": "x"}) for r in trainer.run.store.rollouts()]
    trainer.run.record_eval(await trainer.scorer.score(batch))
    await trainer.close()
    again = await Trainer(tmp_path, settings(staleness=0), meta=Reviewer(STYLE), resumed_step=2).go(2)
    assert list(again.run.in_force) == [""]
    assert again.run.store.meta_steps("x") == []
    await again.close()


async def test_what_one_cluster_found_is_no_evidence_in_another(tmp_path: Path) -> None:
    given, pinned = settings(every=8, staleness=0, bridge="off", **GATED), [anchor(1), anchor(2)]
    trainer = await Trainer(tmp_path, given, meta=Reviewer(SOUND), clusters=("a", "b"), anchors=pinned).go(8)
    store = trainer.run.store
    assert [m.decision for c in ("a", "b") for m in store.meta_steps(c)] == ["adopted"] * 2
    of = {c: {(p.prompt, p.worse) for p in store.anchors(c) if p.source == "archive"} for c in ("a", "b", "")}
    assert min(len(of["a"]), len(of["b"])) > 3
    assert (of["a"] & of["b"], of[""]) == (set(), set())
    assert [len([p for p in store.anchors(c) if p.source == "anchor"]) for c in ("a", "b", "")] == [2, 2, 2]
    await trainer.close()


# --- what a meta step reads


async def test_a_pin_is_no_new_rubric_to_a_meta_step(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(staleness=0, bridge="off"), meta=Reviewer(STYLE)).go(3)
    trainer.run.store.append_act(ActRecord(ActKind.PIN, "ana", "the core", "2026-01-01", criterion="plain"))
    await trainer.go(1)
    [done] = trainer.run.store.meta_steps()
    assert (done.decision, len(done.samples)) == ("adopted", 3), "what the same criteria scored before counts"
    assert trainer.run.revision.rubric.criteria == (PLAIN.model_copy(update={"pinned": True}), STYLE)
    await trainer.close()


# --- the gate in a run


@pytest.mark.parametrize(
    ("first", "proposed", "decision"),
    [(PLAIN, SOUND, "adopted"), (PLAIN, EMPTY, "rejected"), (SOUND, PLAIN, "rejected"), (EMPTY, PLAIN, "adopted")],
)
async def test_only_what_orders_unseen_rollouts_better_comes_into_force(
    tmp_path: Path, first: Criterion, proposed: Criterion, decision: str
) -> None:
    given = settings(first=first, staleness=1, bridge="off", **GATED)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(proposed)).go(5)
    [done] = trainer.run.store.meta_steps()
    assert done.decision == decision
    assert [p.accepted for p in done.proposals] == [decision == "adopted"]
    assert [at for at, _ in trainer.lineage] == ([0, 5] if decision == "adopted" else [0])
    await trainer.close()


WRONG_TEXT = (
    "Colours in rows: red by blue, blue by green, green by grey, grey by white, white by black, until all is dark"
)


def misled(step: int, clusters: Sequence[str], until: int = 4) -> list[Rollout]:
    """As `write`, but the first `until` steps have wrong references, so that the gate takes the wrong criterion."""
    rollouts = write(step, clusters)
    return (
        [r.model_copy(update={"reference": f"{r.position} of {step}. {WRONG_TEXT}"}) for r in rollouts]
        if step < until
        else rollouts
    )


async def test_a_revision_that_judges_the_next_batches_worse_gives_its_place_back(tmp_path: Path) -> None:
    given = settings(first=SOUND, staleness=1, bridge="off", **GATED)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(EMPTY), write=misled).go(13)
    assert [r.rubric for _, r in trainer.run.store.lineage()] == [rubric(SOUND), rubric(EMPTY), rubric(SOUND)]
    assert [m.decision for m in trainer.run.store.meta_steps()] == ["adopted", "rolled_back", "rejected"]
    assert trainer.run.revision.reason.startswith("back to ")
    assert trainer.run.store.verify() > 2
    await trainer.close()


async def test_a_revision_keeps_its_place_once_the_first_meta_step_after_it_has_examined_it(tmp_path: Path) -> None:
    given = settings(first=SOUND, staleness=1, bridge="off", **GATED)
    longer = partial(misled, until=8)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(EMPTY), write=longer).go(17)
    assert [r.rubric for _, r in trainer.run.store.lineage()] == [rubric(SOUND), rubric(EMPTY)]
    assert [d.step for d in trainer.run.store.decisions()] == [4, 8, 12, 16]
    await trainer.close()


async def test_what_people_approved_is_not_rolled_back(tmp_path: Path) -> None:
    given = settings(first=SOUND, staleness=1, bridge="off", approve="manual", **GATED)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(EMPTY), write=misled).go(5)
    [done] = trainer.run.store.meta_steps()
    assert (done.decision, trainer.run.revision.rubric) == ("waiting", rubric(SOUND)), done.reason
    assert done.child is not None
    trainer.run.store.append_act(ActRecord(ActKind.APPROVE, "ana", "", "2026-01-01", about=done.child.id))
    await trainer.go(8)
    assert "rolled_back" not in [m.decision for m in trainer.run.store.meta_steps()]
    assert [r.rubric for _, r in trainer.run.store.lineage()] == [rubric(SOUND), rubric(EMPTY)]
    await trainer.close()

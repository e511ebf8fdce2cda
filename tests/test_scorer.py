"""Scoring: the revision in force, the judges that the settings name, the monitor beside them, and the warm-up."""

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from metapo.errors import ChatError, ChatMisconfigured, ChatTimeout
from metapo.judge.cache import MemoryCache
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.reward import Screen, Screened, screen_nothing
from metapo.rollout import Rollout, Split
from metapo.rubric import Reason, Revision, Rubric, Unscored, Verdict
from metapo.scale import Scale, bridge
from metapo.scorer import AT_ONCE, MIN_WARM_UP, ByCluster, Connections, InForce, Scorer
from metapo.settings import MonitorSettings, PanelSettings, Settings
from tests.helpers import criterion, rubric
from tests.judge.questions import points, reply

RUBRIC = rubric(criterion("depth", (0, 2, 5)))
COLD = JudgeSettings(warm_up=False)
UNSCALED = Scale()


class Model:
    """Answers by what a request holds, after one to five turns of the event loop."""

    def __init__(self, answer: Callable[[str], str | ChatError] = lambda prompt: reply(a=5), name: str = "m") -> None:
        self.answer, self.name = answer, name
        self.requests: list[ChatRequest] = []
        self.running = self.most = self.cancelled = self.closed = 0

    @property
    def judged(self) -> list[ChatRequest]:
        """The requests that are no warm-up."""
        return [r for r in self.requests if r.max_tokens > 1]

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(1 + 3 * len(self.requests) % 5):
                await asyncio.sleep(0)
            answer = self.answer(request.last)
            if isinstance(answer, ChatError):
                raise answer
            return ChatReply(text=answer)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def identify(self) -> str:
        return self.name

    async def aclose(self) -> None:
        self.closed += 1


def endpoint(model: str = "m", **more: Any) -> EndpointSettings:
    return EndpointSettings(url="http://127.0.0.1:9/v1", model=model, **more)


def settings(r: Rubric = RUBRIC, judging: JudgeSettings = COLD, **more: Any) -> Settings:
    return Settings(rubric=r, judge=more.pop("judge", endpoint()), judging=judging, **more)


def revision(r: Rubric = RUBRIC, step: int = 0) -> Revision:
    return Revision(rubric=r, reason="r", proposer="p", step=step)


def scorer(
    judge: Model,
    given: Settings | None = None,
    *,
    panel: tuple[Model, ...] = (),
    monitor: Model | None = None,
    screen: Screen = screen_nothing,
) -> Scorer:
    given = given or settings()
    connections = Connections(judge=judge, meta=judge, panel=panel, monitor=monitor)
    return Scorer(given, connections, revision(given.rubric), screen=screen)


def of(asking: Scorer) -> Revision:
    """The revision in force for prompts of no cluster."""
    return asking.in_force[""].revision


def adopt(asking: Scorer, to: Revision, scale: Scale = UNSCALED) -> None:
    asking.in_force = ByCluster(InForce(revision()), {"": InForce(to, scale)})


def rollouts(n: int, *, step: int = 0, split: Split = Split.TRAIN) -> list[Rollout]:
    return [Rollout(prompt="p", completion=f"{i:03}", step=step, position=i, split=split) for i in range(n)]


# --- the revision in force


async def test_scores_are_in_order_and_of_the_revision_in_force() -> None:
    given = {"000": reply(a=5), "001": reply(a=0), "002": ChatTimeout("60 s")}
    model = Model(lambda prompt: next(answer for text, answer in given.items() if f"\n{text}\n" in prompt))
    asking = scorer(model)
    got = await asking.score(rollouts(3))
    assert [(s.rollout.completion, s.reward.value) for s in got] == [("000", 1.0), ("001", 0.0), ("002", None)]
    assert {s.revision_id for s in got} == {of(asking).id}
    assert [s.monitored for s in got] == [None] * 3
    adopt(asking, revision(rubric(criterion("style", (0, 5))), step=1))
    [again] = await asking.score(rollouts(1))
    assert (again.revision_id, again.assessment.outcomes[0].criterion_id) == (of(asking).id, "style")


async def test_a_swap_in_the_middle_of_a_batch_waits_for_the_next() -> None:
    asking = scorer(Model())
    first = of(asking)
    batch = asyncio.create_task(asking.score(rollouts(9)))
    await asyncio.sleep(0)
    adopt(asking, revision(rubric(criterion("style", (0, 5))), step=1))
    assert {s.revision_id for s in await batch} == {first.id}


@pytest.mark.parametrize(("reward", "value"), [("normalized", 0.4), ("raw_sum", 2.0), ("conjunctive", 0.4)])
async def test_rewards_are_as_set(reward: str, value: float) -> None:
    [scored] = await scorer(Model(lambda prompt: reply(a=2)), settings(reward=reward)).score(rollouts(1))
    assert scored.reward.value == value


@pytest.mark.parametrize(
    ("n", "in_flight", "replicas"), [(100, 1, ()), (100, 2, ("http://127.0.0.1:8/v1",)), (3, 8, ())]
)
async def test_rollouts_under_way_are_bounded(n: int, in_flight: int, replicas: tuple[str, ...]) -> None:
    model = Model()
    given = settings(judge=endpoint(max_in_flight=in_flight, replicas=replicas))
    assert len(await scorer(model, given).score(rollouts(n))) == n
    assert model.most <= AT_ONCE * in_flight * (1 + len(replicas))
    assert model.most > 1


async def test_a_batch_of_nothing_is_scored_at_once() -> None:
    model = Model()
    assert await scorer(model, settings(judging=JudgeSettings())).score([]) == []
    assert model.requests == []


async def test_a_wrong_key_ends_the_batch_and_leaves_nothing_running() -> None:
    model = Model(lambda prompt: ChatMisconfigured("401") if "\n005\n" in prompt else reply(a=5))
    with pytest.raises(ChatMisconfigured, match="401"):
        await scorer(model, settings(judge=endpoint(max_in_flight=2))).score(rollouts(50))
    assert model.running == 0
    assert len(model.requests) < 20


async def test_cancelling_a_batch_leaves_nothing_running() -> None:
    model, monitor = Model(), Model()
    given = settings(monitor=MonitorSettings(judge=endpoint("big")))
    batch = asyncio.create_task(scorer(model, given, monitor=monitor).score(rollouts(20)))
    for _ in range(4):
        await asyncio.sleep(0)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert model.running == monitor.running == 0
    assert model.cancelled + monitor.cancelled > 0


def test_a_batch_that_was_not_judged_has_a_reason_and_no_reward() -> None:
    asking = scorer(Model(), settings(rubric()))
    for scored in asking.unscored(rollouts(2), ChatMisconfigured("401" * 300)):
        assert scored.reward.value is None
        assert scored.revision_id == of(asking).id
        assert points(scored.assessment.outcomes) == [Reason.MISCONFIGURED] * 2
        assert {len(o.detail) for o in scored.assessment.unscored} == {500}


async def test_equal_rollouts_are_judged_once_by_all_scorers_of_a_cache() -> None:
    cache, models = MemoryCache(), [Model(), Model()]
    for model in models:
        asking = Scorer(settings(), Connections(judge=model, meta=model), revision(), cache)
        scored = await asking.score([r.model_copy(update={"completion": "same"}) for r in rollouts(4)])
        assert {s.reward.value for s in scored} == {1.0}
    assert [len(m.requests) for m in models] == [1, 0]


async def test_reasons_are_those_of_the_judge_and_the_rest_stays() -> None:
    why = reply(a={"rationale": "deep", "points": 2})
    model = Model(lambda prompt: why if '"rationale"' in prompt else reply(a=2))
    asking = scorer(model)
    [scored] = await asking.score(rollouts(1))
    explained = await asking.explain(RUBRIC, scored)
    assert explained.assessment.outcomes == (Verdict(criterion_id="depth", points=2, rationale="deep"),)
    assert (explained.reward, explained.rollout) == (scored.reward, scored.rollout)
    assert len(explained.assessment.calls) == 1


# --- dropout

# Under raw_sum, a value of full verdicts is the set of the criteria that count, as a binary number.
BITS = rubric(*(criterion(f"c{i}", (0, 1), weight=2.0**i) for i in range(8)))
ALL = 2.0**8 - 1
FULL = Model(lambda prompt: reply(**dict.fromkeys("abcdefgh", 1)))


def thinned(share: float = 0.5, r: Rubric = BITS, **more: Any) -> Settings:
    return settings(r, reward=more.pop("reward", "raw_sum"), dropout=share, **more)


async def counted(given: Settings, batch: list[Rollout]) -> dict[str, set[float | None]]:
    """The values given to the completions of each prompt."""
    values: dict[str, set[float | None]] = {r.prompt: set() for r in batch}
    for scored in await scorer(FULL, given).score(batch):
        values[scored.rollout.prompt].add(scored.reward.value)
    return values


def grouped(step: int = 0, split: Split = Split.TRAIN, first: int = 0) -> list[Rollout]:
    """Four completions for each of ten prompts, one prompt after the other, or shuffled where `first` is another."""
    places = [(4 * p + c, f"p{p}") for p in range(10) for c in range(4)]
    places = places[first:] + places[:first]
    return [Rollout(prompt=p, completion=f"{i}", step=step, position=i, split=split) for i, p in places]


async def test_a_group_has_one_mask_and_others_have_others() -> None:
    masks = await counted(thinned(), grouped())
    assert all(len(values) == 1 for values in masks.values())
    assert len({*map(tuple, masks.values())}) > 5
    for [value] in masks.values():
        assert value is not None
        assert int(value).bit_count() == 4


async def test_masks_follow_from_seed_step_and_prompt() -> None:
    """On another rank and after a resumption too: it takes no earlier draw to come to the same."""
    masks = await counted(thinned(), grouped())
    assert await counted(thinned(), grouped(first=7)) == masks
    one = await counted(thinned(), [r for r in grouped() if r.prompt == "p6"][1:2])
    assert one == {"p6": masks["p6"]}
    assert await counted(thinned(seed=1), grouped()) != masks
    assert await counted(thinned(), grouped(step=1)) != masks


async def test_pinned_criteria_always_count() -> None:
    pinned = BITS.criteria[5].model_copy(update={"pinned": True})
    r = rubric(*BITS.criteria[:5], pinned, *BITS.criteria[6:])
    masks = await counted(thinned(0.9, r), grouped())
    assert all(int(value or 0) & 2**5 for values in masks.values() for value in values)
    assert {0} < {int(value or 0) & ~(2**5) for values in masks.values() for value in values}


async def test_evaluation_knows_no_dropout_and_people_see_the_whole_rubric() -> None:
    assert {*map(tuple, (await counted(thinned(), grouped(split=Split.EVAL))).values())} == {(ALL,)}
    assert {*map(tuple, (await counted(thinned(0.0), grouped())).values())} == {(ALL,)}
    for scored in await scorer(FULL, thinned()).score(grouped()):
        assert scored.reward.value != ALL
        assert (scored.reward.normalized, scored.reward.raw) == (1.0, ALL)
        assert [p.fraction for p in scored.reward.parts] == [1.0] * 8


@pytest.mark.parametrize("reward", ["normalized", "conjunctive"])
async def test_dropout_changes_no_range(reward: str) -> None:
    r = rubric(*BITS.criteria[:7], criterion("padding", (-1, 0)))
    best = Model(lambda prompt: reply(**dict.fromkeys("abcdefg", 1), h=0))
    got = await scorer(best, thinned(r=r, reward=reward)).score(grouped())
    assert {s.reward.value for s in got} == {1.0}


async def test_a_verdict_missing_where_it_would_not_count_leaves_no_reward() -> None:
    lacking = Model(lambda prompt: reply(**dict.fromkeys("abcdefg", 1)))
    got = await scorer(lacking, thinned()).score(grouped())
    assert {s.reward.value for s in got} == {None}


async def test_each_cluster_has_its_own_revision_and_one_that_is_unknown_the_runs_first() -> None:
    asking = scorer(Model(lambda prompt: reply(a=5)))
    first, law, other = of(asking), revision(rubric(criterion("style", (0, 5))), step=1), revision(step=2)
    asking.in_force = ByCluster(InForce(first), {"": InForce(other), "law": InForce(law, Scale(shift=1.0))})
    batch = [r.model_copy(update={"cluster": name}) for r, name in zip(rollouts(3), ("", "law", "new"), strict=True)]
    got = await asking.score(batch)
    assert [s.revision_id for s in got] == [other.id, law.id, first.id]
    assert [s.reward.value for s in got] == [1.0, 2.0, 1.0]


def test_what_is_in_force_reaches_other_ranks_whole() -> None:
    sent = ByCluster(InForce(revision()), {"": InForce(revision(step=1))})
    got = pickle.loads(pickle.dumps(sent))
    assert [got[name] for name in ("", "new")] == [InForce(revision(step=1)), InForce(revision())]


async def test_what_is_appraised_is_whole_unscaled_and_seen_by_no_monitor() -> None:
    judge, monitor = Model(lambda prompt: reply(a=5, b=5)), Model()
    asking = scorer(judge, watched(dropout=0.5), monitor=monitor)
    adopt(asking, of(asking), Scale(shift=1.0))
    other = rubric(criterion("depth"), criterion("style", (0, 5)))
    got = await asking.appraise(other, rollouts(2))
    assert [s.rollout for s in got] == rollouts(2)
    assert [len(s.assessment.outcomes) for s in got] == [2, 2]
    assert {s.reward.value for s in got} == {1.0}
    assert {s.monitored for s in got} == {None}
    assert (len(judge.requests), len(monitor.requests)) == (2, 0)


# --- the scale


async def test_the_scale_in_force_changes_the_value_alone() -> None:
    given = {"000": reply(a=5), "001": reply(a=0), "002": ChatTimeout("60 s")}
    model = Model(lambda prompt: next(answer for text, answer in given.items() if f"\n{text}\n" in prompt))
    asking = scorer(model)
    plain = await asking.score(rollouts(3))
    adopt(asking, of(asking), Scale(factor=2.0, shift=-0.5))
    scaled = await asking.score(rollouts(3))
    assert [s.reward.value for s in scaled] == [1.5, -0.5, None]
    assert [s.reward._replace(value=None) for s in scaled] == [s.reward._replace(value=None) for s in plain]


async def test_a_new_scale_in_the_middle_of_a_batch_waits_for_the_next() -> None:
    asking = scorer(Model())
    batch = asyncio.create_task(asking.score(rollouts(9)))
    await asyncio.sleep(0)
    adopt(asking, of(asking), Scale(shift=1.0))
    assert {s.reward.value for s in await batch} == {1.0}
    assert {s.reward.value for s in await asking.score(rollouts(2))} == {2.0}


async def test_a_change_of_rubric_is_bridged() -> None:
    """As a run does it: the last batch under both, then the scale that gives it its old mean and spread."""
    asking = scorer(Model(lambda prompt: reply(a=2 if "\n000\n" in prompt else 5)))
    before = [s.reward.value for s in await asking.score(rollouts(4))]
    adopt(asking, revision(rubric(criterion("style", (0, 2, 5, 10))), step=1))
    after = [s.reward.value for s in await asking.score(rollouts(4))]
    found = bridge(before, after)
    assert found is not None
    assert (found.n, found.mean_before, found.mean_after) == (4, pytest.approx(0.85), pytest.approx(0.425))
    adopt(asking, of(asking), found.scale(Scale()))
    assert [s.reward.value for s in await asking.score(rollouts(4))] == pytest.approx(before)


# --- the warm-up

WARM = settings(judging=JudgeSettings())


@pytest.mark.parametrize(("n", "n_warm"), [(MIN_WARM_UP - 1, 0), (MIN_WARM_UP, 1), (MIN_WARM_UP + 1, 1)])
async def test_a_large_batch_is_warmed_up_for(n: int, n_warm: int) -> None:
    model = Model()
    got = await scorer(model, WARM).score(rollouts(n))
    assert len(model.requests) - len(model.judged) == n_warm
    assert [r.max_tokens for r in model.requests[:n_warm]] == [1] * n_warm, "it comes first"
    assert [len(s.assessment.calls) for s in got] == [1 + n_warm] + [1] * (n - 1)


async def test_a_revision_is_warmed_up_for_once() -> None:
    model = Model()
    asking = scorer(model, WARM)
    for step, n_warm in ((0, 1), (1, 1), (2, 2)):
        if step == 2:
            adopt(asking, revision(rubric(criterion("style", (0, 5))), step=2))
        await asking.score(rollouts(20, step=step))
        assert len(model.requests) - len(model.judged) == n_warm


async def test_a_warm_up_can_be_switched_off() -> None:
    model = Model()
    await scorer(model, settings()).score(rollouts(20))
    assert len(model.judged) == len(model.requests) == 20


async def test_a_warm_up_that_fails_spoils_no_score() -> None:
    model = Model()
    asking = scorer(model, WARM)
    model.answer = lambda prompt: ChatTimeout("60 s") if len(model.requests) == 1 else reply(a=5)
    got = await asking.score(rollouts(8))
    assert {s.reward.value for s in got} == {1.0}
    assert [c.error for c in got[0].assessment.calls] == ["ChatTimeout: 60 s", ""]


# --- the panel


async def test_a_panel_names_its_judges_by_model_and_by_place_where_one_sits_twice() -> None:
    given = settings(
        judge=endpoint("small"),
        panel=PanelSettings(judges=(endpoint("big"), endpoint("small")), combine="mean"),
    )
    members = [Model(lambda prompt, p=p: reply(a=p)) for p in (0, 5, 5)]  # type: ignore[misc]
    [scored] = await scorer(members[0], given, panel=(members[1], members[2])).score(rollouts(1))
    opinions = {o.judge: points(o.outcomes) for o in scored.assessment.opinions}
    assert opinions == {"small #1": [0], "big": [5], "small #3": [5]}
    assert scored.reward.raw == pytest.approx(10 / 3)


@pytest.mark.parametrize(("quorum", "value"), [(None, None), (1, 1.0)])
async def test_the_quorum_of_the_settings_counts(quorum: int | None, value: float | None) -> None:
    given = settings(panel=PanelSettings(judges=(endpoint("big"),), quorum=quorum))
    failing = Model(lambda prompt: ChatTimeout("60 s"))
    [scored] = await scorer(Model(), given, panel=(failing,)).score(rollouts(1))
    assert scored.reward.value == value


# --- the monitor


def watched(share: float = 1.0, r: Rubric | None = None, **more: Any) -> Settings:
    return settings(monitor=MonitorSettings(judge=endpoint("big"), rubric=r, share=share), **more)


async def test_the_monitor_is_logged_and_not_rewarded() -> None:
    monitor = Model(lambda prompt: reply(a=0))
    [scored] = await scorer(Model(), watched(), monitor=monitor).score(rollouts(1))
    assert scored.reward.value == 1.0
    assert scored.monitored is not None
    assert (scored.monitored.judge, scored.monitored.reward.normalized) == ("big", 0.0)
    assert points(scored.monitored.assessment.outcomes) == [0]
    assert len(scored.assessment.calls) == len(scored.monitored.assessment.calls) == 1


async def test_the_monitor_has_the_rubric_in_force_or_its_own() -> None:
    own = rubric(criterion("truth", (0, 5)))
    for given, expected in ((None, ["depth", "style"]), (own, ["truth", "truth"])):
        asking = scorer(Model(), watched(r=given), monitor=Model())
        seen = []
        for r in (RUBRIC, rubric(criterion("style", (0, 5)))):
            adopt(asking, revision(r))
            [scored] = await asking.score(rollouts(1))
            assert scored.monitored is not None
            seen.append(scored.monitored.assessment.outcomes[0].criterion_id)
        assert seen == expected


async def test_a_monitor_that_fails_spoils_no_score() -> None:
    [scored] = await scorer(Model(), watched(), monitor=Model(lambda prompt: ChatTimeout("60 s"))).score(rollouts(1))
    assert scored.reward.value == 1.0
    assert scored.monitored is not None
    assert scored.monitored.reward.normalized is None
    assert isinstance(scored.monitored.assessment.outcomes[0], Unscored)


async def monitored(given: Settings, step: int = 0, split: Split = Split.TRAIN, n: int = 200) -> list[int]:
    got = await scorer(Model(), given, monitor=Model()).score(rollouts(n, step=step, split=split))
    return [s.rollout.position for s in got if s.monitored]


async def test_a_share_of_training_is_watched_the_same_one_each_time() -> None:
    some = await monitored(watched(share=0.25))
    assert 30 <= len(some) <= 70
    assert await monitored(watched(share=0.25)) == some
    assert await monitored(watched(share=0.25, seed=1)) != some
    assert await monitored(watched(share=0.25), step=1) != some
    assert len(await monitored(watched())) == 200


async def test_all_of_the_evaluation_is_watched() -> None:
    assert len(await monitored(watched(share=0.01), split=Split.EVAL, n=20)) == 20


# --- connections


async def test_each_transport_is_named_and_closed_once() -> None:
    judge, other, third, fourth = (Model(name=name) for name in ("judge", "other", "third", "fourth"))
    everything = Connections(judge=judge, meta=judge, panel=(other, third, other), monitor=fourth)
    assert await everything.identify() == {
        "judge": "judge",
        "meta": "judge",
        "panel 1": "other",
        "panel 2": "third",
        "panel 3": "other",
        "monitor": "fourth",
    }
    await everything.aclose()
    assert [m.closed for m in (judge, other, third, fourth)] == [1] * 4
    assert Connections(judge=judge, meta=other).all == [judge, other]


async def test_one_model_twice_in_a_panel_keeps_two_opinions_also_in_a_cache() -> None:
    """At a temperature the two differ; an equal rollout later gets the same two opinions, not one of them twice."""
    replies = iter([reply(a=5), reply(a=0)])
    model = Model(lambda prompt: next(replies))
    given = settings(panel=PanelSettings(judges=(endpoint(),), combine="mean"))
    connections = Connections(judge=model, meta=model, panel=(model,))
    scorer = Scorer(given, connections, revision(), MemoryCache())
    rollout = Rollout(prompt="p", completion="c")
    [first], [second] = await scorer.score([rollout]), await scorer.score([rollout])
    assert len(model.requests) == 2
    assert first.assessment.outcomes == second.assessment.outcomes
    assert first.reward.value == second.reward.value == 0.5


def test_a_quorum_that_no_panel_meets_is_refused() -> None:
    with pytest.raises(ValidationError, match="a quorum of 3 can't be met by 2 judges"):
        PanelSettings(judges=(endpoint(),), quorum=3)


async def test_a_monitor_of_the_judges_own_model_is_asked_itself() -> None:
    model = Model(lambda prompt: reply(a=5))
    given = settings(monitor=MonitorSettings(judge=endpoint()))
    scorer = Scorer(given, Connections(judge=model, meta=model, monitor=model), revision(), MemoryCache())
    [scored] = await scorer.score([Rollout(prompt="p", completion="c")])
    assert len(model.requests) == 2
    assert scored.monitored is not None


async def test_a_monitor_that_can_not_be_asked_ends_nothing() -> None:
    judge, monitor = Model(lambda prompt: reply(a=5)), Model(lambda prompt: ChatMisconfigured("wrong key"))
    given = settings(monitor=MonitorSettings(judge=endpoint("big")))
    scorer = Scorer(given, Connections(judge=judge, meta=judge, monitor=monitor), revision())
    [scored] = await scorer.score([Rollout(prompt="p", completion="c")])
    assert scored.reward.value == 1
    assert scored.monitored is not None
    assert [u.reason for u in scored.monitored.assessment.unscored] == [Reason.MISCONFIGURED]


# --- what a task's rule scores


async def no_verdict(rollout: Rollout) -> Screened | None:
    """Even completions lack their verdict; that of 001 can't be told."""
    if rollout.completion == "001":
        return Screened("no answer could be read", None, None)
    return Screened("no verdict", 0.0, -10.0) if int(rollout.completion) % 2 == 0 else None


@pytest.mark.parametrize(("reward", "least"), [("normalized", 0.0), ("raw_sum", -10.0), ("conjunctive", 0.0)])
async def test_a_screened_rollout_has_the_tasks_own_minimum_and_asks_nobody(reward: str, least: float) -> None:
    model = Model()
    watching = Model()
    given = settings(reward=reward, monitor=MonitorSettings(judge=endpoint("monitor")))
    asking = scorer(model, given, monitor=watching, screen=no_verdict)
    adopt(asking, revision(), Scale(factor=2.0, shift=1.0))
    seen: list[str] = []
    got = await asking.score(rollouts(4), watch=lambda s: seen.append(s.rollout.completion))
    assert [s.screened for s in got] == ["no verdict", "", "no verdict", ""]
    assert [s.reward.value for s in got[::2]] == [least, least], "no bridge moves what no rubric gave"
    assert (got[0].reward.normalized, got[0].reward.raw, got[0].assessment.outcomes) == (0.0, -10.0, ())
    assert len(model.judged) == len(watching.judged) == 1
    assert sorted(seen) == ["000", "001", "002", "003"]


@pytest.mark.parametrize(
    ("points", "scale", "value"),
    [((-2, 5), Scale(), -10), ((-30, 5), Scale(), -30), ((-30, 5), Scale(factor=0.5, shift=-1.0), -16)],
)
async def test_the_tasks_minimum_in_points_is_no_more_than_what_the_rubric_in_force_can_give(
    points: tuple[int, int], scale: Scale, value: float
) -> None:
    lower = revision(rubric(criterion("depth", points)))
    asking = scorer(Model(), settings(reward="raw_sum"), screen=no_verdict)
    adopt(asking, lower, scale)
    [scored] = await asking.score(rollouts(1))
    assert scored.reward[:3] == (value, 0.0, min(-10, points[0]))


@pytest.mark.parametrize(("reward", "value"), [("normalized", -0.5), ("conjunctive", -0.5)])
async def test_no_change_of_scale_lifts_the_tasks_minimum_above_what_is_judged(reward: str, value: float) -> None:
    asking = scorer(Model(), settings(reward=reward), screen=no_verdict)
    adopt(asking, revision(), Scale(shift=value))
    [scored] = await asking.score(rollouts(1))
    assert scored.reward[:3] == (value, 0.0, -10.0)


async def test_an_answer_that_is_neither_best_nor_worst_keeps_its_points() -> None:
    async def half(rollout: Rollout) -> Screened:
        return Screened("half right", 0.5, 2.5)

    asking = scorer(Model(), settings(reward="raw_sum"), screen=half)
    lower = revision(rubric(criterion("depth", (-30, 5))))
    adopt(asking, lower, Scale(factor=0.5, shift=-20.0))
    [scored] = await asking.score(rollouts(1))
    assert scored.reward[:3] == (2.5, 0.5, 2.5)


async def test_a_screen_that_can_not_tell_leaves_the_rollout_unscored() -> None:
    [_, scored] = await scorer(Model(), screen=no_verdict).score(rollouts(2))
    assert (scored.reward.value, scored.screened) == (None, "")
    assert [(u.reason, u.detail) for u in scored.assessment.unscored] == [
        (Reason.NOT_SCREENED, "no answer could be read")
    ]


async def test_no_warm_up_is_spent_on_screened_rollouts() -> None:
    async def everything(rollout: Rollout) -> Screened:
        return Screened("exact match", 1.0, 5.0)

    model = Model()
    await scorer(model, settings(judging=JudgeSettings()), screen=everything).score(rollouts(2 * MIN_WARM_UP))
    assert model.requests == []


async def test_judge_and_meta_model_are_told_their_own_notes() -> None:
    model = Model()
    given = settings(task_description="Argue.", judge_notes="Be strict.", meta_notes="Be brief.")
    await scorer(model, given).score(rollouts(1))
    assert "Argue.\n\nBe strict." in model.requests[0].last
    assert "Be brief." not in model.requests[0].last
    assert given.meta_task == "Argue.\n\nBe brief."

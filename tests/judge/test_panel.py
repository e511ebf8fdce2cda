"""A panel: every judge is asked, what they say is combined, and who said what is kept."""

import asyncio
from collections.abc import Sequence
from statistics import fmean, median, pstdev
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import ChatError, ChatMisconfigured, ChatTimeout
from metapo.judge.judge import Assessment, Judge, JudgeSettings, Opinion
from metapo.judge.panel import Panel
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ScriptedTransport
from metapo.rollout import Rollout
from metapo.rubric import Reason, Unscored, Verdict
from tests.helpers import criterion, rubric
from tests.judge.questions import points, reply

RUBRIC = rubric(criterion("depth", (0, 2, 5)), criterion("style", (0, 1)))
ROLLOUT = Rollout(prompt="p", completion="c")


def panel(*replies: str | ChatReply | ChatError | Sequence[str | ChatReply | ChatError], **options: Any) -> Panel:
    """One judge per reply, or per list of replies in order."""
    settings = JudgeSettings(max_attempts=1, rationales=options.pop("rationales", "for_meta"))
    scripts = [[r] if isinstance(r, str | ChatReply | ChatError) else r for r in replies]
    judges = {
        f"judge {i}": Judge(ScriptedTransport(script), task="Write.", settings=settings)
        for i, script in enumerate(scripts, 1)
    }
    return Panel(judges, **options)


async def assess(*replies: str | ChatReply | ChatError, **options: Any) -> Assessment:
    return await panel(*replies, **options).assess(RUBRIC, ROLLOUT)


@pytest.mark.parametrize(
    ("combine", "given_points", "expected", "level"),
    [
        ("median", [0, 5, 5], 5, 5),
        ("median", [0, 2, 5], 2, 2),
        ("median", [2, 5], 3.5, 2),
        ("mean", [0, 2, 5], 7 / 3, 2),
        ("mean", [2, 5], 3.5, 2),
        ("mean", [2, 5, 5], 4, 5),
        ("mean", [5, 5], 5, 5),
    ],
)
async def test_points_are_combined(combine: str, given_points: list[int], expected: float, level: int) -> None:
    assessment = await assess(*(reply(a=p, b=1) for p in given_points), combine=combine)
    depth, style = assessment.outcomes
    assert isinstance(depth, Verdict)
    assert (depth.points, depth.expected) == (level, pytest.approx(expected))
    assert depth.uncertainty == pytest.approx(pstdev(given_points))
    assert style == Verdict(criterion_id="style", points=1, expected=1, uncertainty=0)


@given(st.lists(st.sampled_from([0, 2, 5]), min_size=1, max_size=7))
def test_the_median_is_the_default_and_any_combination_stays_on_the_scale(values: list[int]) -> None:
    [depth, _] = asyncio.run(assess(*(reply(a=p, b=0) for p in values))).outcomes
    assert isinstance(depth, Verdict)
    assert depth.expected == median(values)
    for combine, twin in (("mean", fmean), ("median", median)):
        [depth, _] = asyncio.run(assess(*(reply(a=p, b=0) for p in values), combine=combine)).outcomes
        assert isinstance(depth, Verdict)
        assert depth.value == pytest.approx(twin(values))
        assert 0 <= depth.value <= 5
        assert abs(depth.points - depth.value) == min(abs(p - depth.value) for p in (0, 2, 5))


@pytest.mark.parametrize(("quorum", "expected"), [(None, Reason.NO_QUORUM), (3, Reason.NO_QUORUM), (2, 5), (1, 5)])
async def test_a_quorum_says_how_many_are_needed(quorum: int | None, expected: int | Reason) -> None:
    assessment = await assess(reply(a=5, b=1), ChatTimeout("60 s"), reply(a=5), quorum=quorum)
    [depth, style] = points(assessment.outcomes)
    assert depth == expected
    assert style == (1 if quorum == 1 else Reason.NO_QUORUM)


async def test_a_missing_quorum_is_explained() -> None:
    [depth, _] = (await assess(reply(a=5), ChatTimeout("60 s"), reply(a=4))).outcomes
    assert depth == Unscored(
        criterion_id="depth",
        reason=Reason.NO_QUORUM,
        detail="1 of 3 judges gave a verdict, 3 are needed. judge 2: timeout; judge 3: off_menu",
    )


async def test_who_said_what_is_kept() -> None:
    assessment = await assess(reply(a=5, b=1), ChatTimeout("60 s"), quorum=1)
    first, second = assessment.opinions
    assert first == Opinion(
        "judge 1", (Verdict(criterion_id="depth", points=5), Verdict(criterion_id="style", points=1))
    )
    assert (second.judge, points(second.outcomes)) == ("judge 2", [Reason.TIMEOUT] * 2)
    assert [c.error for c in assessment.calls] == ["", "ChatTimeout: 60 s"]


async def test_what_is_reused_is_summed_up() -> None:
    judges = panel([reply(a=5, b=1)], [reply(a=2, b=1)])
    await judges.assess(RUBRIC, ROLLOUT)
    again = await judges.assess(RUBRIC, ROLLOUT)
    assert (again.calls, again.n_reused) == ((), 4)
    long = ROLLOUT.model_copy(update={"completion": "x" * 40_100})
    assert (await panel(reply(a=5, b=1), reply(a=2, b=1)).assess(RUBRIC, long)).n_left_out == 100


async def test_reasons_are_named_by_their_judge() -> None:
    replies = [reply(a={"rationale": f"why {i}", "points": 5}, b=1) for i in (1, 2)]
    [depth, style] = (await assess(*replies, rationales="always")).outcomes
    assert isinstance(depth, Verdict)
    assert isinstance(style, Verdict)
    assert (depth.rationale, style.rationale) == ("judge 1: why 1 | judge 2: why 2", "")


async def test_the_first_quote_is_kept() -> None:
    entry = {"quote": "c", "points": 5}
    [depth, _] = (await assess(reply(a=5, b=1), reply(a=entry, b=1), reply(a={**entry, "quote": "d"}, b=1))).outcomes
    assert isinstance(depth, Verdict)
    assert depth.quote == "c"


async def test_the_first_judge_gives_its_reasons_for_the_joint_points() -> None:
    why = reply(a={"rationale": "deep", "points": 5}, b={"rationale": "fine", "points": 1})
    judges = panel([reply(a=5, b=1), why], [reply(a=2, b=1)])
    explained = await judges.explain(RUBRIC, ROLLOUT, await judges.assess(RUBRIC, ROLLOUT))
    depth, _ = explained.outcomes
    assert isinstance(depth, Verdict)
    assert depth.rationale == "(With a rationale, the judge gives 5 points.) deep"
    assert (depth.points, depth.expected) == (2, 3.5)
    assert len(explained.calls) == 1


async def test_every_judge_makes_its_own_plan_once() -> None:
    scripts = [[f"1. Plan {i}", reply(a=i, b=1), reply(a=i, b=0)] for i in (2, 5)]
    transports = [ScriptedTransport(script) for script in scripts]
    settings = JudgeSettings(first="plan")
    judges = Panel({str(i): Judge(t, task="Write.", settings=settings) for i, t in enumerate(transports)})
    first = await judges.assess(RUBRIC, ROLLOUT)
    second = await judges.assess(RUBRIC, ROLLOUT.model_copy(update={"completion": "another"}))
    assert [len(a.calls) for a in (first, second)] == [4, 2]
    shown = [unfence("plan, written beforehand", r.last) for t in transports for r in t.requests]
    assert shown == [None, "1. Plan 2", "1. Plan 2", None, "1. Plan 5", "1. Plan 5"]


async def test_a_judge_without_a_plan_counts_as_one_that_failed() -> None:
    judges = panel([reply(a=5, b=1)], [reply(a=2, b=1)])
    planning = Judge(ScriptedTransport([""]), task="Write.", settings=JudgeSettings(first="plan"))
    assessment = await Panel({"plain": judges, "planning": planning}).assess(RUBRIC, ROLLOUT)
    assert points(assessment.outcomes) == [Reason.NO_QUORUM] * 2


async def test_every_judge_is_warmed_up() -> None:
    calls = await panel("{", ChatTimeout("60 s")).warm_up(RUBRIC, ROLLOUT)
    assert [(c.reply is None, c.error) for c in calls] == [(False, ""), (True, "ChatTimeout: 60 s")]


async def test_one_judge_with_a_wrong_key_stops_the_panel() -> None:
    with pytest.raises(ChatMisconfigured, match="401"):
        await assess(reply(a=5, b=1), ChatMisconfigured("401"), quorum=1)

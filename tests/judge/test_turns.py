"""Each turn judged by itself: what is asked, what becomes of the verdicts, and what a failure leaves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import ChatError, ChatMisconfigured, ChatTimeout
from metapo.judge.judge import Assessment, Judge, JudgeSettings, Opinion
from metapo.judge.panel import Panel
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest, ScriptedTransport
from metapo.judge.turns import EachTurn, views_of
from metapo.rollout import Rollout
from metapo.rubric import Reason, Unscored, Verdict
from metapo.turns import Role, ToolCall, Turn, text_of, turns_in
from tests.helpers import criterion, rubric
from tests.judge.questions import points, reply

RUBRIC = rubric(criterion("depth", (0, 2, 5)), criterion("style", (0, 1)))
CALL = Turn(role=Role.ASSISTANT, content="Let me see.", calls=(ToolCall(name="add", arguments='{"a": 2}'),))
RESULT = Turn(role=Role.TOOL, content="It is five, says the tool", name="add")
ANSWER = Turn(role=Role.ASSISTANT, content="It is five.")
THANKS = Turn(role=Role.USER, content="Thanks!")
BYE = Turn(role=Role.ASSISTANT, content="You are welcome.")
ROLLOUT = Rollout(prompt="2 + 3?", completion=text_of((CALL, RESULT, ANSWER, THANKS, BYE)))


def each_turn(*replies: str | ChatReply | ChatError, max_turns: int = 8, **settings: Any) -> EachTurn:
    transport = ScriptedTransport(replies)
    settings = {"max_attempts": 1, **settings}
    return EachTurn(Judge(transport, task="Help.", settings=JudgeSettings(**settings)), max_turns)


async def assess(*replies: str | ChatReply | ChatError, **settings: Any) -> Assessment:
    return await each_turn(*replies, **settings).assess(RUBRIC, ROLLOUT)


async def test_a_criterion_gets_the_mean_over_the_turns() -> None:
    assessment = await assess(reply(a=5, b=1), reply(a=0, b=1), reply(a=2, b=0))
    depth, style = assessment.outcomes
    assert isinstance(depth, Verdict)
    assert isinstance(style, Verdict)
    assert (depth.points, depth.expected) == (2, pytest.approx(7 / 3))
    assert (style.points, style.expected) == (1, pytest.approx(2 / 3))
    assert len(assessment.calls) == 3
    assert [(o.judge, o.role, points(o.outcomes)) for o in assessment.opinions] == [
        ("turn 1", "turn", [5, 1]),
        ("turn 2", "turn", [0, 1]),
        ("turn 3", "turn", [2, 0]),
    ]


def shown(request: ChatRequest) -> tuple[str | None, str | None]:
    return unfence("prompt", request.last), unfence("completion", request.last)


async def test_each_turn_stands_alone_and_all_before_it_is_its_prompt() -> None:
    transport = ScriptedTransport([reply(a=5, b=1)] * 3)
    await EachTurn(Judge(transport, task="Help."), 8).assess(RUBRIC, ROLLOUT)
    asked = Turn(role=Role.USER, content="2 + 3?")
    assert [shown(request) for request in transport.requests] == [
        ("2 + 3?", text_of((CALL,))),
        (text_of((asked, CALL, RESULT)), "It is five."),
        (text_of((asked, CALL, RESULT, ANSWER, THANKS)), "You are welcome."),
    ]


async def test_whole_asks_once_about_everything() -> None:
    transport = ScriptedTransport([reply(a=5, b=1)])
    await Judge(transport, task="Help.").assess(RUBRIC, ROLLOUT)
    assert [shown(request) for request in transport.requests] == [("2 + 3?", ROLLOUT.completion)]


async def test_a_failed_turn_leaves_the_criterion_unscored_and_every_call_on_record() -> None:
    assessment = await assess(reply(a=5, b=1), reply(a=5, b=9), ChatTimeout("60 s"))
    assert points(assessment.outcomes) == [Reason.TIMEOUT, Reason.OFF_MENU]
    depth, style = assessment.unscored
    assert depth.detail == "turn 3 of 3: 60 s"
    assert style.detail.startswith("turn 2 of 3: points 9")
    assert [call.error for call in assessment.calls] == ["", "", "ChatTimeout: 60 s"]


async def test_a_wrong_key_ends_it() -> None:
    with pytest.raises(ChatMisconfigured):
        await assess(ChatMisconfigured("401"))


async def test_a_quote_must_come_from_the_turn_that_is_judged() -> None:
    depth = criterion("depth", (0, 5)).model_copy(update={"evidence": True})
    quoting = '{"a": {"quote": "It is five", "points": 5}}'
    absent = '{"a": 0}'
    judge = each_turn(absent, quoting, quoting)
    assessment = await judge.assess(rubric(depth), ROLLOUT)
    assert points(assessment.outcomes) == [Reason.NO_EVIDENCE]
    assert assessment.unscored[0].detail.startswith("turn 3 of 3: "), "the second turn holds it, the third does not"
    first = await each_turn(quoting, absent, absent).assess(rubric(depth), ROLLOUT)
    assert first.unscored[0].detail.startswith("turn 1 of 3: "), "the tool says it, not the policy"


async def test_of_too_many_turns_the_earliest_are_judged_together() -> None:
    transport = ScriptedTransport([reply(a=5, b=1), reply(a=0, b=1)])
    assessment = await EachTurn(Judge(transport, task="Help."), 2).assess(RUBRIC, ROLLOUT)
    assert [o.judge for o in assessment.opinions] == ["turns 1 to 2", "turn 3"]
    assert shown(transport.requests[0]) == ("2 + 3?", text_of((CALL, RESULT, ANSWER)))
    assert views_of(ROLLOUT, 1)[0].rollout is ROLLOUT


async def test_an_equal_turn_is_judged_once() -> None:
    judge = each_turn(*[reply(a=5, b=1)] * 4)
    await judge.assess(RUBRIC, ROLLOUT)
    longer = ROLLOUT.model_copy(update={"completion": text_of((*ROLLOUT.turns, THANKS, ANSWER))})
    again = await judge.assess(RUBRIC, longer)
    assert (len(again.calls), again.n_reused) == (1, 6), "only the turn that is new"


async def test_reasons_are_asked_for_turn_by_turn_and_the_points_stand() -> None:
    why = [
        f'{{"a": {{"rationale": "why {i}", "points": {p}}}, "b": {{"rationale": "so", "points": 1}}}}'
        for i, p in ((1, 5), (2, 2), (3, 2))
    ]
    judge = each_turn(reply(a=5, b=1), reply(a=0, b=1), reply(a=2, b=1), *why)
    judged = await judge.assess(RUBRIC, ROLLOUT)
    explained = await judge.explain(RUBRIC, ROLLOUT, judged)
    depth, _ = explained.outcomes
    assert isinstance(depth, Verdict)
    assert depth.expected == pytest.approx(7 / 3)
    assert depth.rationale == (
        "turn 1: why 1 | turn 2: (With a rationale, the judge gives 2 points.) why 2 | turn 3: why 3"
    )
    assert len(explained.calls) == 3, "the turns' verdicts are known"


async def test_after_a_resume_the_turns_are_judged_again_first() -> None:
    judge = each_turn(*[reply(a=5, b=1)] * 3, *['{"a": {"rationale": "w", "points": 5}, "b": 1}'] * 3, cache=False)
    stored = Assessment(
        (Verdict(criterion_id="depth", points=5), Unscored(criterion_id="style", reason=Reason.TIMEOUT)), ()
    )
    explained = await judge.explain(RUBRIC, ROLLOUT, stored)
    assert points(explained.outcomes) == [5, Reason.TIMEOUT]
    assert len(explained.calls) == 6


async def test_a_panel_keeps_what_each_judge_said_of_each_turn() -> None:
    judges = {"x": each_turn(*[reply(a=5, b=1)] * 3), "y": each_turn(*[reply(a=0, b=1)] * 3)}
    assessment = await Panel(judges, combine="mean").assess(RUBRIC, ROLLOUT)
    assert isinstance(assessment.outcomes[0], Verdict)
    assert assessment.outcomes[0].expected == 2.5
    assert [o.judge for o in assessment.opinions] == ["x", "y", *(f"{j}, turn {i}" for j in "xy" for i in (1, 2, 3))]
    assert Opinion("x, turn 1", assessment.opinions[2].outcomes, "turn") == assessment.opinions[2]


@given(st.lists(st.sampled_from([CALL, RESULT, ANSWER, THANKS]), min_size=1, max_size=7), st.integers(1, 5))
def test_every_turn_of_the_policy_is_judged_once_within_the_bound(turns: list[Turn], max_turns: int) -> None:
    rollout = Rollout(prompt="p", completion=text_of(turns))
    views = views_of(rollout, max_turns)
    assert 1 <= len(views) <= max_turns
    judged = [t for v in views for t in turns_in(v.rollout.completion, Role.ASSISTANT) if t.role is Role.ASSISTANT]
    assert judged == [t for t in rollout.turns if t.role is Role.ASSISTANT]
    if len(judged) < 2:
        assert views[0].rollout is rollout

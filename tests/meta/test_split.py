"""Compound criteria become atomic ones, or stay as they are with a note."""

from collections.abc import Callable

import pytest

from metapo.errors import ChatMisconfigured, ChatTimeout
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.meta.conversation import Exchange, MetaModel, MetaSettings, Stage
from metapo.meta.split import split
from metapo.rubric import Criterion, Level, Rubric
from metapo.rubric_text import render_criterion, render_rubric
from tests.helpers import criterion, rubric
from tests.reviewer import Reviewer

BOTH = criterion("clarity-and-flow").model_copy(update={"name": "Clarity and flow", "weight": 2.0, "evidence": True})
CLARITY, FLOW = criterion("clarity", (0, 2)), criterion("flow", (0, 3))
MIXED = rubric(criterion("depth"), BOTH, criterion("style", (-2, 0)))


async def done(
    reviewer: Reviewer, given: Rubric = MIXED, max_criteria: int = 12
) -> tuple[Rubric, list[str], list[Exchange]]:
    log: list[Exchange] = []
    model = MetaModel(reviewer, "Write.", MetaSettings(max_criteria=max_criteria))
    return *(await split(model, given, log)), log


async def test_atomic_criteria_take_the_place_of_a_compound_one() -> None:
    reviewer = Reviewer(CLARITY, FLOW)
    after, notes, log = await done(reviewer)
    assert [c.id for c in after.criteria] == ["depth", "clarity", "flow", "style"]
    assert notes == ["split 'clarity-and-flow' into 'clarity', 'flow'"]
    parts = after.criteria[1:3]
    assert [c.levels for c in parts] == [CLARITY.levels, FLOW.levels]
    assert [(c.weight, c.evidence, c.pinned) for c in parts] == [(2.0, True, False)] * 2
    assert [e.stage for e in log] == [Stage.SPLIT] * 3
    [asked] = reviewer.asked("split_count")
    assert render_criterion(BOTH) in asked.last
    assert render_rubric(MIXED) in asked.last
    assert "its name joins 'Clarity' and 'flow'" in asked.last
    assert "from 1 to 10." in asked.last


async def test_atomic_and_pinned_criteria_are_not_asked_about() -> None:
    reviewer = Reviewer(CLARITY, FLOW)
    held = rubric(criterion("depth"), BOTH.model_copy(update={"pinned": True}))
    assert await done(reviewer, held) == (held, [], [])
    assert reviewer.requests == []


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        ({"split_count": "several"}, "its parts can't be read"),
        ({"split_count": "0"}, "its parts can't be read"),
        ({"split_count": ChatTimeout("60 s")}, "its parts can't be read"),
        ({"split": ChatTimeout("60 s")}, "its parts can't be read"),
        ({"split": "I would rather not."}, "its parts can't be read"),
        ({"split": ChatReply(text=render_criterion(FLOW), finish_reason="length")}, "its parts can't be read"),
        ({"split": render_criterion(FLOW)}, "its parts can't be read"),
        ({"split_count": "1"}, "it demands one thing"),
    ],
)
async def test_without_readable_parts_the_compound_one_stays(
    replies: dict[str, str | ChatTimeout | ChatReply], why: str
) -> None:
    after, notes, log = await done(Reviewer(CLARITY, FLOW, **replies))
    assert after == MIXED
    assert notes == [f"left 'clarity-and-flow' as it is: {why}"]
    assert log, "every text is kept"


async def test_no_demand_is_lost_with_a_part_that_can_not_be_read() -> None:
    items = [render_criterion(CLARITY), "<item>\n### Flow\n</item>", render_criterion(criterion("tone"))]
    after, notes, _ = await done(Reviewer(CLARITY, split_count="3", split=in_turn(items)))
    assert after == MIXED
    assert notes == ["left 'clarity-and-flow' as it is: its parts can't be read"]


def in_turn(replies: list[str]) -> Callable[[ChatRequest], str]:
    left = iter(replies)
    return lambda request: next(left)


async def test_a_wrong_key_stops_the_run() -> None:
    with pytest.raises(ChatMisconfigured, match="401"):
        await done(Reviewer(CLARITY, FLOW, split=ChatMisconfigured("401")))


@pytest.mark.parametrize(
    ("max_criteria", "note", "n_left", "n_asked"),
    [
        (3, "left 'clarity-and-flow' compound: no place within 3 criteria", 3, 0),
        (4, "left 'clarity-and-flow' as it is: 3 parts, and place for 2", 3, 4),
        (5, "split 'clarity-and-flow' into 'clarity', 'flow', 'tone'", 5, 4),
    ],
)
async def test_the_bound_on_criteria_holds(max_criteria: int, note: str, n_left: int, n_asked: int) -> None:
    after, notes, log = await done(Reviewer(CLARITY, FLOW, criterion("tone", (0, 4))), max_criteria=max_criteria)
    assert (notes, len(after.criteria), len(log)) == ([note], n_left, n_asked)


async def test_a_part_that_the_rubric_has_is_left_out() -> None:
    has_one = rubric(BOTH, criterion("flow"))
    after, notes, _ = await done(Reviewer(CLARITY, FLOW), has_one)
    assert [c.id for c in after.criteria] == ["clarity", "flow"]
    assert after.criterion("flow") == criterion("flow")
    assert notes == ["split 'clarity-and-flow' into 'clarity'"]
    has_all = rubric(BOTH, CLARITY, FLOW)
    after, notes, _ = await done(Reviewer(CLARITY, FLOW), has_all)
    assert after == has_all
    assert notes == ["left 'clarity-and-flow' as it is: other criteria judge each part of it"]


async def test_a_part_may_keep_the_name_of_the_whole() -> None:
    after, _, _ = await done(Reviewer(criterion("clarity-and-flow", (0, 2)), FLOW))
    assert [c.id for c in after.criteria] == ["depth", "clarity-and-flow", "flow", "style"]


async def test_one_after_the_other_and_within_the_bound_that_is_left() -> None:
    second = named("Tone and voice")
    parts = [CLARITY, FLOW, criterion("tone", (0, 4)), criterion("voice", (0, 6))]
    replies = in_turn([render_criterion(c) for c in parts])
    reviewer = Reviewer(split_count="2", split=replies)
    after, notes, _ = await done(reviewer, rubric(BOTH, second), max_criteria=4)
    assert [c.id for c in after.criteria] == ["clarity", "flow", "tone", "voice"]
    assert len(notes) == 2
    assert ["from 1 to 3." in r.last for r in reviewer.asked("split_count")] == [True, False]


async def test_what_a_part_quotes_is_neutralised() -> None:
    odd = criterion("flow", (0, 3)).model_copy(update={"instruction": "Look for <|im_end|> in it."})
    after, _, _ = await done(Reviewer(CLARITY, odd))
    assert "<|im_end|>" not in after.to_yaml()
    assert "< |im_end| >" in after.to_yaml()


def named(name: str) -> Criterion:
    levels = (Level(points=0, description="has none of it"), Level(points=1, description="has much of it"))
    return Criterion(id="second", name=name, levels=levels)

"""Verdicts that two rubrics share."""

import pytest

from metapo.judge.judge import Assessment
from metapo.meta.gate import Exam, Gate
from metapo.meta.paired import asks_the_same, in_one_reading
from metapo.meta.settings import GateSettings
from metapo.reward import Scored, conjunctive, normalized
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Level, Outcome, Reason, Rubric, Unscored, Verdict
from tests.helpers import criterion, rubric, verdict
from tests.meta.judged import pairs

DEPTH, STYLE, NEW = criterion("depth", (0, 2, 5)), criterion("style", (0, 1)), criterion("new", (0, 4))


def scored(judged: Rubric, *outcomes: Outcome) -> Scored:
    return Scored(Rollout(prompt="p", completion="c"), "", Assessment(outcomes, ()), normalized(judged, outcomes))


def repriced(of: Criterion, *points: int) -> Criterion:
    """The same levels with other points."""
    worded = zip(of.levels, points, strict=True)
    return of.model_copy(update={"levels": tuple(level.model_copy(update={"points": p}) for level, p in worded)})


def test_what_both_ask_has_the_verdict_of_the_first_reading() -> None:
    parent, child = rubric(DEPTH, STYLE), rubric(NEW, DEPTH)
    before = scored(parent, verdict("depth", 2), verdict("style", 0))
    after = scored(child, verdict("new", 4), verdict("depth", 5))
    one = in_one_reading(parent, before, child, after, normalized)
    assert one.assessment.outcomes == (verdict("new", 4), verdict("depth", 2))
    assert one.reward == normalized(child, one.assessment.outcomes)
    assert one.reward.value == 6 / 9


def test_other_points_for_the_same_levels_are_the_same_question() -> None:
    sharper = repriced(DEPTH, 0, 4, 10)
    parent, child = rubric(DEPTH), rubric(sharper)
    after = scored(child, verdict("depth", 10))
    one = in_one_reading(parent, scored(parent, verdict("depth", 2)), child, after, normalized)
    assert one.assessment.outcomes == (verdict("depth", 4),)


@pytest.mark.parametrize(("expected", "now"), [(0.0, -8.0), (1.0, -6.0), (2.0, -4.0), (3.5, -3.0), (5.0, -2.0)])
def test_expected_points_keep_their_place_between_the_levels(expected: float, now: float) -> None:
    parent, child = rubric(DEPTH), rubric(repriced(DEPTH, -8, -4, -2))
    before = scored(parent, Verdict(criterion_id="depth", points=2, expected=expected))
    one = in_one_reading(parent, before, child, scored(child, verdict("depth", -2)), normalized)
    assert one.assessment.outcomes == (Verdict(criterion_id="depth", points=-4, expected=now),)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"weight": 3.0}, True),
        ({"pinned": True}, True),
        ({"name": "Other"}, False),
        ({"instruction": "Look twice."}, False),
        ({"evidence": True}, False),
        ({"levels": DEPTH.levels[1:]}, False),
        ({"levels": (*DEPTH.levels[:2], Level(points=5, description="worth a lot"))}, False),
    ],
)
def test_a_criterion_asks_the_same_where_its_words_are_the_same(change: dict[str, object], same: bool) -> None:
    assert asks_the_same(DEPTH, DEPTH.model_copy(update=change)) is same


def test_what_is_unscored_in_either_reading_stays_so() -> None:
    failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT)
    parent = rubric(DEPTH)
    child = rubric(DEPTH, STYLE)
    after = scored(child, failed, verdict("style", 1))
    assert in_one_reading(parent, scored(parent, verdict("depth", 5)), child, after, normalized) is after
    read = scored(child, verdict("depth", 2), verdict("style", 1))
    assert in_one_reading(parent, scored(parent, failed), child, read, normalized) is read


async def test_the_gate_puts_no_difference_between_two_readings_on_a_proposals_account() -> None:
    """At its second reading the judge errs on every pair. The child only adds a criterion that all completions meet."""
    parent, child = rubric(DEPTH), rubric(DEPTH, STYLE)

    async def appraise(judged: Rubric, rollouts: list[Rollout]) -> list[Scored]:
        high = "good" if judged == parent else "bad"
        return [
            scored(
                judged, *[verdict(c.id, c.max_points * (c == STYLE or r.completion == high)) for c in judged.criteria]
            )
            for r in rollouts
        ]

    gate = Gate(parent, Exam(pairs("fresh", 5)), appraise, GateSettings(), conjunctive)  # type: ignore[arg-type]
    assert (await gate.measure(child, gate.exam.fresh)).gaps == pytest.approx([5 / 6] * 5)

"""Two rubrics held against each other by the same verdicts.

A judge that reads a completion twice may differ with itself. Where a revision leaves a criterion as it was, such a
difference says nothing about the revision, so what was asked under both is taken from one reading.
"""

from dataclasses import replace
from itertools import pairwise

from metapo.reward import Aggregate, Scored
from metapo.rubric import Criterion, Outcome, Rubric, Verdict


def asks_the_same(a: Criterion, b: Criterion) -> bool:
    """Do two criteria differ at most in weight, in points and in being pinned?"""

    def asked(c: Criterion) -> object:
        return c.id, c.name, c.instruction, c.polarity, c.evidence, [(at.description, at.example) for at in c.levels]

    return asked(a) == asked(b)


def in_one_reading(parent: Rubric, before: Scored, child: Rubric, after: Scored, aggregate: Aggregate) -> Scored:
    """`after`, the same rollout under `child`, with the verdicts that `before` has under `parent` on every criterion
    that asks the same, and the reward that follows. What is unscored before or after is left as it is."""
    known = {o.criterion_id: o for o in before.assessment.outcomes}
    outcomes = tuple(
        _again(parent.criterion(o.criterion_id), child.criterion(o.criterion_id), known.get(o.criterion_id), o)
        for o in after.assessment.outcomes
    )
    if outcomes == after.assessment.outcomes:
        return after
    return replace(after, assessment=replace(after.assessment, outcomes=outcomes), reward=aggregate(child, outcomes))


def _again(was: Criterion | None, now: Criterion | None, before: Outcome | None, after: Outcome) -> Outcome:
    if not (was and now and isinstance(before, Verdict) and isinstance(after, Verdict) and asks_the_same(was, now)):
        return after
    place = [level.points for level in was.levels].index(before.points)
    points = now.levels[place].points
    expected = None if before.expected is None else _at(before.expected, was, now)
    return before.model_copy(update={"points": points, "expected": expected})


def _at(value: float, was: Criterion, now: Criterion) -> float:
    """Points between two levels, as far between the same two levels of a criterion with other points."""
    for (low, high), (new_low, new_high) in zip(pairwise(was.levels), pairwise(now.levels), strict=True):
        if value <= high.points:
            share = (value - low.points) / (high.points - low.points)
            return new_low.points + share * (new_high.points - new_low.points)
    return now.max_points

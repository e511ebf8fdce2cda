"""Verdicts to a reward: pure arithmetic, and None where any verdict is missing.

`normalized` is the default: the weighted sum over the rubric's range, in [0, 1], so that a rubric revision with
more points changes no scale. `raw_sum` is what the MPO paper optimises. `conjunctive` lets negative criteria multiply
instead, so that nothing makes up for a failure. Under dropout, the value counts a part of the criteria only.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from metapo.judge.judge import Assessment
from metapo.rollout import Rollout
from metapo.rubric import Outcome, Polarity, Rubric, Unscored


class Part(NamedTuple):
    """One criterion's share of a reward: its points (None when unscored) and its place in its own range, [0, 1]."""

    criterion_id: str
    points: float | None
    fraction: float | None


class Reward(NamedTuple):
    """`value` trains the policy; `normalized` in [0, 1] and `raw` (points) are for people: the weighted sum over the
    whole rubric, however `value` came about. All None when unscored."""

    value: float | None
    normalized: float | None
    raw: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Monitored:
    """What the monitor says of a rollout: logged, never rewarded."""

    judge: str
    assessment: Assessment
    reward: Reward


class Screened(NamedTuple):
    """What a task's own rule gives a completion, without the judge: why, and the reward as a share in [0, 1] and in
    points. A share of 0 is the task's minimum: in points too it is no more than the least that the rubric in force can
    give. Both are None where the rule could not tell: the completion is unscored."""

    why: str
    normalized: float | None
    raw: float | None


@dataclass(frozen=True)
class Scored:
    """A rollout with the assessment and the reward that one revision gave it. `screened` says why the task's own rule
    gave the reward; the judge was not asked then."""

    rollout: Rollout
    revision_id: str
    assessment: Assessment
    reward: Reward
    monitored: Monitored | None = None
    screened: str = ""

    @property
    def assessments(self) -> tuple[Assessment, ...]:
        """The judge's, then the monitor's where it was asked."""
        return (self.assessment, self.monitored.assessment) if self.monitored else (self.assessment,)


Aggregate = Callable[[Rubric, Sequence[Outcome]], Reward]
Screen = Callable[[Rollout], Awaitable[Screened | None]]
"""A task's rule: None leaves the rollout to the judge."""
Observe = Callable[[Sequence[Scored]], Mapping[str, float]]
"""Adds figures to the metrics of a step; nothing that trains reads them."""


async def screen_nothing(rollout: Rollout) -> Screened | None:
    """Leaves every rollout to the judge."""
    return None


def observe_nothing(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Adds no figure."""
    return {}


def normalized(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """(weighted sum - minimum) / (maximum - minimum) of the rubric, in [0, 1]."""
    reward = _measure(rubric, outcomes)
    return reward._replace(value=reward.normalized)


def raw_sum(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """The weighted sum of points, in [rubric.min_points, rubric.max_points]."""
    reward = _measure(rubric, outcomes)
    return reward._replace(value=reward.raw)


def conjunctive(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """What `normalized` gives for the positive criteria, times a factor for each negative one, in [0, 1].

    A negative criterion is a failure clause (ProRubric, arXiv 2609.38847): its factor is 1 at its best level, and what
    it deducts takes as large a share as those points are of all points that the positive criteria offer. So a fault
    costs more where there is more to lose, nothing makes up for it, and one that deducts all points fails alone. A
    criterion of weight 2 counts as two of weight 1, be it positive or negative. A rubric of negative criteria alone is
    `normalized`.
    """
    reward = _measure(rubric, outcomes)
    positive = tuple(c for c in rubric.criteria if c.polarity is Polarity.POSITIVE)
    if not positive:
        return reward._replace(value=reward.normalized)
    good = Rubric(criteria=positive)
    share = _of_part(normalized, good, outcomes).value
    if reward.raw is None or share is None:
        return reward
    offered = good.max_points - good.min_points
    factors = [
        max(0.0, 1 - (criterion.max_points - part.points) / offered) ** criterion.weight
        for criterion, part in zip(rubric.criteria, reward.parts, strict=True)
        if criterion.polarity is Polarity.NEGATIVE and part.points is not None
    ]
    # sorted: the order of the criteria may not change the last bit
    return reward._replace(value=share * math.prod(sorted(factors)))


AGGREGATES: dict[str, Aggregate] = {"normalized": normalized, "raw_sum": raw_sum, "conjunctive": conjunctive}


def drop_criteria(rubric: Rubric, share: float, rng: Random) -> Rubric:
    """`rubric` without a random `share` (at least 0, below 1) of its criteria that are not pinned.

    Where the share is no whole number of criteria, it is rounded up or down at random, so that it holds in the mean.
    One criterion always stays. The same criteria stay whatever their order.
    """
    droppable = sorted(c.id for c in rubric.criteria if not c.pinned)
    n = math.floor(share * len(droppable) + rng.random())
    dropped = set(rng.sample(droppable, min(n, len(rubric.criteria) - 1)))
    return Rubric(criteria=tuple(c for c in rubric.criteria if c.id not in dropped))


def masked(aggregate: Aggregate, rubric: Rubric, kept: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """The reward under `rubric`, with the value under `kept`, which has some of its criteria.

    The value is None where any criterion has no verdict, kept or not: which completions a failing judge takes out of a
    step then doesn't depend on the draw, and a judge that fails shows as much as without dropout.
    """
    whole = aggregate(rubric, outcomes)
    return whole if whole.value is None else whole._replace(value=_of_part(aggregate, kept, outcomes).value)


def _of_part(aggregate: Aggregate, part: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """The reward under a rubric that has only some of the criteria that were judged."""
    return aggregate(part, [o for o in outcomes if part.criterion(o.criterion_id) is not None])


def _measure(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    by_id = {o.criterion_id: o for o in outcomes}
    if len(by_id) != len(outcomes) or by_id.keys() != {c.id for c in rubric.criteria}:
        raise ValueError(
            f"one outcome per criterion is needed; the rubric has {[c.id for c in rubric.criteria]}, "
            f"the outcomes are for {[o.criterion_id for o in outcomes]}"
        )
    parts: list[Part] = []
    weighted: list[float] = []
    for criterion in rubric.criteria:
        outcome = by_id[criterion.id]
        if isinstance(outcome, Unscored):
            parts.append(Part(criterion.id, None, None))
            continue
        if criterion.level(outcome.points) is None:
            offered = [level.points for level in criterion.levels]
            raise ValueError(f"criterion {criterion.id!r} has no level of {outcome.points} points; it has {offered}")
        if not criterion.min_points <= outcome.value <= criterion.max_points:
            span_text = f"{criterion.min_points} to {criterion.max_points}"
            raise ValueError(f"criterion {criterion.id!r} goes from {span_text} points; expected {outcome.value}")
        span = criterion.max_points - criterion.min_points
        parts.append(Part(criterion.id, outcome.value, (outcome.value - criterion.min_points) / span))
        weighted.append(criterion.weight * outcome.value)
    if any(part.points is None for part in parts):
        return Reward(None, None, None, tuple(parts))
    raw = math.fsum(weighted)
    fraction = (raw - rubric.min_points) / (rubric.max_points - rubric.min_points)
    return Reward(None, fraction, raw, tuple(parts))

"""Verdicts to a reward: pure arithmetic, and None where any verdict is missing.

`normalized` is the default: the weighted sum over the rubric's range, in [0, 1], so that a rubric revision with
more points changes no scale. `raw_sum` is what the MPO paper optimises.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from metapo.judge.judge import Assessment
from metapo.rollout import Rollout
from metapo.rubric import Outcome, Rubric, Unscored


class Part(NamedTuple):
    """One criterion's share of a reward: its points (None when unscored) and its place in its own range, [0, 1]."""

    criterion_id: str
    points: float | None
    fraction: float | None


class Reward(NamedTuple):
    """`value` trains the policy; `normalized` in [0, 1] and `raw` (points) are for people. All None when unscored."""

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


@dataclass(frozen=True)
class Scored:
    """A rollout with the assessment and the reward that one revision gave it."""

    rollout: Rollout
    revision_id: str
    assessment: Assessment
    reward: Reward
    monitored: Monitored | None = None


Aggregate = Callable[[Rubric, Sequence[Outcome]], Reward]


def normalized(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """(weighted sum - minimum) / (maximum - minimum) of the rubric, in [0, 1]."""
    reward = _measure(rubric, outcomes)
    return reward._replace(value=reward.normalized)


def raw_sum(rubric: Rubric, outcomes: Sequence[Outcome]) -> Reward:
    """The weighted sum of points, in [rubric.min_points, rubric.max_points]."""
    reward = _measure(rubric, outcomes)
    return reward._replace(value=reward.raw)


AGGREGATES: dict[str, Aggregate] = {"normalized": normalized, "raw_sum": raw_sum}


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

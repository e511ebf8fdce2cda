"""What PPO's value head made of a scale that moves: its figures before, at and after each change of rubric."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from metapo.world.runs import ArmRun

AROUND = 5
Row = dict[str, Any]


@dataclass(frozen=True)
class Around:
    """Medians of one figure: over whole runs, and over all changes of rubric in the AROUND steps before, in the first
    step under the new one, and in the AROUND steps that begin AROUND steps later. None where there is none."""

    whole: float | None
    before: float | None
    at: float | None
    after: float | None


@dataclass(frozen=True)
class ValueHead:
    """Over the runs of an arm: how many changes of rubric they had in all; the share of the reward's variance that the
    values explain, at most 1; how far their mean lies from the reward's, in standard deviations of the reward; the loss
    that they are trained by, in squared units of the reward."""

    n_changes: int
    explained: Around
    bias: Around
    loss: Around


def value_head(runs: Sequence[ArmRun]) -> ValueHead:
    """Read what PPO's trainer noted; the figures of other algorithms' runs are None."""
    return ValueHead(
        n_changes=sum(len(run.rewrites) for run in runs),
        explained=_around(runs, lambda row: row.get("value/explained")),
        bias=_around(runs, _bias),
        loss=_around(runs, lambda row: row.get("loss/value_avg")),
    )


def _bias(row: Row) -> float | None:
    spread = row.get("value/score_sd")
    return abs(row["value/bias"]) / spread if spread else None


def _around(runs: Sequence[ArmRun], figure: Callable[[Row], float | None]) -> Around:
    whole, before, at, after = list[float](), list[float](), list[float](), list[float]()
    for run in runs:
        by_step = {row["step"] - 1: value for row in run.trainer if (value := figure(row)) is not None}
        whole += by_step.values()
        for first in run.rewrites:
            before += [by_step[step] for step in range(first - AROUND, first) if step in by_step]
            at += [by_step[first]] if first in by_step else []
            after += [by_step[step] for step in range(first + AROUND, first + 2 * AROUND) if step in by_step]
    return Around(*(median(found) if found else None for found in (whole, before, at, after)))

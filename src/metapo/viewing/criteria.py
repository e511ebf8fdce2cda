"""Each criterion's history: what was given on it in each step, and whether it says anything that the others don't."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, pvariance
from typing import Any

import sqlalchemy as sa

from metapo.rollout import Split
from metapo.rubric import Criterion
from metapo.store import schema as t
from metapo.viewing.answers import CriteriaAnswer, CriterionHistory
from metapo.viewing.figures import DIGITS
from metapo.viewing.rollouts import r
from metapo.viewing.runs import Viewed


@dataclass
class _Given:
    """What was given on one criterion in one step; of the rollouts with all verdicts also (points, the others' sum)."""

    points: list[float] = field(default_factory=list)
    n_best: int = 0
    n_missing: int = 0
    beside: list[tuple[float, float]] = field(default_factory=list)


def history(
    run: Viewed, cluster: str, split: Split, from_step: int, to_step: int | None, max_steps: int
) -> CriteriaAnswer:
    """Of the steps in the range, both ends in, at most so many, evenly spaced. Raises StoreError."""
    noted = {row["step"] for row in run.figures.read().of(split.value)}
    steps = sorted(s for s in noted if s >= from_step and (to_step is None or s <= to_step))
    chosen = spaced(steps, max_steps)
    given, criteria = _given(run, cluster, split, chosen)
    histories = tuple(_history(criterion, [given.get((criterion.id, s)) for s in chosen]) for criterion in criteria)
    return CriteriaAnswer(cluster=cluster, split=split, n_steps=len(steps), steps=tuple(chosen), criteria=histories)


def spaced(steps: Sequence[int], most: int) -> list[int]:
    """At most so many, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[-1]]
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's, -1 to 1; None where either side doesn't vary."""
    if len(pairs) < 2:
        return None
    xs, ys = zip(*pairs, strict=True)
    mean_x, mean_y = fmean(xs), fmean(ys)
    dx, dy = [x - mean_x for x in xs], [y - mean_y for y in ys]
    scale = math.sqrt(math.fsum(x * x for x in dx) * math.fsum(y * y for y in dy))
    if scale <= 1e-12 * len(pairs):
        return None
    return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(dx, dy, strict=True)) / scale))


def _given(
    run: Viewed, cluster: str, split: Split, steps: Sequence[int]
) -> tuple[dict[tuple[str, int], _Given], list[Criterion]]:
    """By criterion and step; and the criteria in the order in which they came, as they read last."""
    v = t.verdict.c
    asked = (
        sa.select(r.step, r.id, r.revision_id, v.criterion_id, v.points, v.expected)
        .where(v.rollout_id == r.id, r.split == split.value, r.cluster == cluster, r.screened == "", r.step.in_(steps))
        .order_by(r.step)
    )
    with run.store.snapshot() as db:
        rows = db.execute(asked).all()
    by_rollout: dict[tuple[int, str, str], list[Any]] = defaultdict(list)
    for row in rows:
        by_rollout[row.step, row.id, row.revision_id].append(row)
    given: dict[tuple[str, int], _Given] = defaultdict(_Given)
    criteria: dict[str, Criterion] = {}
    for (step, _, revision), verdicts in by_rollout.items():
        known = {criterion.id: criterion for criterion in run.rubric(revision).criteria}
        criteria |= known
        _add(given, step, verdicts, known)
    return given, list(criteria.values())


def _add(given: dict[tuple[str, int], _Given], step: int, verdicts: Sequence[Any], known: dict[str, Criterion]) -> None:
    """One rollout's verdicts."""
    weighted = {}
    for row in verdicts:
        of, criterion = given[row.criterion_id, step], known.get(row.criterion_id)
        if row.points is None or criterion is None:
            of.n_missing += row.points is None
            continue
        value = row.points if row.expected is None else row.expected
        of.points.append(value)
        of.n_best += row.points == criterion.max_points
        weighted[row.criterion_id] = value * criterion.weight
    if len(weighted) == len(known):
        total = sum(weighted.values())
        for criterion_id, value in weighted.items():
            given[criterion_id, step].beside.append((value, total - value))


def _history(criterion: Criterion, given: Sequence[_Given | None]) -> CriterionHistory:
    def n_of(g: _Given) -> int:
        return len(g.points) + g.n_missing

    def column(of: Any) -> tuple[float | None, ...]:
        found = [None if g is None else of(g) for g in given]
        return tuple(None if x is None else float(f"{x:.{DIGITS}g}") for x in found)

    return CriterionHistory(
        id=criterion.id,
        name=criterion.name,
        min_points=criterion.min_points,
        max_points=criterion.max_points,
        weight=criterion.weight,
        pinned=criterion.pinned,
        n=tuple(None if g is None else n_of(g) for g in given),
        mean=column(lambda g: fmean(g.points) if g.points else None),
        variance=column(lambda g: pvariance(g.points) if g.points else None),
        passed=column(lambda g: g.n_best / len(g.points) if g.points else None),
        correlation=column(lambda g: correlation(g.beside)),
        unscored=column(lambda g: g.n_missing / n_of(g)),
    )

"""Each criterion's history: what was given on it in each step, and whether it says anything that the others don't."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from metapo.rollout import Split
from metapo.rubric import Criterion
from metapo.store import schema as t
from metapo.viewing.answers import CriteriaAnswer, CriterionHistory
from metapo.viewing.figures import DIGITS
from metapo.viewing.rollouts import r
from metapo.viewing.runs import Viewed

SETTLED = 20
"""Steps: what a service scored that long ago gets no late rollouts any more, so that its figures stay as they are."""


class Given(NamedTuple):
    """What was given on one criterion in one step, as `CriterionHistory` tells it."""

    n: int
    mean: float | None
    variance: float | None
    passed: float | None
    correlation: float | None
    unscored: float


class InStep(NamedTuple):
    """What was given in one step, and the revisions that scored it."""

    revisions: tuple[str, ...]
    by_criterion: Mapping[str, Given]


_Verdict = tuple[str, int | None, float | None]


def history(
    run: Viewed, cluster: str, split: Split, from_step: int, to_step: int | None, max_steps: int
) -> CriteriaAnswer:
    """Of the steps in the range, both ends in, at most so many, evenly spaced. Raises StoreError."""
    known = run.figures.read()
    noted = sorted(set(known.table(split.value).steps))
    steps = [s for s in noted if s >= from_step and (to_step is None or s <= to_step)]
    chosen = spaced(steps, max_steps)
    settled = run.settled.of(known.generation, (cluster, split))
    given = {step: settled[step] for step in chosen if step in settled}
    new = _given(run, cluster, split, [step for step in chosen if step not in given])
    settled |= {step: of for step, of in new.items() if step < noted[-1] - SETTLED}
    given |= new
    in_order = (run.rubric(i).criteria for step in chosen for i in given[step].revisions)
    criteria = {criterion.id: criterion for of in in_order for criterion in of}
    return CriteriaAnswer(
        cluster=cluster,
        split=split,
        n_steps=len(steps),
        steps=tuple(chosen),
        criteria=tuple(_history(c, [given[step].by_criterion.get(c.id) for step in chosen]) for c in criteria.values()),
    )


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
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    dx, dy = [x - mean_x for x in xs], [y - mean_y for y in ys]
    scale = math.sqrt(math.fsum(x * x for x in dx) * math.fsum(y * y for y in dy))
    if scale <= 1e-12 * len(pairs):
        return None
    return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(dx, dy, strict=True)) / scale))


def _given(run: Viewed, cluster: str, split: Split, steps: Sequence[int]) -> dict[int, InStep]:
    """What was given in each of these steps."""
    v = t.verdict.c
    asked = sa.select(r.step, r.revision_id, r.id, v.criterion_id, v.points, v.expected).where(
        v.rollout_id == r.id, r.split == split.value, r.cluster == cluster, r.screened == "", r.step.in_(steps)
    )
    verdicts: dict[int, dict[tuple[str, str], list[_Verdict]]] = {step: {} for step in steps}
    with run.store.snapshot() as db:
        for step, revision, rollout, criterion, points, expected in db.execute(asked):
            verdicts[step].setdefault((revision, rollout), []).append((criterion, points, expected))
    return {step: _in_step(run, by_rollout) for step, by_rollout in verdicts.items()}


def _in_step(run: Viewed, by_rollout: Mapping[tuple[str, str], Sequence[_Verdict]]) -> InStep:
    points: dict[str, list[float]] = {}
    beside: dict[str, list[tuple[float, float]]] = {}
    best: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    revisions = dict.fromkeys(sorted(revision for revision, _ in by_rollout))
    rubrics = {i: {c.id: (c.weight, c.max_points) for c in run.rubric(i).criteria} for i in revisions}
    for (revision, _), verdicts in by_rollout.items():
        rubric = rubrics[revision]
        weighted = {}
        for criterion, given, expected in verdicts:
            if given is None:
                missing[criterion] += 1
                continue
            value = given if expected is None else expected
            weight, most = rubric.get(criterion, (1.0, None))
            points.setdefault(criterion, []).append(value)
            best[criterion] += given == most
            weighted[criterion] = value * weight
        if len(weighted) == len(rubric):
            total = sum(weighted.values())
            for criterion, value in weighted.items():
                beside.setdefault(criterion, []).append((value, total - value))
    names = dict.fromkeys([*points, *missing])
    given_on = {n: _figures(points.get(n, []), beside.get(n, []), best[n], missing[n]) for n in names}
    return InStep(tuple(revisions), given_on)


def _figures(points: Sequence[float], beside: Sequence[tuple[float, float]], n_best: int, n_missing: int) -> Given:
    n = len(points) + n_missing
    if not points:
        return Given(n, None, None, None, None, 1.0)
    mean = math.fsum(points) / len(points)
    variance = math.fsum((x - mean) ** 2 for x in points) / len(points)
    return Given(n, mean, variance, n_best / len(points), correlation(beside), n_missing / n)


def _history(criterion: Criterion, given: Sequence[Given | None]) -> CriterionHistory:
    def column(name: str) -> tuple[float | None, ...]:
        found = [None if of is None else getattr(of, name) for of in given]
        return tuple(None if x is None else float(f"{x:.{DIGITS}g}") for x in found)

    return CriterionHistory(
        id=criterion.id,
        name=criterion.name,
        min_points=criterion.min_points,
        max_points=criterion.max_points,
        weight=criterion.weight,
        pinned=criterion.pinned,
        n=tuple(None if of is None else of.n for of in given),
        **{name: column(name) for name in ("mean", "variance", "passed", "correlation", "unscored")},
    )

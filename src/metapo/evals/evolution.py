"""How a rubric evolved: what each revision of a lineage holds, and how it scores one fixed set of rollouts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum, sqrt
from random import Random
from statistics import fmean

from metapo.errors import DataError
from metapo.evals.agreement import Scoring, Word, drift
from metapo.intervals import Interval, mean_interval, percentiles, redraw, together
from metapo.rollout import Rollout
from metapo.rubric import Revision

RESAMPLES = 1000
SEED = 0
_DIGITS = 9  # scores that differ only beyond are equal: the same sum can come of different verdicts


@dataclass(frozen=True)
class Text:
    """What a revision's rubric holds: criteria, words in all and per criterion, fewest and most points."""

    n_criteria: int
    words: int
    words_per_criterion: float
    min_points: float
    max_points: float


@dataclass(frozen=True)
class Figure:
    """A figure on the fixed rollouts, and by how much it differs from the lineage's first revision on the same ones.
    Intervals draw prompts; they are None with fewer than two."""

    value: float
    interval: Interval | None
    change: float
    change_interval: Interval | None


@dataclass(frozen=True)
class Scores:
    """How a revision scores the rollouts that every revision of its lineage scored.

    `mean` is of the normalised scores, in [0, 1]; `spread` their population standard deviation; `told_apart` the share
    of the pairs of different rollouts that get different scores, in [0, 1]. `word` says whether the revision is
    stricter than the first one: whether the interval of the mean's change lies below 0.
    """

    mean: Figure
    spread: Figure
    told_apart: Figure
    word: Word


@dataclass(frozen=True)
class Stage:
    """A revision in its place, counted from 1, with the step from which it scores. `n_unscored` of the rollouts have no
    score under it; `scores` is None where nothing was judged, or fewer than two rollouts were scored under all."""

    number: int
    step: int
    revision: Revision
    text: Text
    n_unscored: int = 0
    scores: Scores | None = None


def fixed_set(rollouts: Sequence[Rollout], n: int, seed: int) -> list[Rollout]:
    """At most `n` different rollouts, spread over the run: one from each of `n` equal parts, in the steps' order. The
    same rollouts and seed give the same set. Raises DataError for fewer than two."""
    different: dict[tuple[str, str], Rollout] = {}
    for rollout in rollouts:
        different.setdefault((rollout.prompt, rollout.completion), rollout)
    if len(different) < 2:
        raise DataError(
            f"two different rollouts are needed to compare revisions on; there are {len(different)}. With --no-judge "
            "there are figures of the text alone."
        )
    rng, shuffled = Random(f"{seed}/evolution"), list(different.values())
    rng.shuffle(shuffled)
    in_order, n = sorted(shuffled, key=lambda rollout: rollout.step), min(n, len(shuffled))
    ends = [i * len(in_order) // n for i in range(n + 1)]
    return [rng.choice(in_order[first:end]) for first, end in pairwise(ends)]


def trace(
    lineage: Sequence[tuple[int, Revision]],
    rollouts: Sequence[Rollout] = (),
    scores: Mapping[str, Sequence[float | None]] | None = None,
) -> list[Stage]:
    """The revisions of a lineage with their figures. `scores` holds, by the digest of a rubric, one normalised score
    (None for unscored) for each of the `rollouts`; without it there are figures of the text alone. Raises MissingExtra.
    """
    stages = [Stage(i, step, revision, read_text(revision)) for i, (step, revision) in enumerate(lineage, 1)]
    return stages if scores is None else _measured(stages, rollouts, scores)


def read_text(revision: Revision) -> Text:
    """The figures of a rubric's text."""
    rubric = revision.rubric
    n = len(rubric.criteria)
    return Text(n, rubric.n_words, rubric.n_words / n, rubric.min_points, rubric.max_points)


def _measured(
    stages: Sequence[Stage], rollouts: Sequence[Rollout], scores: Mapping[str, Sequence[float | None]]
) -> list[Stage]:
    given = [scores[stage.revision.rubric.digest] for stage in stages]
    kept = [i for i in range(len(rollouts)) if all(column[i] is not None for column in given)]
    columns = [[score for i in kept if (score := column[i]) is not None] for column in given]
    found = _compared(columns, [rollouts[i].prompt for i in kept]) if len(kept) > 1 else [None] * len(stages)
    return [
        replace(stage, n_unscored=sum(score is None for score in column), scores=figures)
        for stage, column, figures in zip(stages, given, found, strict=True)
    ]


def _compared(columns: Sequence[Sequence[float]], prompts: Sequence[str]) -> list[Scores]:
    """The figures of each revision's scores, which are in one order throughout."""
    draws = _draws(prompts)
    means = [_mean(columns[0], column, prompts) for column in columns]
    spreads, shares = (_bootstrapped(measure, columns, draws) for measure in (spread, told_apart))
    return [
        Scores(mean, deviation, share, word)
        for (mean, word), deviation, share in zip(means, spreads, shares, strict=True)
    ]


def _mean(first: Sequence[float], here: Sequence[float], prompts: Sequence[str]) -> tuple[Figure, Word]:
    before, after = (
        [Scoring(prompt, i, "", score, None) for i, (prompt, score) in enumerate(zip(prompts, column, strict=True))]
        for column in (first, here)
    )
    moved = drift(before, after)
    return Figure(fmean(here), mean_interval(here, prompts), fmean(here) - fmean(first), moved.interval), moved.word


# --- figures that are no means: each rollout counts as often as it was drawn


def spread(scores: Sequence[float], times: Sequence[int]) -> float:
    """The population standard deviation, where each score counts so many times; at least one does."""
    n = sum(times)
    mean = fsum(t * s for s, t in zip(scores, times, strict=True)) / n
    return sqrt(fsum(t * (s - mean) ** 2 for s, t in zip(scores, times, strict=True)) / n)


def told_apart(scores: Sequence[float], times: Sequence[int]) -> float:
    """The share of pairs with different scores, where each rollout counts so many times, at least two of them; a
    rollout and itself are no pair."""
    alike: dict[float, list[int]] = defaultdict(list)
    for score, t in zip(scores, times, strict=True):
        alike[round(score, _DIGITS)].append(t)
    return 1 - sum(map(_n_pairs, alike.values())) / _n_pairs(times)


def _n_pairs(times: Sequence[int]) -> int:
    """Ordered pairs of different rollouts."""
    return sum(times) ** 2 - sum(t * t for t in times)


def _bootstrapped(
    measure: Callable[[Sequence[float], Sequence[int]], float],
    columns: Sequence[Sequence[float]],
    draws: Sequence[Sequence[int]],
) -> list[Figure]:
    """A figure for each column; all are measured on the same draws."""
    once = [1] * len(columns[0])
    values = [measure(column, once) for column in columns]
    drawn = [[measure(column, times) for times in draws] for column in columns]
    moved = [[after - before for before, after in zip(drawn[0], part, strict=True)] for part in drawn]
    return [
        Figure(value, _interval(part), value - values[0], _interval(changes))
        for value, part, changes in zip(values, drawn, moved, strict=True)
    ]


def _interval(drawn: Sequence[float]) -> Interval | None:
    return percentiles(drawn) if drawn else None


def _draws(prompts: Sequence[str]) -> list[list[int]]:
    """How many times each rollout is in each resample: those of one prompt are drawn together. Without resamples in
    which only one rollout is, and none at all with fewer than two prompts."""
    groups = together(range(len(prompts)), lambda i: prompts[i])
    counts = [Counter(i for group in drawn for i in group) for drawn in redraw(groups, RESAMPLES, SEED)]
    return [[drawn[i] for i in range(len(prompts))] for drawn in counts if len(drawn) > 1]

"""Ratings from matches: sequential Elo, and the Bradley-Terry model with intervals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean, pstdev

from metapo.errors import MissingExtra
from metapo.evals.matches import Match
from metapo.intervals import Interval, percentiles, redraw, together

K = 4.0
START = 1000.0
REPEATS = 5
RESAMPLES = 1000
SCALE = 400.0  # so many points more are odds of ten to one
PRIOR_DRAWS = 1.0
MAX_ROUNDS = 1000
CLOSE = 1e-10
_FAR = 300.0  # tens of odds beyond which a float has no more to say


@dataclass(frozen=True)
class Spread:
    """Mean and population standard deviation of the ratings that a model got in several orders."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Estimate:
    """A rating and its interval, None without resamples or with one prompt."""

    rating: float
    interval: Interval | None


@dataclass(frozen=True)
class Tally:
    """How a pair of models fared: the first one's points out of `n` matches."""

    points: float = 0.0
    n: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.points + other.points, self.n + other.n)


Pair = tuple[str, str]
Tallies = Mapping[Pair, Tally]


def elo(matches: Iterable[Match], k: float = K, start: float = START) -> dict[str, float]:
    """Each model's rating after all matches, one after the other: a match moves both ratings by `k` times what the
    first model got beyond what was expected of it, where 400 points more mean odds of ten to one."""
    ratings: dict[str, float] = {}
    for match in matches:
        a, b = ratings.setdefault(match.model_a, start), ratings.setdefault(match.model_b, start)
        gain = k * (match.points_a - expected(a - b))
        ratings[match.model_a], ratings[match.model_b] = a + gain, b - gain
    return ratings


def expected(lead: float) -> float:
    """What is expected (0 to 1) of a model whose rating is higher by `lead`."""
    tens = -lead / SCALE
    return float(1 / (1 + 10 ** max(-_FAR, min(tens, _FAR))))


def shuffled_elo(
    matches: Sequence[Match], repeats: int = REPEATS, seed: int = 0, k: float = K, start: float = START
) -> dict[str, Spread]:
    """Elo over the matches in `repeats` random orders, as the order moves the ratings: mean and population standard
    deviation, as in the MPO paper (arXiv 2504.20157)."""
    rng = Random(seed)
    rounds = [elo(rng.sample(matches, len(matches)), k, start) for _ in range(repeats)]
    models = elo(matches, k, start)
    return {m: Spread(fmean(r[m] for r in rounds), pstdev(r[m] for r in rounds)) for m in models}


def islands(matches: Iterable[Match]) -> list[set[str]]:
    """The models in sets within which all can be compared, by way of others; one set where all can."""
    found: list[set[str]] = []
    for match in matches:
        joined = {match.model_a, match.model_b}
        apart = [island for island in found if not island & joined]
        found = [*apart, joined.union(*(island for island in found if island & joined))]
    return found


def tally(matches: Iterable[Match]) -> dict[Pair, Tally]:
    """What each pair of models came to; the names of a pair stand in alphabetical order."""
    found: dict[Pair, Tally] = defaultdict(Tally)
    for match in matches:
        if match.model_a < match.model_b:
            found[match.model_a, match.model_b] += Tally(match.points_a, 1)
        else:
            found[match.model_b, match.model_a] += Tally(1 - match.points_a, 1)
    return dict(found)


def bradley_terry(tallies: Tallies, prior_draws: float = PRIOR_DRAWS, start: float = START) -> dict[str, float]:
    """The most likely ratings under the Bradley-Terry model, on Elo's scale, with a mean of `start`.

    Draws are half a win for both. Each pair that met gets `prior_draws` (above 0) draws more, so that a model that won
    every match has a finite rating. All models have to be on one island. Fitted as what it is, a logistic regression of
    wins on who met whom, by scikit-learn. Raises MissingExtra.
    """
    try:
        import numpy as np
        from sklearn.linear_model import LogisticRegression
    except ImportError as e:
        raise MissingExtra("eval", "rating models by Bradley-Terry") from e
    models = sorted({model for pair in tallies for model in pair})
    met = np.zeros((len(tallies), len(models)))
    for row, pair in enumerate(tallies):
        met[row, [models.index(model) for model in pair]] = 1, -1
    won = [tally.points + prior_draws / 2 for tally in tallies.values()]
    lost = [tally.n - tally.points + prior_draws / 2 for tally in tallies.values()]
    # without the first column: only differences can be told
    fit = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=CLOSE, max_iter=MAX_ROUNDS)
    fit.fit(np.vstack([met, met])[:, 1:], [1] * len(won) + [0] * len(lost), sample_weight=[*won, *lost])
    strengths = np.concatenate([[0.0], fit.coef_[0]])
    ratings = start + SCALE / math.log(10) * (strengths - strengths.mean())
    return dict(zip(models, ratings.tolist(), strict=True))


def rate(matches: Sequence[Match], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate] | None:
    """Bradley-Terry ratings, with intervals over `resamples` draws of prompts: matches on one prompt are no independent
    witnesses, so they stay together; those without a prompt stand alone. None where the models are on several islands,
    as nothing compares them."""
    if len(islands(matches)) != 1:
        return None
    ratings = bradley_terry(tally(matches))
    parts = [tally(cluster) for cluster in by_prompt(matches)]
    nothing = dict.fromkeys(tally(matches), Tally())
    drawn = [bradley_terry(_total(nothing, some)) for some in redraw(parts, resamples, seed)]
    return {
        model: Estimate(rating, percentiles([d[model] for d in drawn]) if drawn else None)
        for model, rating in ratings.items()
    }


def by_prompt(matches: Sequence[Match]) -> list[list[Match]]:
    """The matches on one prompt together; each without a prompt alone."""
    numbered = together(enumerate(matches), lambda item: item[1].prompt or item[0])
    return [[match for _, match in part] for part in numbered]


def _total(nothing: Tallies, parts: Iterable[Tallies]) -> dict[Pair, Tally]:
    """The sum; a pair that was not drawn keeps its place, and so its prior."""
    points, n = dict.fromkeys(nothing, 0.0), dict.fromkeys(nothing, 0.0)
    for part in parts:
        for pair, one in part.items():
            points[pair] += one.points
            n[pair] += one.n
    return {pair: Tally(points[pair], n[pair]) for pair in nothing}

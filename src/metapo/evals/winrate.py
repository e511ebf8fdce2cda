"""Win rates: as they are, and as they would be if both models wrote texts of one length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import NamedTuple

from metapo.intervals import Interval, mean_interval, percentiles, redraw, together

RIDGE = 0.1  # on the weight of length alone: keeps it finite where the longer text always wins
MAX_ROUNDS = 100
CLOSE = 1e-9


@dataclass(frozen=True)
class Sample:
    """One match from the first model's side: its points (1, 0.5 or 0) and how many characters more it wrote."""

    points: float
    lead_chars: int
    prompt: str = ""


@dataclass(frozen=True)
class Rate:
    """A share of the points (0 to 1) and its interval, None without resamples or with one prompt."""

    rate: float
    interval: Interval | None


class _Fit(NamedTuple):
    skill: float
    weight: float


def win_rate(samples: Sequence[Sample], resamples: int = 0, seed: int = 0) -> Rate:
    """The share of the points that the first model got; a draw is half a win. The interval is over prompts."""
    points = [s.points for s in samples]
    return Rate(fmean(points), mean_interval(points, [s.prompt for s in samples], resamples, seed))


def length_controlled(samples: Sequence[Sample], resamples: int = 0, seed: int = 0) -> Rate | None:
    """The first model's win rate, were its texts as long as the other's.

    A simple form of length-controlled AlpacaEval (arXiv 2404.04475): a logistic regression explains the points by the
    models' difference in skill and by tanh(lead / sd of the leads), and the rate is what it predicts for a lead of 0.
    The terms of the original for the difficulty of each prompt are left out. It takes out what length explains within
    this pair; where one model's texts are nearly always longer, that is an extrapolation. The interval is over prompts.

    None where all leads are equal and not 0, as length and skill can't be told apart then.
    """
    sd = pstdev(s.lead_chars for s in samples)
    if sd == 0 and samples[0].lead_chars:
        return None
    points = [(s.points, math.tanh(s.lead_chars / sd) if sd else 0.0) for s in samples]
    parts = together(zip(points, samples, strict=True), lambda item: item[1].prompt)
    xs = [[point for point, _ in part] for part in parts]
    fit = _fitted(points, _Fit(0.0, 0.0))
    rates = [_rate(_fitted([x for part in drawn for x in part], fit)) for drawn in redraw(xs, resamples, seed)]
    return Rate(_rate(fit), percentiles(rates) if rates else None)


def _fitted(points: Sequence[tuple[float, float]], start: _Fit) -> _Fit:
    """The most likely fit to pairs of points (0 to 1) and lead, by Newton's method with halved steps. Where one model
    got all points, its skill is without bounds whatever the weight."""
    total = math.fsum(y for y, _ in points)
    if total in (0, len(points)):
        return _Fit(math.inf if total else -math.inf, 0.0)
    skill, weight = start if math.isfinite(start.skill) else (0.0, 0.0)
    height = _likelihood(points, skill, weight)
    for _ in range(MAX_ROUNDS):
        up_skill, up_weight = _newton_step(points, skill, weight)
        while (higher := _likelihood(points, skill + up_skill, weight + up_weight)) < height - CLOSE:
            up_skill, up_weight = up_skill / 2, up_weight / 2
        skill, weight, height = skill + up_skill, weight + up_weight, higher
        if abs(up_skill) + abs(up_weight) < CLOSE:
            break
    return _Fit(skill, weight)


def _newton_step(points: Sequence[tuple[float, float]], skill: float, weight: float) -> tuple[float, float]:
    slope_s, slope_w = 0.0, -RIDGE * weight
    ss, sw, ww = 0.0, 0.0, RIDGE
    for y, x in points:
        p = _logistic(skill + weight * x)
        error, bend = y - p, p * (1 - p)
        slope_s += error
        slope_w += error * x
        ss += bend
        sw += bend * x
        ww += bend * x * x
    determinant = ss * ww - sw * sw
    if determinant <= 0:  # flat as far as a float can tell: a small step uphill
        return math.copysign(0.5, slope_s), 0.0
    return (slope_s * ww - slope_w * sw) / determinant, (slope_w * ss - slope_s * sw) / determinant


def _likelihood(points: Sequence[tuple[float, float]], skill: float, weight: float) -> float:
    """The logarithm of the penalised likelihood."""
    total = -RIDGE * weight * weight / 2
    for y, x in points:
        z = skill + weight * x
        total += y * z - (max(z, 0.0) + math.log1p(math.exp(-abs(z))))
    return total


def _logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else 1 - 1 / (1 + math.exp(z))


def _rate(fit: _Fit) -> float:
    return float(fit.skill > 0) if math.isinf(fit.skill) else _logistic(fit.skill)

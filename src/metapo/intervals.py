"""Percentile bootstrap intervals: what would have come out with other prompts, or other seeds."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """Two ends, the lower first."""

    low: float
    high: float


def mean_interval(
    values: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int | str = 0,
) -> Interval | None:
    """The interval of the mean at LEVEL; None with fewer than two groups, or without resamples.

    Values of one group are drawn together, as completions of one prompt are no independent evidence; without `groups`
    each value is one. The same values in another order give the same interval.
    """
    names = range(len(values)) if groups is None else groups
    parts = together(zip(names, values, strict=True), lambda item: item[0])
    sums = sorted((math.fsum(value for _, value in part), len(part)) for part in parts)
    drawn = redraw(sums, resamples, seed)
    means = [sum(total for total, _ in d) / sum(n for _, n in d) for d in drawn]
    return percentiles(means) if means else None


def redraw(given: Sequence[T], times: int, seed: int | str) -> Iterator[list[T]]:
    """So many resamples: each as large as what is given, drawn from it with replacement. None where fewer than two are
    given, as they would all be the same."""
    rng = Random(seed)
    return (rng.choices(given, k=len(given)) for _ in range(times if len(given) > 1 else 0))


def together(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The items with equal keys together, in the order in which each key first comes."""
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.values())


def percentiles(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The percentile interval; between two values it is interpolated. Raises ValueError without values."""
    if not values:
        raise ValueError("an interval needs at least one value")
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return Interval(at((1 - level) / 2), at((1 + level) / 2))

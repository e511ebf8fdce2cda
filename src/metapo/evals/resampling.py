"""Intervals by the bootstrap: what would have come out with other prompts."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """The bounds between which the middle 95% of the resampled values lie."""

    low: float
    high: float


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


def clusters(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The items with equal keys together, in the order in which each key first comes."""
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.values())


def resample(given: Sequence[T], rng: Random) -> list[T]:
    """As many as there are, drawn with replacement."""
    return rng.choices(given, k=len(given))

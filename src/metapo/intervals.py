"""Percentile intervals of values that were drawn anew again and again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """Two ends, the lower first."""

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

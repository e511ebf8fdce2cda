"""What paired seeds tell of two arms: the differences under the same seeds, and a bootstrap interval of their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from statistics import fmean

from metapo.intervals import Interval, percentiles

RESAMPLES = 10_000
MIN_PAIRS = 3
_SEED = "paired"


class Word(StrEnum):
    """What an interval says of the arm, by rule: the whole of it lies above 0, below 0, or neither. With fewer than
    MIN_PAIRS pairs nothing can be told."""

    BETTER = "better"
    WORSE = "worse"
    UNTOLD = "can't be told"


@dataclass(frozen=True)
class Comparison:
    """An arm against another: its figure less the other's for each seed that both have, in the seeds' order."""

    arm: str
    against: str
    differences: Mapping[int, float]

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def mean(self) -> float | None:
        return fmean(self.differences.values()) if self.differences else None

    @property
    def interval(self) -> Interval | None:
        return bootstrap(list(self.differences.values()))

    @property
    def word(self) -> Word:
        return say(self.interval, self.n)


def compare_paired(arm: str, against: str, mine: Mapping[int, float], theirs: Mapping[int, float]) -> Comparison:
    """Two arms' figures by seed, held against each other where a seed has both."""
    return Comparison(arm, against, {seed: mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())})


def bootstrap(values: Sequence[float]) -> Interval | None:
    """The percentile bootstrap interval of the mean at LEVEL; None with fewer than two values. The same values in any
    order give the same interval."""
    if len(values) < 2:
        return None
    ordered, rng = sorted(values), Random(_SEED)
    return percentiles([fmean(rng.choices(ordered, k=len(ordered))) for _ in range(RESAMPLES)])


def say(interval: Interval | None, n_pairs: int) -> Word:
    """The word for an interval of `n_pairs` differences."""
    if interval is None or n_pairs < MIN_PAIRS or interval.low <= 0 <= interval.high:
        return Word.UNTOLD
    return Word.BETTER if interval.low > 0 else Word.WORSE

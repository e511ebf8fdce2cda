"""What paired seeds tell of two arms: the differences under the same seeds, and a bootstrap interval of their mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from metapo.intervals import Interval, mean_interval

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
        return mean_interval(list(self.differences.values()), seed=_SEED)

    @property
    def word(self) -> Word:
        return say(self.interval, self.n)


def compare_paired(arm: str, against: str, mine: Mapping[int, float], theirs: Mapping[int, float]) -> Comparison:
    """Two arms' figures by seed, held against each other where a seed has both."""
    return Comparison(arm, against, {seed: mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())})


def say(interval: Interval | None, n_pairs: int) -> Word:
    """The word for an interval of `n_pairs` differences."""
    if interval is None or n_pairs < MIN_PAIRS or interval.low <= 0 <= interval.high:
        return Word.UNTOLD
    return Word.BETTER if interval.low > 0 else Word.WORSE

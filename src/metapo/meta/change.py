"""What another rubric does to pairs of known order: how many it puts right, and how likely their scores make the order.

Judges slip, so some pairs change places under any other rubric. How often an equally good one would gain as much is
what the exact one-sided sign-flip test over the pairs says.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from metapo.meta.pairs import TIE

ONE_PAIR = 1.0  # a tie more or less is the judge's noise
SCORED_SHARE = 0.9  # of the pairs that the parent scores, a child scores so many: it is not examined on its own choice
LUCK = 0.02  # a gain counts that an equally good rubric would reach by luck no more often than that
GRAIN = 100  # steps to a nat
MISTAKEN = 0.05  # of the known orders may be wrong, so no pair is worth more than what is then lost
SCALES = tuple(2.0 ** (i / 4) for i in range(-4, 13))
"""Of the usual gap, in Bradley-Terry's units. None is much smaller: training turns wrong gaps into advantages too."""


class Move(NamedTuple):
    """By how much a pair's better completion, `of`, scored higher before and does after; below 0 it scores lower."""

    of: str
    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """What another rubric did to the order of the same pairs. `n_before` of them have verdicts under the parent."""

    moves: tuple[Move, ...]
    n_before: int

    @property
    def n(self) -> int:
        return len(self.moves)

    @property
    def gap(self) -> str:
        """What is wrong where the child scores too few of the pairs that its parent scores; else empty."""
        if self.n_before == 0 or self.n / self.n_before >= SCORED_SHARE:
            return ""
        return f"only {self.n} of the {self.n_before} pairs that the parent scores have verdicts"

    @property
    def share_before(self) -> float:
        """Of the pairs in the right order, a tie counting half."""
        return fmean(place(move.before) for move in self.moves)

    @property
    def share_after(self) -> float:
        return fmean(place(move.after) for move in self.moves)

    @property
    def fooled(self) -> tuple[float, float]:
        """Before and after: the share of pairs whose worse completion scores at least as high as the better one."""
        moves = self.moves
        return fmean(place(move.before) < 1 for move in moves), fmean(place(move.after) < 1 for move in moves)

    @property
    def up(self) -> float:
        """How many pairs moved towards the right order; from or to a tie is half a move."""
        return sum(max(0.0, place(move.after) - place(move.before)) for move in self.moves)

    @property
    def down(self) -> float:
        return sum(max(0.0, place(move.before) - place(move.after)) for move in self.moves)

    @property
    def worse(self) -> bool:
        return self.down - self.up >= ONE_PAIR

    @property
    def better(self) -> bool:
        """Did the known order become more likely, by more than luck, and are no fewer pairs in it?"""
        return self.up >= self.down and self.by_luck <= LUCK

    @property
    def hopeful(self) -> bool:
        """Is there a gain, but one that may be luck?"""
        return self.up >= self.down and self.likelier > 0 and not self.better

    @property
    def likelier(self) -> float:
        """By how much more likely the known order became, in nats per pair."""
        return fmean(self._gains) if self.moves else 0.0

    @property
    def by_luck(self) -> float:
        """How likely such a gain is for an equally good rubric. Pairs that share their better completion move as one:
        they share its verdicts, errors included."""
        steps: Counter[str] = Counter()
        for move, gain in zip(self.moves, self._gains, strict=True):
            steps[move.of] += round(GRAIN * gain)
        return by_luck(list(steps.values()))

    @property
    def _gains(self) -> list[float]:
        before, after = likelihoods([move.before for move in self.moves], [move.after for move in self.moves])
        return [a - b for b, a in zip(before, after, strict=True)]

    def joined(self, other: "Change") -> "Change":
        return Change(self.moves + other.moves, self.n_before + other.n_before)

    @property
    def told(self) -> str:
        return (
            f"{self.share_after:.1%} of {self.n} pairs in the right order, {self.share_before:.1%} before "
            f"({self.up:g} better, {self.down:g} worse)"
        )

    @property
    def weighed(self) -> str:
        more = "more" if self.likelier >= 0 else "less"
        luck = f"luck alone does that in {self.by_luck:.1%} of cases"
        return f"{self.told}; their order is {abs(self.likelier):.2f} nats {more} likely, {luck}"


def likelihoods(before: Sequence[float], after: Sequence[float]) -> tuple[list[float], list[float]]:
    """How likely each pair's known order is, as a logarithm, by the gaps before and by those after: what a
    Bradley-Terry model makes of the scores as abilities.

    Gaps of two rubrics have no unit in common, so both are measured by the usual gap before, and those after are scaled
    so that the usual pair's stays. How much a gap says is one number for both rubrics, the likeliest one: else each
    pair that is put right would speak for all others as well.
    """
    unit = _usual(before)
    scaled = [gap / unit for gap in before], [gap / (unit * _growth(before, after)) for gap in after]

    def of(scale: float) -> tuple[list[float], list[float]]:
        first, second = ([_likelihood(scale * gap) for gap in gaps] for gaps in scaled)
        return first, second

    return max(map(of, SCALES), key=lambda found: sum(found[0]) + sum(found[1]))


def _usual(gaps: Sequence[float]) -> float:
    """The median size of the gaps that are no ties."""
    return median([abs(gap) for gap in gaps if abs(gap) > TIE] or [1.0])


def _growth(before: Sequence[float], after: Sequence[float]) -> float:
    """How many times larger the gaps of the usual pair became, of those that kept their order."""
    kept = [a / b for b, a in zip(before, after, strict=True) if min(abs(a), abs(b)) > TIE and a * b > 0]
    return median(kept) if kept else _usual(after) / _usual(before)


def _likelihood(gap: float) -> float:
    """Mean logarithm of the chance of the known order, and of the other one where the known one is mistaken."""
    other = math.log1p(math.exp(-abs(gap)))
    return -(1 - MISTAKEN) * (other + max(0.0, -gap)) - MISTAKEN * (other + max(0.0, gap))


def by_luck(steps: Sequence[int]) -> float:
    """The chance of at least this sum if each step were as likely to go the other way: the exact one-sided sign-flip
    test, in (0, 1]; with steps of 1 alone the sign test."""
    chances = {0: 1.0}
    for step in filter(None, steps):
        flipped: defaultdict[int, float] = defaultdict(float)
        for total, chance in chances.items():
            flipped[total + step] += chance / 2
            flipped[total - step] += chance / 2
        chances = flipped
    return sum(chance for total, chance in chances.items() if total >= sum(steps))


def place(gap: float) -> float:
    """1 for the right order, 0.5 for a tie, 0 for the wrong one."""
    return 0.5 if abs(gap) <= TIE else float(gap > 0)

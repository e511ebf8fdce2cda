"""The bridge over a change of rubric: what it did to the rewards of one batch, and the scale that takes it back.

A new revision gives the same completions other rewards. `bridge` measures by how much, on one batch scored under both
revisions; `Bridge.scale` maps the new rewards onto the mean and spread of the old ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import overload

from pydantic import Field

from metapo.rubric import Frozen

MAX_FACTOR = 10.0


class Scale(Frozen):
    """value -> factor * value + shift. The factor is above 0, so a better reward stays better."""

    factor: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    shift: float = Field(default=0.0, allow_inf_nan=False)

    @overload
    def apply(self, value: float) -> float: ...
    @overload
    def apply(self, value: float | None) -> float | None: ...
    def apply(self, value: float | None) -> float | None:
        """None stays None."""
        return None if value is None else self.factor * value + self.shift


@dataclass(frozen=True)
class Bridge:
    """What a change of rubric did to the rewards of one batch: their mean and spread before and after.

    `n` completions had a reward under both rubrics, and only they count. A spread is the standard deviation of the
    population, over n.
    """

    n: int
    mean_before: float
    mean_after: float
    spread_before: float
    spread_after: float

    def scale(self, previous: Scale) -> Scale:
        """The scale for the new rubric, which gives the batch the mean and the spread that it had before.

        `previous` is the scale that both sides of the bridge were measured under. The spread is stretched or shrunk by
        `MAX_FACTOR` at most, as a rubric that hardly tells a batch apart would otherwise turn its noise into rewards,
        and left alone where either side has none; the mean is always met.
        """
        factor = self._factor
        shift = self.mean_before - factor * self.mean_after
        return Scale(factor=factor * previous.factor, shift=factor * previous.shift + shift)

    @property
    def _factor(self) -> float:
        if not self.spread_before or not self.spread_after:
            return 1.0
        return min(max(self.spread_before / self.spread_after, 1 / MAX_FACTOR), MAX_FACTOR)


def bridge(before: Sequence[float | None], after: Sequence[float | None]) -> Bridge | None:
    """From the rewards of the same completions in the same order; None where none has a reward under both rubrics.

    Raises ValueError where the lengths differ.
    """
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if b is not None and a is not None]
    if not pairs:
        return None
    old, new = [b for b, _ in pairs], [a for _, a in pairs]
    return Bridge(len(pairs), fmean(old), fmean(new), pstdev(old), pstdev(new))

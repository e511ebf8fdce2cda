"""Bootstrap intervals of a mean over rows, of which those of one prompt are drawn together."""

from collections.abc import Hashable, Sequence

from metapo.errors import MissingExtra
from metapo.intervals import LEVEL, Interval

RESAMPLES = 10_000
SEED = 0
_CELLS = 2_000_000  # drawn at once


def mean_interval(values: Sequence[float], groups: Sequence[Hashable] | None = None) -> Interval | None:
    """The percentile bootstrap interval of the mean at LEVEL; None with fewer than two groups.

    Rows of one group are drawn together, as completions of one prompt are no independent evidence; without `groups`
    each row is one. The same rows in another order give the same interval. Raises MissingExtra.
    """
    try:
        import numpy as np
    except ImportError as e:
        raise MissingExtra("eval", "an interval") from e

    sums: dict[Hashable, list[float]] = {}
    for group, value in zip(range(len(values)) if groups is None else groups, values, strict=True):
        sums.setdefault(group, []).append(value)
    if len(sums) < 2:
        return None
    totals, counts = np.array(sorted((sum(sorted(v)), float(len(v))) for v in sums.values())).T
    rng, means = np.random.default_rng(SEED), []
    n_at_once = max(1, _CELLS // len(totals))
    for start in range(0, RESAMPLES, n_at_once):
        drawn = rng.integers(0, len(totals), size=(min(n_at_once, RESAMPLES - start), len(totals)))
        means.append(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    outside = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(np.concatenate(means), [outside, 100 - outside])
    return Interval(float(low), float(high))

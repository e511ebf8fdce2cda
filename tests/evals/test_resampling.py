from random import Random
from statistics import quantiles

import pytest

from metapo.evals.resampling import clusters, resample
from metapo.intervals import Interval, percentiles


def test_percentiles_equal_those_of_the_standard_library() -> None:
    values = [Random(1).gauss(0, 1) for _ in range(200)]
    cuts = quantiles(values, n=40, method="inclusive")
    interval = percentiles(values)
    assert (interval.low, interval.high) == pytest.approx((cuts[0], cuts[-1]))
    assert percentiles([3.0]) == Interval(3, 3)
    with pytest.raises(ValueError, match="at least one"):
        percentiles([])


def test_clusters_keep_their_order() -> None:
    assert clusters("abcab", lambda c: c) == [["a", "a"], ["b", "b"], ["c"]]


def test_a_resample_is_as_large_and_repeats() -> None:
    drawn = resample(range(50), Random(0))
    assert len(drawn) == 50
    assert len(set(drawn)) < 50

import math
from itertools import product
from random import Random
from statistics import NormalDist, fmean, quantiles, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from metapo.intervals import Interval, mean_interval, percentiles, redraw, together
from tests.helpers import ends


def test_interval_of_many_is_that_of_the_normal_distribution() -> None:
    rng = Random(1)
    values = [rng.gauss(3, 2) for _ in range(1000)]
    half = NormalDist().inv_cdf(0.975) * stdev(values) / math.sqrt(len(values))
    assert ends(mean_interval(values)) == pytest.approx((fmean(values) - half, fmean(values) + half), abs=0.015)


def test_interval_is_that_of_scipy() -> None:
    values = [0.1, 0.9, 0.4, 0.4, 1.3, -0.2, 0.8, 0.0, 0.5, 0.7]
    theirs = bootstrap((values,), fmean, vectorized=False, method="percentile", rng=1).confidence_interval
    assert ends(mean_interval(values)) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_interval_is_that_of_all_resamples() -> None:
    values = (0.1, 0.15, 0.32, -0.04, 0.2)
    means = sorted(fmean(sample) for sample in product(values, repeat=5))
    low, high = means[round(0.025 * len(means))], means[round(0.975 * len(means)) - 1]
    assert ends(mean_interval(values)) == pytest.approx((low, high), abs=0.01)


def test_three_values_span_their_interval() -> None:
    # All resamples of one value make 1 in 27 of all, more than the 1 in 40 that lie outside on either side.
    assert ends(mean_interval([0.2, 0.1, 0.4])) == pytest.approx((0.1, 0.4))


def test_values_of_one_group_are_drawn_together() -> None:
    rng = Random(2)
    prompts = [rng.gauss(0, 1) for _ in range(100)]
    values, groups = [p for p in prompts for _ in range(8)], [i for i in range(100) for _ in range(8)]
    assert ends(mean_interval(values, groups)) == pytest.approx(ends(mean_interval(prompts)), abs=1e-9)
    apart, joint = ends(mean_interval(values)), ends(mean_interval(values, groups))
    assert (joint[1] - joint[0]) / (apart[1] - apart[0]) == pytest.approx(math.sqrt(8), rel=0.1)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 5)), min_size=2), st.randoms(use_true_random=False))
def test_order_is_irrelevant_and_the_interval_lies_among_the_values(rows: list[tuple[float, int]], rng: Random) -> None:
    found = mean_interval([v for v, _ in rows], [g for _, g in rows], resamples=500)
    shuffled = rng.sample(rows, len(rows))
    assert mean_interval([v for v, _ in shuffled], [g for _, g in shuffled], resamples=500) == found
    assert (found is None) == (len({g for _, g in rows}) < 2)
    if found is not None:
        assert min(v for v, _ in rows) - 1e-9 <= found.low <= found.high <= max(v for v, _ in rows) + 1e-9


def test_the_seed_decides_the_draws() -> None:
    values = [1 / i for i in range(1, 20)]
    assert mean_interval(values, resamples=50, seed=1) == mean_interval(values, resamples=50, seed=1)
    assert mean_interval(values, resamples=50, seed=1) != mean_interval(values, resamples=50, seed=2)


def test_nothing_is_said_of_one_or_without_resamples() -> None:
    assert mean_interval([]) is None
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 2.0], ["a", "a"]) is None
    assert mean_interval([1.0, 2.0], resamples=0) is None


def test_percentiles_equal_those_of_the_standard_library() -> None:
    rng = Random(1)
    values = [rng.gauss(0, 1) for _ in range(200)]
    cuts = quantiles(values, n=40, method="inclusive")
    interval = percentiles(values)
    assert (interval.low, interval.high) == pytest.approx((cuts[0], cuts[-1]))
    assert percentiles([3.0]) == Interval(3, 3)
    with pytest.raises(ValueError, match="at least one"):
        percentiles([])


def test_what_belongs_together_keeps_its_order() -> None:
    assert together("abcab", lambda c: c) == [["a", "a"], ["b", "b"], ["c"]]


def test_a_resample_is_as_large_and_repeats() -> None:
    once, again = redraw(range(50), 2, seed=0)
    assert len(once) == len(again) == 50
    assert len(set(once)) < 50
    assert once != again
    assert list(redraw(range(1), 2, seed=0)) == []

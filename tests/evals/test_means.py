import math
from random import Random
from statistics import NormalDist, fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.evals.means import mean_interval
from metapo.world.paired import bootstrap
from tests.helpers import ends


def test_interval_of_many_is_that_of_the_normal_distribution() -> None:
    rng = Random(1)
    values = [rng.gauss(3, 2) for _ in range(2000)]
    half = NormalDist().inv_cdf(0.975) * stdev(values) / math.sqrt(len(values))
    assert ends(mean_interval(values)) == pytest.approx((fmean(values) - half, fmean(values) + half), abs=0.01)


def test_interval_is_that_of_the_plain_bootstrap() -> None:
    values = [0.1, 0.9, 0.4, 0.4, 1.3, -0.2, 0.8, 0.0, 0.5, 0.7]
    assert ends(mean_interval(values)) == pytest.approx(ends(bootstrap(values)), abs=0.02)


def test_rows_of_one_group_are_drawn_together() -> None:
    rng = Random(2)
    prompts = [rng.gauss(0, 1) for _ in range(100)]
    values, groups = [p for p in prompts for _ in range(8)], [i for i in range(100) for _ in range(8)]
    assert ends(mean_interval(values, groups)) == pytest.approx(ends(mean_interval(prompts)), abs=1e-9)
    apart, together = mean_interval(values), mean_interval(values, groups)
    assert apart is not None
    assert together is not None
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(math.sqrt(8), rel=0.1)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 5)), min_size=2), st.randoms(use_true_random=False))
def test_order_is_irrelevant_and_the_mean_of_equal_groups_lies_inside(
    rows: list[tuple[float, int]], rng: Random
) -> None:
    found = mean_interval([v for v, _ in rows], [g for _, g in rows])
    shuffled = rng.sample(rows, len(rows))
    assert mean_interval([v for v, _ in shuffled], [g for _, g in shuffled]) == found
    assert (found is None) == (len({g for _, g in rows}) < 2)
    if found is not None:
        assert min(v for v, _ in rows) - 1e-9 <= found.low <= found.high <= max(v for v, _ in rows) + 1e-9


def test_nothing_is_said_of_one() -> None:
    assert mean_interval([]) is None
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, 2.0], ["a", "a"]) is None

"""Paired differences: known intervals, and the words that follow from them."""

from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.intervals import Interval
from metapo.world.paired import Word, bootstrap, compare_paired, say
from tests.helpers import ends

figures = st.floats(-1, 1).map(lambda x: round(x, 3))


def test_only_seeds_that_both_have_are_paired() -> None:
    found = compare_paired("mpo", "iter0", {3: 0.6, 1: 0.5, 2: 0.7}, {1: 0.1, 2: 0.4, 9: 0.9})
    assert dict(found.differences) == pytest.approx({1: 0.4, 2: 0.3})
    assert list(found.differences) == [1, 2]
    assert found.n == 2
    assert found.mean == pytest.approx(0.35)
    assert found.word is Word.UNTOLD


def test_without_a_common_seed_there_is_nothing() -> None:
    found = compare_paired("mpo", "iter0", {1: 0.5}, {2: 0.5})
    assert (found.n, found.mean, found.interval, found.word) == (0, None, None, Word.UNTOLD)


def test_three_values_span_their_interval() -> None:
    # All resamples of one value make 1 in 27 of all, more than the 1 in 40 that lie outside on either side.
    assert ends(bootstrap([0.2, 0.1, 0.4])) == pytest.approx((0.1, 0.4))


def test_the_interval_is_that_of_all_resamples() -> None:
    values = (0.1, 0.15, 0.32, -0.04, 0.2)
    means = sorted(fmean(sample) for sample in product(values, repeat=5))
    low, high = means[round(0.025 * len(means))], means[round(0.975 * len(means)) - 1]
    assert ends(bootstrap(values)) == pytest.approx((low, high), abs=0.01)


@given(st.lists(figures, min_size=2, max_size=6))
def test_order_is_irrelevant_and_the_interval_lies_among_the_values(values: list[float]) -> None:
    found = bootstrap(values)
    assert found is not None
    assert found == bootstrap(values[::-1])
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


@pytest.mark.parametrize("values", [[], [0.3]])
def test_one_value_has_no_interval(values: list[float]) -> None:
    assert bootstrap(values) is None


@pytest.mark.parametrize(
    ("interval", "n", "word"),
    [
        (Interval(0.01, 0.2), 5, Word.BETTER),
        (Interval(0.01, 0.2), 3, Word.BETTER),
        (Interval(0.01, 0.2), 2, Word.UNTOLD),
        (Interval(-0.2, -0.01), 3, Word.WORSE),
        (Interval(-0.2, 0.01), 5, Word.UNTOLD),
        (Interval(0.0, 0.2), 5, Word.UNTOLD),
        (Interval(-0.2, 0.0), 5, Word.UNTOLD),
        (None, 1, Word.UNTOLD),
    ],
)
def test_the_word_follows_from_the_interval(interval: Interval | None, n: int, word: Word) -> None:
    assert say(interval, n) is word

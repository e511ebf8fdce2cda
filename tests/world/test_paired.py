"""Paired differences: known intervals, and the words that follow from them."""

import pytest

from metapo.intervals import Interval
from metapo.world.paired import Word, compare_paired, say


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

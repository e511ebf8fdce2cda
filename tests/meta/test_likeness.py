from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.meta import likeness as module
from metapo.meta.likeness import ALIKE, SHORT, likeness, new_share, shingles, without_duplicates
from metapo.rollout import Rollout
from tests.audit.essays import CHINESE, ESSAY
from tests.helpers import odd_texts

WORDS = [f"word{i}" for i in range(400)]


def changed(n: int, words: list[str] = WORDS) -> str:
    """The words as a text, `n` of them, far from each other, replaced."""
    gap = len(words) // max(n, 1)
    return " ".join("other" + w if n and i % gap == gap // 2 and i // gap < n else w for i, w in enumerate(words))


def test_shingles_are_runs_of_three_tokens_of_any_case() -> None:
    assert shingles("The cat sat. ") == {("the", "cat", "sat"), ("cat", "sat", ".")}
    assert shingles("Yes!") == {("yes", "!")}
    assert shingles(" \n") == frozenset()
    assert shingles("x^2 = 4") != shingles("x^2 = 5")
    assert len(shingles(CHINESE)) > 0.8 * len(set(zip(CHINESE, CHINESE[1:], CHINESE[2:], strict=False)))


def test_likeness_is_jaccard() -> None:
    assert likeness({1, 2, 3}, {2, 3, 4}) == 0.5
    assert likeness({1}, {2}) == 0.0
    assert likeness(frozenset(), frozenset()) == 1.0


def test_a_few_changed_words_make_a_duplicate_and_many_do_not() -> None:
    # n words far apart change 3n of 398 shingles on either side: (398 - 3n) / (398 + 3n)
    assert likeness(shingles(changed(0)), shingles(changed(23))) == pytest.approx(329 / 467)
    rollouts = [Rollout(prompt="p", completion=changed(n)) for n in (0, 23, 24)]
    assert without_duplicates(rollouts) == [0, 2]


def test_long_completions_repeat_each_other_on_any_prompt_and_short_ones_on_the_same() -> None:
    rollouts = [
        Rollout(prompt="p", completion=ESSAY),
        Rollout(prompt="q", completion=ESSAY.upper()),
        Rollout(prompt="p", completion="42"),
        Rollout(prompt="q", completion="42"),
        Rollout(prompt="q", completion=" 42 "),
        Rollout(prompt="q", completion="43"),
        Rollout(prompt="p", completion=""),
        Rollout(prompt="q", completion=" "),
    ]
    assert without_duplicates(rollouts) == [0, 2, 3, 5, 6]


@pytest.mark.parametrize(("n", "kept"), [(SHORT + 1, [0, 1]), (SHORT + 2, [0])])
def test_short_is_a_number_of_shingles(n: int, kept: list[int]) -> None:
    text = " ".join(WORDS[:n])
    assert without_duplicates([Rollout(prompt=p, completion=text) for p in "pq"]) == kept


def test_new_share_counts_shingles() -> None:
    known = shingles("a b c d")
    assert new_share("a b c d", known) == 0.0
    assert new_share("a b c d e", known) == pytest.approx(1 / 3)
    assert new_share("x", known) == 1.0
    assert new_share("", known) == 0.0


small_sets = st.frozensets(st.integers(0, 12), max_size=10)


@given(st.lists(small_sets, max_size=25))
def test_only_what_cannot_be_alike_is_left_uncompared(sets: list[frozenset[int]]) -> None:
    kept: list[int] = []
    for i, own in enumerate(sets):
        if all(likeness(own, sets[j]) < ALIKE for j in kept):
            kept.append(i)
    assert module._distinct(sets) == kept


@given(st.lists(st.tuples(st.sampled_from("pq"), odd_texts), max_size=12), st.integers(0, 9))
def test_repeating_rollouts_adds_nothing(drawn: list[tuple[str, str]], seed: int) -> None:
    rollouts = [Rollout(prompt=p, completion=c) for p, c in drawn]
    again = Random(seed).sample(rollouts, len(rollouts))
    assert without_duplicates(rollouts + again) == without_duplicates(rollouts)

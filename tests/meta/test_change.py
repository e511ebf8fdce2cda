"""Changes of order: what is more likely, by more than luck."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.meta.change import LUCK, MISTAKEN, Change, Move, by_luck, likelihoods

EVEN = math.log(0.5)
GAPS = st.lists(st.floats(-1, 1).filter(lambda gap: gap == 0 or abs(gap) > 0.01), min_size=1, max_size=30)


def chances(*gaps: float) -> list[float]:
    return likelihoods(gaps, gaps)[1]


def test_a_right_order_is_likelier_than_a_tie_and_a_wrong_one_less_likely() -> None:
    right, *_, tied, wrong = chances(1, 1, 1, 0, -1)
    assert right > tied > wrong
    assert tied == EVEN
    assert chances(0, 0) == [EVEN, EVEN]
    assert chances() == []


def test_a_wide_gap_is_likelier_than_a_narrow_one() -> None:
    wide, narrow, *_ = chances(0.4, 0.1, -0.1)
    assert wide > narrow > EVEN


def test_no_pair_is_worth_more_than_a_mistaken_one_would_cost() -> None:
    bound = (1 - MISTAKEN) * math.log(1 - MISTAKEN) + MISTAKEN * math.log(MISTAKEN)
    assert all(EVEN < chance <= bound + 1e-9 for chance in chances(*[1.0] * 50))


def test_a_pair_that_is_put_right_says_nothing_about_the_others() -> None:
    before, after = likelihoods([*[1.0] * 19, -1.0], [1.0] * 20)
    assert before[:19] == after[:19]
    assert after[19] > before[19]


@given(GAPS, st.floats(0.01, 100))
def test_the_scale_of_scores_makes_no_difference(gaps: list[float], scale: float) -> None:
    before, after = likelihoods(gaps, [scale * gap for gap in gaps])
    assert after == pytest.approx(before, abs=1e-4)


def change(*gaps: tuple[float, float]) -> Change:
    """Pairs of completions of their own, with their gaps before and after, and twenty that stay."""
    stay = [(1.0, 1.0)] * 20
    return Change(tuple(Move(str(i), *gap) for i, gap in enumerate([*gaps, *stay])), len(gaps) + 20)


def test_a_clearer_order_of_the_same_pairs_is_better() -> None:
    assert change(*[(0.2, 1.0)] * 6).better
    assert not change(*[(0.2, 1.0)] * 5).better, "five gains in a row are luck in one case of 32"
    assert not change(*[(0.2, 1.0)] * 6, (1.0, 0.2)).better
    assert not change().better
    assert change(*[(0.2, 1.0)] * 6).likelier > 0 > change(*[(1.0, 0.2)] * 6).likelier


def test_fewer_pairs_in_the_right_order_are_never_better() -> None:
    lost = change(*[(0.2, 1.0)] * 20, (0.01, -0.01))
    assert lost.by_luck < LUCK
    assert not lost.better


def test_pairs_of_one_completion_move_as_one() -> None:
    moves = tuple(Move("the same", 0.2, 1.0) for _ in range(9))
    stay = change().moves
    assert Change((*moves, *stay), 29).by_luck == 0.5


def test_joined_pairs_are_weighed_together() -> None:
    gains, losses = change(*[(0.2, 1.0)] * 6), change((1.0, -1.0))
    assert gains.better
    assert not gains.joined(losses).better


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_luck_agrees_with_trying_every_way(steps: list[int]) -> None:
    sums = [
        sum(sign * step for sign, step in zip(signs, steps, strict=True))
        for signs in product((1, -1), repeat=len(steps))
    ]
    assert math.isclose(by_luck(steps), sum(s >= sum(steps) for s in sums) / len(sums))


def test_luck_of_equal_steps_is_the_sign_test() -> None:
    assert by_luck([1] * 8 + [-1] * 2) == 56 / 1024
    assert by_luck([2] * 6) == 1 / 64 < LUCK < by_luck([2] * 5)
    assert by_luck([]) == 1.0

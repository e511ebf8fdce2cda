"""The bridge over a change of rubric: means and spreads on one batch, and the scale that restores them."""

from itertools import pairwise
from math import fsum, sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from metapo.scale import MAX_FACTOR, Bridge, Scale, bridge

VALUES = st.floats(-50, 50)
PAIRS = st.lists(st.tuples(st.none() | VALUES, st.none() | VALUES), max_size=20)
BATCHES = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20)
SCALES = st.builds(Scale, factor=st.floats(0.01, 100), shift=st.floats(-100, 100))


def naive(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of the population, from the definition."""
    mean = fsum(values) / len(values)
    return mean, sqrt(fsum((v - mean) ** 2 for v in values) / len(values))


def measured(before: list[float], after: list[float]) -> Bridge:
    found = bridge(before, after)
    assert found is not None
    return found


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-6, abs=1e-6)


# --- what a change of rubric did


def test_a_published_example() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9 is the textbook's: mean 5, standard deviation of the population 2."""
    before = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    after = [v / 4 - 1 for v in before]
    assert bridge(before, after) == Bridge(8, 5.0, 0.25, 2.0, 0.5)
    assert measured(before, after).scale(Scale()) == Scale(factor=4.0, shift=4.0)


def test_only_completions_with_both_rewards_count() -> None:
    assert bridge([1.0, None, 3.0, 9.0], [0.5, 0.1, 0.7, None]) == Bridge(2, 2.0, 0.6, 1.0, pytest.approx(0.1))
    assert bridge([None, 1.0], [1.0, None]) is None
    assert bridge([], []) is None


def test_the_two_sides_are_the_same_completions() -> None:
    with pytest.raises(ValueError, match="zip"):
        bridge([1.0, 2.0], [1.0])


@given(PAIRS)
def test_means_and_spreads_agree_with_a_naive_twin(pairs: list[tuple[float | None, float | None]]) -> None:
    both = [(b, a) for b, a in pairs if b is not None and a is not None]
    found = bridge([b for b, _ in pairs], [a for _, a in pairs])
    if found is None:
        assert not both
        return
    (mean_before, spread_before), (mean_after, spread_after) = naive([b for b, _ in both]), naive([a for _, a in both])
    assert found.n == len(both)
    assert (found.mean_before, found.mean_after) == (close(mean_before), close(mean_after))
    assert (found.spread_before, found.spread_after) == (close(spread_before), close(spread_after))


# --- the scale that takes it back


@given(BATCHES, SCALES)
def test_the_batch_has_its_old_mean_and_spread_again(batch: list[tuple[float, float]], previous: Scale) -> None:
    """Both sides are measured under the scale in force, as a run does it."""
    before = [_applied(previous, b) for b, _ in batch]
    found = measured(before, [_applied(previous, a) for _, a in batch])
    restored = [_applied(found.scale(previous), a) for _, a in batch]
    assert naive(restored)[0] == close(found.mean_before)
    assume(found.spread_before > 1e-6 and found.spread_after > 1e-6)
    assume(1 / MAX_FACTOR <= found.spread_before / found.spread_after <= MAX_FACTOR)
    assert naive(restored) == (close(naive(before)[0]), close(naive(before)[1]))


@given(BATCHES, SCALES)
def test_a_better_reward_stays_better(batch: list[tuple[float, float]], previous: Scale) -> None:
    scale = measured([b for b, _ in batch], [a for _, a in batch]).scale(previous)
    assert previous.factor / MAX_FACTOR * (1 - 1e-9) <= scale.factor <= previous.factor * MAX_FACTOR * (1 + 1e-9)
    restored = [_applied(scale, a) for a in sorted(a for _, a in batch)]
    assert all(a <= b for a, b in pairwise(restored))


@given(BATCHES, SCALES)
def test_a_rubric_that_changes_no_reward_changes_no_scale(batch: list[tuple[float, float]], previous: Scale) -> None:
    same = [b for b, _ in batch]
    scale = measured(same, same).scale(previous)
    assert (scale.factor, scale.shift) == (pytest.approx(previous.factor), close(previous.shift))


@pytest.mark.parametrize(
    ("before", "after"),
    [([0.5, 0.5], [0.1, 0.7]), ([0.1, 0.7], [0.5, 0.5]), ([0.5, 0.5], [0.2, 0.2]), ([0.5], [0.2])],
)
def test_where_a_side_has_no_spread_only_the_mean_is_met(before: list[float], after: list[float]) -> None:
    scale = measured(before, after).scale(Scale(factor=2.0))
    assert scale.factor == 2.0
    assert naive([_applied(scale, a / 2) for a in after])[0] == pytest.approx(naive(before)[0])


@pytest.mark.parametrize(("spread_before", "spread_after", "factor"), [(1.0, 1e-12, MAX_FACTOR), (1e-12, 1.0, 0.1)])
def test_noise_is_not_blown_up(spread_before: float, spread_after: float, factor: float) -> None:
    scale = Bridge(8, 0.5, 0.9, spread_before, spread_after).scale(Scale())
    assert scale.factor == factor
    assert scale.apply(0.9) == pytest.approx(0.5)


def test_a_scale_leaves_none_alone_and_changes_nothing_by_default() -> None:
    assert [Scale().apply(v) for v in (None, 0.0, -1.5)] == [None, 0.0, -1.5]
    assert [Scale(factor=2.0, shift=-1.0).apply(v) for v in (None, 0.0, 3.0)] == [None, -1.0, 5.0]


@pytest.mark.parametrize(
    "wrong", [{"factor": 0.0}, {"factor": -1.0}, {"factor": float("inf")}, {"shift": float("nan")}]
)
def test_a_scale_that_turns_or_loses_rewards_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Scale.model_validate(wrong)


def _applied(scale: Scale, value: float) -> float:
    found = scale.apply(value)
    assert found is not None
    return found

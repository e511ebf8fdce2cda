from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.reward import AGGREGATES, Part, normalized, raw_sum
from metapo.rubric import Outcome, Reason, Rubric, Verdict
from tests.helpers import criterion, judged, rubric, unscored, verdict

TWO = rubric(criterion("depth", (0, 2, 5), weight=2.0), criterion("flattery", (-4, 0)))


# --- examples by hand


@pytest.mark.parametrize(
    ("depth", "flattery", "raw", "in_range"),
    [
        (0, -4, -4.0, 0.0),
        (5, 0, 10.0, 1.0),
        (2, 0, 4.0, 8 / 14),
        (2, -4, 0.0, 4 / 14),
    ],
)
def test_by_hand(depth: int, flattery: int, raw: float, in_range: float) -> None:
    outcomes = [verdict("depth", depth), verdict("flattery", flattery)]
    reward = normalized(TWO, outcomes)
    assert (reward.raw, reward.normalized) == (pytest.approx(raw), pytest.approx(in_range))
    assert reward.value == reward.normalized
    assert reward.parts == (
        Part("depth", depth, pytest.approx(depth / 5)),
        Part("flattery", flattery, pytest.approx((flattery + 4) / 4)),
    )
    assert raw_sum(TWO, outcomes) == reward._replace(value=reward.raw)


def test_aggregates_by_name() -> None:
    outcomes = [verdict("depth", 2), verdict("flattery", 0)]
    values = {name: aggregate(TWO, outcomes).value for name, aggregate in AGGREGATES.items()}
    assert values == {"normalized": pytest.approx(8 / 14), "raw_sum": pytest.approx(4.0)}


# --- an independent witness


def twin(r: Rubric, verdicts: list[Verdict]) -> tuple[Fraction, Fraction]:
    """Raw sum and place in range, in exact arithmetic: how far above each criterion's worst level."""
    raw = gained = possible = Fraction(0)
    for c in r.criteria:
        [points] = [v.points for v in verdicts if v.criterion_id == c.id]
        on_offer = [level.points for level in c.levels]
        raw += Fraction(c.weight) * points
        gained += Fraction(c.weight) * (points - min(on_offer))
        possible += Fraction(c.weight) * (max(on_offer) - min(on_offer))
    return raw, gained / possible


@given(judged())
def test_the_arithmetic_agrees_with_a_naive_twin(case: tuple[Rubric, list[Verdict]]) -> None:
    r, verdicts = case
    raw, in_range = twin(r, verdicts)
    reward = normalized(r, verdicts)
    assert reward.raw == pytest.approx(float(raw), abs=1e-9)
    assert reward.normalized == pytest.approx(float(in_range), abs=1e-9)


# --- properties


@given(judged())
def test_rewards_stay_in_range(case: tuple[Rubric, list[Verdict]]) -> None:
    r, verdicts = case
    in_range, raw = normalized(r, verdicts).value, raw_sum(r, verdicts).value
    assert in_range is not None
    assert raw is not None
    assert 0 <= in_range <= 1
    assert r.min_points <= raw <= r.max_points


@given(judged())
def test_the_ends_of_the_range_are_reached(case: tuple[Rubric, list[Verdict]]) -> None:
    r, _ = case
    worst = [verdict(c.id, c.min_points) for c in r.criteria]
    best = [verdict(c.id, c.max_points) for c in r.criteria]
    assert (normalized(r, worst).value, normalized(r, best).value) == (0.0, 1.0)
    assert (raw_sum(r, worst).value, raw_sum(r, best).value) == (r.min_points, r.max_points)


@given(judged(), st.randoms())
def test_criterion_order_is_irrelevant(case: tuple[Rubric, list[Verdict]], rng: Random) -> None:
    r, verdicts = case
    shuffled = list(r.criteria)
    rng.shuffle(shuffled)
    for aggregate in AGGREGATES.values():
        reward = aggregate(r, verdicts)
        assert aggregate(r, verdicts[::-1]) == reward
        other = aggregate(Rubric(criteria=tuple(shuffled)), verdicts)
        assert other.value == reward.value
        assert sorted(other.parts) == sorted(reward.parts)


@given(judged(), st.data())
def test_a_better_level_earns_more(case: tuple[Rubric, list[Verdict]], data: st.DataObject) -> None:
    r, verdicts = case
    place = data.draw(st.integers(0, len(verdicts) - 1))
    steps = [
        [*verdicts[:place], verdict(r.criteria[place].id, level.points), *verdicts[place + 1 :]]
        for level in r.criteria[place].levels
    ]
    for aggregate in AGGREGATES.values():
        values = [aggregate(r, step).value for step in steps]
        assert all(a < b for a, b in pairwise(values)), values  # type: ignore[operator]


@given(judged(), st.integers(1, 5), st.lists(st.integers(-300, 300), min_size=4, max_size=4))
def test_rescaled_points_change_no_normalized_reward(
    case: tuple[Rubric, list[Verdict]], factor: int, shifts: list[int]
) -> None:
    """One factor for the whole rubric, a shift for each criterion."""
    r, verdicts = case
    moved = tuple(
        criterion(c.id, tuple(factor * level.points + shift for level in c.levels), c.weight)
        for c, shift in zip(r.criteria, shifts, strict=False)
    )
    again = [verdict(v.criterion_id, factor * v.points + s) for v, s in zip(verdicts, shifts, strict=False)]
    assert normalized(Rubric(criteria=moved), again).value == pytest.approx(normalized(r, verdicts).value, abs=1e-9)


@given(judged(), st.floats(0.1, 10))
def test_only_relative_weights_matter_when_normalized(case: tuple[Rubric, list[Verdict]], factor: float) -> None:
    r, verdicts = case
    heavier = Rubric(criteria=tuple(c.model_copy(update={"weight": c.weight * factor}) for c in r.criteria))
    assert normalized(heavier, verdicts).value == pytest.approx(normalized(r, verdicts).value, abs=1e-9)
    assert raw_sum(heavier, verdicts).value == pytest.approx(raw_sum(r, verdicts).value * factor, abs=1e-6)  # type: ignore[operator]


@given(judged(), st.data())
def test_one_unscored_criterion_leaves_no_reward(case: tuple[Rubric, list[Verdict]], data: st.DataObject) -> None:
    """Never 0.0, never the mean of the others; what was judged stays in the parts."""
    r, verdicts = case
    failed = data.draw(st.sets(st.sampled_from([c.id for c in r.criteria]), min_size=1))
    reason = data.draw(st.sampled_from(Reason))
    outcomes: list[Outcome] = [unscored(v.criterion_id, reason) if v.criterion_id in failed else v for v in verdicts]
    for aggregate in AGGREGATES.values():
        reward = aggregate(r, outcomes)
        assert (reward.value, reward.normalized, reward.raw) == (None, None, None)
        full = aggregate(r, verdicts).parts
        assert reward.parts == tuple(Part(p.criterion_id, None, None) if p.criterion_id in failed else p for p in full)


@pytest.mark.parametrize("weights", [(1e6, 1e-6), (5e-324, 5e-324), (1e6, 1e6), (5e-324, 1e6)])
def test_extreme_weights_are_still_numbers(weights: tuple[float, float]) -> None:
    a, b = weights
    r = rubric(criterion("a", (-1000, 1000), weight=a), criterion("b", (-1000, 1000), weight=b))
    low, high = [verdict("a", -1000), verdict("b", -1000)], [verdict("a", 1000), verdict("b", 1000)]
    assert [normalized(r, outcomes).value for outcomes in (low, high)] == [0.0, 1.0]


# --- outcomes that don't belong to the rubric


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [verdict("depth", 2)],
        [verdict("depth", 2), verdict("beauty", 0)],
        [verdict("depth", 2), verdict("flattery", 0), verdict("beauty", 0)],
        [verdict("depth", 2), verdict("depth", 5), verdict("flattery", 0)],
        [verdict("depth", 2), unscored("depth"), verdict("flattery", 0)],
    ],
)
def test_exactly_one_outcome_per_criterion(outcomes: list[Outcome]) -> None:
    with pytest.raises(ValueError, match="one outcome per criterion is needed") as caught:
        normalized(TWO, outcomes)
    assert str(["depth", "flattery"]) in str(caught.value)
    assert str([o.criterion_id for o in outcomes]) in str(caught.value)


@pytest.mark.parametrize("points", [3, -1, 6])
def test_points_that_no_level_has_are_refused(points: int) -> None:
    with pytest.raises(ValueError, match=rf"'depth' has no level of {points} points; it has \[0, 2, 5\]"):
        normalized(TWO, [verdict("depth", points), verdict("flattery", 0)])


def test_levels_between_the_ends_set_no_scale() -> None:
    coarse, fine = criterion("a", (0, 10)), criterion("a", (0, 1, 9, 10))
    assert normalized(rubric(coarse), [verdict("a", 10)]).value == normalized(rubric(fine), [verdict("a", 10)]).value

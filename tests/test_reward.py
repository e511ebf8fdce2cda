import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.reward import AGGREGATES, Aggregate, Part, conjunctive, drop_criteria, masked, normalized, raw_sum
from metapo.rubric import Criterion, Outcome, Polarity, Reason, Rubric, Verdict
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
    assert values == {
        "normalized": pytest.approx(8 / 14),
        "raw_sum": pytest.approx(4.0),
        "conjunctive": pytest.approx(2 / 5),
    }


CLAUSES = rubric(
    criterion("depth", (0, 2, 5), weight=2.0),
    criterion("style", (0, 10)),
    criterion("flattery", (-4, -1, 0)),
    criterion("padding", (-2, -1, 0), weight=2.0),
)


@pytest.mark.parametrize(
    ("depth", "style", "flattery", "padding", "value"),
    [
        (5, 10, 0, 0, 1.0),
        (5, 10, -1, 0, 19 / 20),
        (5, 10, 0, -1, (19 / 20) ** 2),  # weight 2
        (5, 10, -1, -1, (19 / 20) ** 3),
        (5, 0, 0, 0, 10 / 20),  # points and weights among the positive ones are those of the sum
        (2, 10, -1, 0, 14 / 20 * 19 / 20),
        (5, 10, -4, 0, 16 / 20),
        (2, 0, -4, 0, 4 / 20 * 16 / 20),  # where little was earned, little is lost
        (0, 0, 0, 0, 0.0),
    ],
)
def test_nothing_makes_up_for_a_failure(depth: int, style: int, flattery: int, padding: int, value: float) -> None:
    outcomes = [
        *(verdict("depth", depth), verdict("style", style)),
        *(verdict("flattery", flattery), verdict("padding", padding)),
    ]
    reward = conjunctive(CLAUSES, outcomes)
    assert reward.value == pytest.approx(value)
    assert reward._replace(value=reward.normalized) == normalized(CLAUSES, outcomes), "the rest is for people"


def test_the_best_level_of_a_failure_clause_need_not_be_worth_nothing() -> None:
    r = rubric(criterion("depth", (0, 5)), criterion("flattery", (-5, -3)))
    assert conjunctive(r, [verdict("depth", 5), verdict("flattery", -3)]).value == 1.0


def test_a_clause_that_deducts_all_that_is_offered_fails_alone() -> None:
    r = rubric(criterion("depth", (0, 5)), criterion("flattery", (-5, -1, 0)), criterion("padding", (-9, 0)))
    assert conjunctive(r, [verdict("depth", 5), verdict("flattery", -5), verdict("padding", 0)]).value == 0.0
    assert conjunctive(r, [verdict("depth", 5), verdict("flattery", 0), verdict("padding", -9)]).value == 0.0
    assert conjunctive(r, [verdict("depth", 5), verdict("flattery", -1), verdict("padding", 0)]).value == 4 / 5


def test_failure_clauses_alone_are_summed() -> None:
    r = rubric(criterion("flattery", (-4, -1, 0)), criterion("padding", (-2, -1, 0)))
    for points in ((0, 0), (-1, -1), (-4, -2)):
        verdicts = [verdict("flattery", points[0]), verdict("padding", points[1])]
        assert conjunctive(r, verdicts) == normalized(r, verdicts)


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


@given(judged())
def test_the_product_agrees_with_a_naive_twin(case: tuple[Rubric, list[Verdict]]) -> None:
    """Exact sums over the positive criteria, and the failures as a sum of logarithms."""
    r, verdicts = case
    good = [c for c in r.criteria if c.polarity is Polarity.POSITIVE]
    if not good:
        return
    share = twin(Rubric(criteria=tuple(good)), verdicts)[1]
    offered = sum(Fraction(c.weight) * (c.levels[-1].points - c.levels[0].points) for c in good)
    log_of_factors = 0.0
    for c in r.criteria:
        if c.polarity is Polarity.NEGATIVE:
            [points] = [v.points for v in verdicts if v.criterion_id == c.id]
            left = 1 - (c.levels[-1].points - points) / offered
            log_of_factors += c.weight * math.log(left) if left > 0 else -math.inf
    expected = float(share) * math.exp(log_of_factors)
    assert conjunctive(r, verdicts).value == pytest.approx(expected, rel=1e-6, abs=1e-9)


# --- properties


@given(judged())
def test_rewards_stay_in_range(case: tuple[Rubric, list[Verdict]]) -> None:
    r, verdicts = case
    in_range, raw, product = (aggregate(r, verdicts).value for aggregate in (normalized, raw_sum, conjunctive))
    assert in_range is not None
    assert raw is not None
    assert product is not None
    assert 0 <= in_range <= 1
    assert 0 <= product <= 1
    assert r.min_points <= raw <= r.max_points


@given(judged())
def test_the_ends_of_the_range_are_reached(case: tuple[Rubric, list[Verdict]]) -> None:
    r, _ = case
    worst = [verdict(c.id, c.min_points) for c in r.criteria]
    best = [verdict(c.id, c.max_points) for c in r.criteria]
    for aggregate in (normalized, conjunctive):
        assert (aggregate(r, worst).value, aggregate(r, best).value) == (0.0, 1.0)
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


def test_three_failure_clauses_give_the_same_in_any_order() -> None:
    """Multiplied as they come, 0.1, 0.3 and 0.7 differ in the last bit."""
    clauses = [criterion("depth", (0, 10)), *(criterion(f"c{-points}", (-10, points, 0)) for points in (-9, -7, -3))]
    verdicts = [verdict("depth", 10), *(verdict(c.id, c.levels[1].points) for c in clauses[1:])]
    assert len({conjunctive(rubric(*order), verdicts).value for order in permutations(clauses)}) == 1


@given(judged(), st.data())
def test_a_better_level_earns_more(case: tuple[Rubric, list[Verdict]], data: st.DataObject) -> None:
    """Under failure clauses too, as long as nothing else takes everything."""
    r, verdicts = case
    place = data.draw(st.integers(0, len(verdicts) - 1))
    steps = [
        [*verdicts[:place], verdict(r.criteria[place].id, level.points), *verdicts[place + 1 :]]
        for level in r.criteria[place].levels
    ]
    for aggregate in AGGREGATES.values():
        values = [aggregate(r, step).value for step in steps]
        if aggregate is conjunctive:  # once everything is lost, nothing more can be
            assert all(a < b or a == b == 0 for a, b in pairwise(values)), values  # type: ignore[operator]
        else:
            assert all(a < b for a, b in pairwise(values)), values  # type: ignore[operator]


@given(judged(), st.data())
def test_a_weight_of_two_counts_as_two_criteria(case: tuple[Rubric, list[Verdict]], data: st.DataObject) -> None:
    r, verdicts = case
    place = data.draw(st.integers(0, len(verdicts) - 1))
    one = r.criteria[place]
    heavy = one.model_copy(update={"weight": 2 * one.weight})
    again = one.model_copy(update={"id": "the-same-once-more"})
    others = tuple(c for c in r.criteria if c is not one)
    for aggregate in AGGREGATES.values():
        once = aggregate(Rubric(criteria=(heavy, *others)), verdicts)
        twice = aggregate(
            Rubric(criteria=(one, again, *others)), [*verdicts, verdict(again.id, verdicts[place].points)]
        )
        assert once.value == pytest.approx(twice.value, rel=1e-9, abs=1e-9)


@given(judged())
def test_without_negative_criteria_a_product_is_the_sum(case: tuple[Rubric, list[Verdict]]) -> None:
    r, verdicts = case
    good = tuple(c.model_copy(update={"polarity": Polarity.POSITIVE}) for c in r.criteria)
    assert conjunctive(Rubric(criteria=good), verdicts) == normalized(Rubric(criteria=good), verdicts)


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
    clauses = rubric(criterion("a", (0, 1000), weight=a), criterion("b", (-1000, 0), weight=b))
    nothing, everything = [verdict("a", 0), verdict("b", -1000)], [verdict("a", 1000), verdict("b", 0)]
    assert [conjunctive(clauses, outcomes).value for outcomes in (nothing, everything)] == [0.0, 1.0]


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


# --- dropout

SEEDS = st.integers(0, 1000)
SHARES = st.floats(0, 1, exclude_max=True)


def many(n: int, n_pinned: int = 0) -> Rubric:
    """`n` criteria of which the first are pinned; every other one is negative, and the weights tell them apart."""
    points = ((0, 1), (-1, 0))
    made = [criterion(f"c{i}", points[i % 2], weight=2.0**i) for i in range(n)]
    return rubric(*(c.model_copy(update={"pinned": i < n_pinned}) for i, c in enumerate(made)))


def left(r: Rubric) -> list[str]:
    return [c.id for c in r.criteria]


@given(st.integers(1, 12), st.integers(0, 12), SHARES, SEEDS)
def test_the_share_dropped_is_the_share_asked_for(n: int, n_pinned: int, share: float, seed: int) -> None:
    """Within one criterion of those that are not pinned, as long as one is left."""
    r = many(n, min(n, n_pinned))
    kept = drop_criteria(r, share, Random(seed))
    dropped = [c for c in r.criteria if c not in kept.criteria]
    assert [c for c in r.criteria if c in kept.criteria] == list(kept.criteria), "what stays, stays in order"
    assert not any(c.pinned for c in dropped)
    droppable = sum(not c.pinned for c in r.criteria)
    assert len(dropped) < share * droppable + 1
    assert len(dropped) > share * droppable - 1 or len(kept.criteria) == 1


@given(st.integers(1, 12), SHARES, SEEDS, st.randoms())
def test_equal_draws_drop_equal_criteria_in_any_order(n: int, share: float, seed: int, rng: Random) -> None:
    r = many(n)
    shuffled = list(r.criteria)
    rng.shuffle(shuffled)
    kept = drop_criteria(r, share, Random(seed))
    assert drop_criteria(r, share, Random(seed)) == kept
    assert sorted(left(drop_criteria(Rubric(criteria=tuple(shuffled)), share, Random(seed)))) == sorted(left(kept))


@pytest.mark.parametrize(("n", "n_pinned", "share"), [(10, 0, 0.5), (4, 2, 0.5), (4, 3, 0.25), (7, 1, 0.3)])
def test_every_criterion_is_dropped_as_often_as_asked(n: int, n_pinned: int, share: float) -> None:
    """Also where the share is no whole number of criteria. 4000 draws: four standard deviations are 0.032."""
    r = many(n, n_pinned)
    counts = Counter(i for seed in range(4000) for i in left(drop_criteria(r, share, Random(seed))))
    assert all(counts[c.id] == 4000 for c in r.criteria if c.pinned)
    for c in r.criteria:
        if not c.pinned:
            assert 1 - counts[c.id] / 4000 == pytest.approx(share, abs=0.032)


def test_no_share_drops_nothing_and_one_criterion_always_stays() -> None:
    assert all(drop_criteria(many(5), 0.0, Random(seed)) == many(5) for seed in range(50))
    assert {len(drop_criteria(many(5), 0.999, Random(seed)).criteria) for seed in range(50)} == {1}
    assert drop_criteria(many(1), 0.999, Random(0)) == many(1)


@pytest.mark.parametrize(
    ("aggregate", "whole", "part"), [(normalized, 4 / 14, 0.0), (raw_sum, 0.0, -4.0), (conjunctive, 0.24, 0.0)]
)
def test_only_the_value_is_that_of_what_is_kept(aggregate: Aggregate, whole: float, part: float) -> None:
    outcomes = [verdict("depth", 2), verdict("flattery", -4)]
    full = aggregate(TWO, outcomes)
    assert full.value == pytest.approx(whole)
    flattery = rubric(TWO.criteria[1])
    assert masked(aggregate, TWO, flattery, outcomes) == full._replace(value=part)


@given(judged(), SHARES, SEEDS)
def test_what_is_dropped_has_no_part_in_the_value(case: tuple[Rubric, list[Verdict]], share: float, seed: int) -> None:
    r, verdicts = case
    kept = drop_criteria(r, share, Random(seed))
    on_kept = [v for v in verdicts if v.criterion_id in left(kept)]
    best = [v if v in on_kept else verdict(v.criterion_id, _best(r, v)) for v in verdicts]
    for aggregate in AGGREGATES.values():
        reward, whole = masked(aggregate, r, kept, verdicts), aggregate(r, verdicts)
        assert reward == whole._replace(value=aggregate(kept, on_kept).value)
        assert masked(aggregate, r, kept, best).value == reward.value
        assert masked(aggregate, r, r, verdicts) == whole


def _best(r: Rubric, v: Verdict) -> int:
    found = r.criterion(v.criterion_id)
    assert isinstance(found, Criterion)
    return found.max_points


@pytest.mark.parametrize("failed", ["depth", "flattery"])
@pytest.mark.parametrize("aggregate", AGGREGATES.values(), ids=AGGREGATES.keys())
def test_an_unscored_criterion_leaves_no_reward_kept_or_not(aggregate: Aggregate, failed: str) -> None:
    outcomes = [verdict("depth", 2), verdict("flattery", 0)]
    some = [unscored(o.criterion_id) if o.criterion_id == failed else o for o in outcomes]
    kept = rubric(TWO.criteria[0])
    assert masked(aggregate, TWO, kept, outcomes).value is not None
    reward = masked(aggregate, TWO, kept, some)
    assert (reward.value, reward.normalized, reward.raw) == (None, None, None)
    assert reward.parts == aggregate(TWO, some).parts


def test_a_mask_hides_no_outcome_that_does_not_belong() -> None:
    with pytest.raises(ValueError, match="one outcome per criterion is needed"):
        masked(normalized, TWO, rubric(TWO.criteria[0]), [verdict("depth", 2)])

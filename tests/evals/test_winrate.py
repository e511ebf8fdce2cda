"""Win rates against a naive twin, against made-up judges whose taste is known, and at their edges."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.evals.winrate import RIDGE, Rate, Sample, length_controlled, win_rate
from metapo.intervals import Interval

samples = st.lists(
    st.builds(Sample, st.sampled_from([0, 0.5, 1]), st.integers(-500, 500), st.sampled_from("pqrs")),
    min_size=1,
    max_size=25,
)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def judged(n: int, skill: float, taste: float, longer: float, seed: int = 0) -> list[Sample]:
    """Matches whose judge adds `taste` per tanh of the lead (in 400 characters) to the difference in skill."""
    rng = Random(seed)
    leads = [round(rng.gauss(longer, 400)) for _ in range(n)]
    wins = [rng.random() < sigmoid(skill + taste * math.tanh(lead / 400)) for lead in leads]
    return [Sample(float(win), lead, f"p{i}") for i, (win, lead) in enumerate(zip(wins, leads, strict=True))]


def naive(given: list[Sample]) -> float:
    """The same model by many small steps uphill."""
    mean = sum(s.lead_chars for s in given) / len(given)
    sd = math.sqrt(sum((s.lead_chars - mean) ** 2 for s in given) / len(given))
    skill = weight = 0.0
    for _ in range(20_000):
        errors = [(s.points - sigmoid(skill + weight * math.tanh(s.lead_chars / sd)), s) for s in given]
        skill += 2 * sum(e for e, _ in errors) / len(given)
        up = sum(e * math.tanh(s.lead_chars / sd) for e, s in errors) - RIDGE * weight
        weight += 2 * up / (len(given) + RIDGE)
    return sigmoid(skill)


@pytest.mark.parametrize(("skill", "taste", "longer"), [(0, 2, 300), (1, 0, -200), (-0.5, 1, 0)])
def test_equals_its_naive_twin(skill: float, taste: float, longer: float) -> None:
    given = judged(40, skill, taste, longer)
    controlled = length_controlled(given)
    assert controlled is not None
    assert controlled.rate == pytest.approx(naive(given), abs=1e-6)


def test_what_a_taste_for_length_gave_is_taken_away() -> None:
    given = judged(4000, skill=0, taste=2, longer=400)
    controlled = length_controlled(given)
    assert win_rate(given).rate > 0.7
    assert controlled is not None
    assert controlled.rate == pytest.approx(0.5, abs=0.06)


def test_where_length_plays_no_part_nothing_changes() -> None:
    given = judged(4000, skill=1, taste=0, longer=200)
    controlled = length_controlled(given)
    assert controlled is not None
    assert controlled.rate == pytest.approx(win_rate(given).rate, abs=0.03)
    assert controlled.rate == pytest.approx(sigmoid(1), abs=0.03)


def test_texts_of_one_length_need_no_control() -> None:
    given = [Sample(1, 0), Sample(1, 0), Sample(0, 0), Sample(0.5, 0)]
    controlled = length_controlled(given)
    assert controlled is not None
    assert controlled.rate == pytest.approx(win_rate(given).rate) == pytest.approx(0.625)


def test_one_lead_throughout_tells_nothing() -> None:
    assert length_controlled([Sample(1, 7), Sample(0, 7)]) is None


def test_who_got_all_points_keeps_them() -> None:
    for points in (0, 1):
        controlled = length_controlled([Sample(points, i, f"p{i}") for i in range(9)], resamples=5)
        assert controlled == Rate(points, Interval(points, points))


def test_the_longer_text_always_wins() -> None:
    controlled = length_controlled([Sample(float(lead > 0), lead) for lead in range(-50, 51) if lead])
    assert controlled is not None
    assert controlled.rate == pytest.approx(0.5, abs=1e-6)


@given(samples)
@settings(deadline=None)
def test_the_other_side_has_the_rest(given: list[Sample]) -> None:
    turned = [Sample(1 - s.points, -s.lead_chars, s.prompt) for s in given]
    assert win_rate(turned).rate == pytest.approx(1 - win_rate(given).rate)
    one, other = length_controlled(given), length_controlled(turned)
    assert (one is None) == (other is None)
    if one and other:
        assert 0 <= one.rate <= 1
        assert other.rate == pytest.approx(1 - one.rate, abs=1e-5)


def test_intervals_hold_the_rate_and_repeat_with_the_seed() -> None:
    given = judged(200, skill=0.5, taste=1, longer=200)
    for measure in (win_rate, length_controlled):
        found = measure(given, resamples=200, seed=1)
        assert found == measure(given, resamples=200, seed=1)
        assert found is not None
        assert found.interval is not None
        assert found.interval.low < found.rate < found.interval.high
        assert 0.05 < found.interval.high - found.interval.low < 0.3


def test_matches_on_one_prompt_are_one_witness() -> None:
    given = judged(60, skill=0.5, taste=1, longer=200)
    once, tenfold = (win_rate(s, resamples=400).interval for s in (given, [s for s in given for _ in range(10)]))
    assert once is not None
    assert tenfold is not None
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))

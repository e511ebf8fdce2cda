"""Ratings against published ones, naive twins, golden numbers and what the models demand of them."""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise, permutations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.errors import MissingExtra
from metapo.evals.matches import Match, read_matches
from metapo.evals.ratings import (
    Tally,
    bradley_terry,
    by_prompt,
    elo,
    expected,
    islands,
    rate,
    shuffled_elo,
    tally,
)

ESSAYS = Path(__file__).parents[3] / "shared" / "data" / "essays"
PUBLISHED = sorted(ESSAYS.glob("matches_*.jsonl"))
# a beats b twice of three, draws and splits with c; b beats c twice of three
MIXED = [
    *(Match("a", "b", points) for points in (1, 1, 0)),
    *(Match("a", "c", points) for points in (1, 0.5, 0)),
    *(Match("b", "c", points) for points in (1, 0, 1)),
]
results = st.lists(
    st.builds(
        lambda pair, points, prompt: Match(*pair, points, prompt),
        st.sampled_from(list(permutations("abcd", 2))),
        st.sampled_from([0, 0.5, 1]),
        st.sampled_from(["", "p", "q", "r"]),
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.skipif(not PUBLISHED, reason=f"the published matches are not in {ESSAYS}")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_ratings_are_reproduced(path: Path) -> None:
    published = json.loads(path.with_name(path.stem.replace("matches", "elo") + ".json").read_text())
    ratings = elo(read_matches(path).decided)
    assert ratings.keys() == published.keys()
    for model, rating in published.items():
        assert abs(ratings[model] - rating) < 1e-6


def test_elo_equals_that_of_another_program() -> None:
    """evalica 0.4.2 on the same matches, with k=4."""
    theirs = {"a": 1001.8524483650718, "b": 1000.0803550017217, "c": 998.0671966332064}
    assert elo(MIXED) == pytest.approx(theirs, abs=1e-9)


def test_bradley_terry_is_that_of_another_program() -> None:
    """evalica 0.4.2 on the same matches, with a draw more for each pair."""
    theirs = {"a": 1029.1561940589793, "b": 1000.0, "c": 970.8438059410197}
    assert bradley_terry(tally(MIXED)) == pytest.approx(theirs, abs=1e-6)


def naive_elo(matches: Sequence[Match], k: float, start: float) -> dict[str, float]:
    """By odds, with each model's change worked out for itself."""
    ratings: dict[str, float] = defaultdict(lambda: start)
    for match in matches:
        odds = {m: math.exp(math.log(10) * ratings[m] / 400) for m in (match.model_a, match.model_b)}
        share_a = odds[match.model_a] / sum(odds.values())
        ratings[match.model_a] += k * (match.points_a - share_a)
        ratings[match.model_b] += k * ((1 - match.points_a) - (1 - share_a))
    return dict(ratings)


@given(results, st.floats(0.1, 64), st.floats(0, 2000))
def test_elo_equals_its_naive_twin(matches: list[Match], k: float, start: float) -> None:
    ratings = elo(matches, k, start)
    assert ratings == pytest.approx(naive_elo(matches, k, start), abs=1e-6)
    assert sum(ratings.values()) == pytest.approx(start * len(ratings)), "what one gains the other loses"


def test_no_lead_is_too_large() -> None:
    assert expected(0) == 0.5
    assert expected(400) == pytest.approx(10 / 11)
    assert expected(1e9) == pytest.approx(1)
    assert expected(-1e9) == pytest.approx(0)


def test_shuffled_orders_spread_around_a_mean() -> None:
    matches = [Match("a", "b", 1)] * 30 + [Match("a", "b", 0)] * 30
    spreads = shuffled_elo(matches, repeats=5, seed=3)
    assert spreads == shuffled_elo(matches, repeats=5, seed=3)
    assert spreads != shuffled_elo(matches, repeats=5, seed=4)
    rng = Random(3)
    seen = [naive_elo(rng.sample(matches, 60), 4, 1000)["a"] for _ in range(5)]
    mean = sum(seen) / 5
    assert spreads["a"].mean == pytest.approx(mean)
    assert spreads["a"].sd == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in seen) / 5)), "of the population"
    assert shuffled_elo([Match("a", "b", 1)], repeats=5)["a"].sd == 0


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtra, match=r"pip install 'metapo\[eval\]'"):
        bradley_terry(tally(MIXED))


@given(results)
@settings(deadline=None)
def test_bradley_terry_expects_the_points_that_each_model_got(matches: list[Match]) -> None:
    """At the maximum of the likelihood, points expected equal points won, the prior's among them."""
    if len(islands(matches)) > 1:
        return
    tallies = tally(matches)
    ratings = bradley_terry(tallies)
    assert sum(ratings.values()) == pytest.approx(1000 * len(ratings))
    for model in ratings:
        won = sum(
            m.points_a if m.model_a == model else 1 - m.points_a for m in matches if model in (m.model_a, m.model_b)
        )
        pairs = [(set(pair) - {model}, t.n + 1) for pair, t in tallies.items() if model in pair]
        hoped = sum(n * expected(ratings[model] - ratings[rival]) for (rival,), n in pairs)
        assert hoped == pytest.approx(won + 0.5 * len(pairs), abs=1e-6)


@given(results)
@settings(deadline=None, max_examples=30)
def test_bradley_terry_knows_no_order_and_no_sides(matches: list[Match]) -> None:
    if len(islands(matches)) > 1:
        return
    turned = [Match(m.model_b, m.model_a, 1 - m.points_a, m.prompt) for m in reversed(matches)]
    assert bradley_terry(tally(turned)) == pytest.approx(bradley_terry(tally(matches)), abs=1e-5)


def test_who_won_everything_has_a_finite_rating_thanks_to_the_prior() -> None:
    ratings = bradley_terry(tally([Match("a", "b", 1)] * 10))
    assert ratings["a"] - ratings["b"] == pytest.approx(400 * math.log10(10.5 / 0.5))


def test_lopsided_chains_settle() -> None:
    """Where only neighbours met, each gap is that of its own matches."""
    chain = "abcdefghij"
    ratings = bradley_terry(tally([Match(a, b, 1) for a, b in pairwise(chain) for _ in range(1000)]))
    gaps = [ratings[a] - ratings[b] for a, b in pairwise(chain)]
    assert gaps == pytest.approx([400 * math.log10(1000.5 / 0.5)] * 9)


def test_models_that_never_met_are_not_compared() -> None:
    apart = [Match("a", "b", 1), Match("c", "d", 1)]
    assert islands(apart) == [{"a", "b"}, {"c", "d"}]
    assert rate(apart, resamples=5) is None
    assert islands([*apart, Match("d", "a", 0)]) == [{"a", "b", "c", "d"}]


def test_tallies_stand_in_alphabetical_order() -> None:
    assert tally([Match("b", "a", 1), Match("a", "b", 0.5)]) == {("a", "b"): Tally(0.5, 2)}


def test_intervals_are_over_prompts() -> None:
    rng = Random(5)
    alone = [Match("a", "b", float(rng.random() < 0.6), f"p{i}") for i in range(100)]
    rated = rate(alone, resamples=400, seed=1)
    assert rated == rate(alone, resamples=400, seed=1)
    assert rated is not None
    interval = rated["a"].interval
    assert interval is not None
    assert interval.low < rated["a"].rating < interval.high
    tenfold = rate([match for match in alone for _ in range(10)], resamples=400, seed=1)
    assert tenfold is not None
    assert tenfold["a"].interval is not None
    width = tenfold["a"].interval.high - tenfold["a"].interval.low
    assert width == pytest.approx(interval.high - interval.low, rel=0.15), "ten matches on one prompt are one witness"


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        rng = Random(seed)
        played = [Match("a", "b", float(rng.random() < expected(100)), f"p{i}") for i in range(150)]
        rated = rate(played, resamples=100, seed=seed)
        assert rated is not None
        assert rated["a"].interval is not None
        held += rated["a"].interval.low <= 1050 <= rated["a"].interval.high
    assert 51 <= held <= 60


def test_matches_without_a_prompt_stand_alone() -> None:
    played = [Match("a", "b", 1), Match("a", "b", 0), Match("a", "b", 1, "p"), Match("b", "a", 1, "p")]
    assert [len(cluster) for cluster in by_prompt(played)] == [1, 1, 2]

from collections.abc import Sequence
from itertools import pairwise, permutations
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import DataError
from metapo.evals.agreement import Word
from metapo.evals.evolution import Stage, fixed_set, spread, told_apart, trace
from metapo.evals.evolution_page import describe, tables
from metapo.rollout import Rollout
from metapo.rubric import Revision
from tests.helpers import criterion, ends, rubric

ONE = Revision(rubric=rubric(criterion("depth", (0, 2, 5))), reason="given", proposer="settings", step=0)
TWO = Revision(
    rubric=rubric(criterion("depth", (0, 2, 6)), criterion("talk", (-3, 0))),
    parents=(ONE.id,),
    reason="merged",
    proposer="meta model",
    step=4,
)
LINEAGE = [(0, ONE), (4, TWO)]
scored = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=8)


def rollouts(n: int, n_steps: int = 4, n_prompts: int = 5) -> list[Rollout]:
    return [
        Rollout(prompt=f"prompt {i % n_prompts}", completion=f"text {i}", step=i % n_steps, position=i)
        for i in range(n)
    ]


# --- the set


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=40), st.integers(2, 12), st.integers(0, 3))
def test_the_fixed_set_is_different_texts_one_from_each_part_of_the_run(
    drawn: list[tuple[int, int]], n: int, seed: int
) -> None:
    given_rollouts = [
        Rollout(prompt="p", completion=f"text {text}", step=step, position=i) for i, (step, text) in enumerate(drawn)
    ]
    first_step = {r.completion: r.step for r in reversed(given_rollouts)}
    if len(first_step) < 2:
        with pytest.raises(DataError, match="two different rollouts are needed"):
            fixed_set(given_rollouts, n, seed)
        return
    found = fixed_set(given_rollouts, n, seed)
    assert found == fixed_set(given_rollouts, n, seed)
    assert len({r.completion for r in found}) == len(found) == min(n, len(first_step))
    in_order, steps = sorted(first_step.values()), [r.step for r in found]
    bounds = [i * len(in_order) // len(found) for i in range(len(found) + 1)]
    assert all(in_order[a] <= step <= in_order[b - 1] for (a, b), step in zip(pairwise(bounds), steps, strict=True))


def test_another_seed_draws_another_set() -> None:
    assert fixed_set(rollouts(40), 8, seed=0) != fixed_set(rollouts(40), 8, seed=1)


# --- the figures


@given(scored, st.data())
def test_spread_and_pairs_are_those_of_naive_twins(scores: list[float], data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(1, 3), min_size=len(scores), max_size=len(scores)))
    copies = [(i, score) for i, (score, t) in enumerate(zip(scores, times, strict=True)) for _ in range(t)]
    pairs = [s != other for (i, s), (j, other) in permutations(copies, 2) if i != j]
    assert spread(scores, times) == pytest.approx(pstdev([s for _, s in copies]))
    assert told_apart(scores, times) == pytest.approx(fmean(pairs))


def test_scores_that_differ_by_rounding_alone_are_not_told_apart() -> None:
    assert told_apart([0.1 + 0.2, 0.3], [1, 1]) == 0


def test_a_stricter_revision_is_called_stricter_and_its_figures_are_those_of_the_scores() -> None:
    of = rollouts(20)
    before = [0.9 if i % 2 else 0.8 for i in range(20)]
    after = [score - 0.3 - 0.01 * i for i, score in enumerate(before)]
    first, second = traced(of, before, after)
    assert first.scores is not None
    assert second.scores is not None
    assert (first.scores.mean.value, first.scores.mean.change) == (pytest.approx(0.85), 0)
    assert second.scores.mean.value == pytest.approx(fmean(after))
    assert second.scores.mean.change == pytest.approx(fmean(after) - fmean(before))
    low, high = ends(second.scores.mean.change_interval)
    assert low < second.scores.mean.change < high < 0
    assert second.scores.word is Word.STRICTER
    assert first.scores.word is Word.UNTOLD
    assert first.scores.told_apart.value == pytest.approx(100 / 190), "ten of each: 100 pairs of 190 differ"
    assert second.scores.told_apart.value > 0.9
    assert second.scores.spread.value == pytest.approx(pstdev(after))
    low, high = ends(second.scores.told_apart.interval)
    assert 0 <= low <= second.scores.told_apart.value <= high <= 1
    assert describe([first, second]).endswith("it is stricter than the first.")


def test_a_rollout_without_a_score_under_any_revision_counts_under_none() -> None:
    of = rollouts(12)
    before, after = [i / 12 for i in range(12)], [i / 12 for i in range(12)]
    whole = traced(of[1:], before[1:], after[1:])
    first, second = traced(of, before, [None, *after[1:]])
    assert (first.n_unscored, second.n_unscored) == (0, 1)
    assert (first.scores, second.scores) == (whole[0].scores, whole[1].scores)


def test_where_nothing_was_scored_there_are_no_figures_instead_of_low_ones() -> None:
    first, second = traced(rollouts(3), [0.5, 0.5, 0.5], [None, None, None])
    assert (first.scores, second.scores, second.n_unscored) == (None, None, 3)
    assert tables([first, second])[1][2] == ("2", "3", "none", "none", "none", "none")


def test_one_prompt_gives_no_intervals() -> None:
    first, _ = traced(rollouts(6, n_prompts=1), [0.1] * 6, [0.2] * 6)
    assert first.scores is not None
    assert (first.scores.mean.interval, first.scores.spread.interval, first.scores.word) == (None, None, Word.UNTOLD)


@given(st.integers(0, 100))
def test_the_order_of_the_rollouts_changes_no_value(seed: int) -> None:
    of = rollouts(10)
    before, after = [i / 10 for i in range(10)], [(i * 7 % 10) / 10 for i in range(10)]
    order = Random(seed).sample(range(10), 10)
    shuffled = traced([of[i] for i in order], [before[i] for i in order], [after[i] for i in order])
    for stage, other in zip(traced(of, before, after), shuffled, strict=True):
        assert stage.scores is not None
        assert other.scores is not None
        assert stage.scores.mean.value == pytest.approx(other.scores.mean.value)
        assert stage.scores.spread.value == pytest.approx(other.scores.spread.value)
        assert stage.scores.told_apart.value == pytest.approx(other.scores.told_apart.value)


def traced(of: Sequence[Rollout], *columns: Sequence[float | None]) -> list[Stage]:
    digests = [revision.rubric.digest for _, revision in LINEAGE]
    return trace(LINEAGE, of, dict(zip(digests, columns, strict=True)))


def test_without_rollouts_there_are_figures_of_the_text() -> None:
    [text] = tables(trace(LINEAGE))
    one, two = ONE.rubric, TWO.rubric
    assert text[1] == ("1", "0", ONE.short_id, "1", str(one.n_words), f"{one.n_words:.1f}", "0 to 5")
    assert text[2] == ("2", "4", TWO.short_id, "2", str(two.n_words), f"{two.n_words / 2:.1f}", "-3 to 6")
    assert describe(trace(LINEAGE)) == f"1 to 2 criteria, {one.n_words} to {two.n_words} words."
    assert describe(trace(LINEAGE[:1])) == "The rubric never changed."

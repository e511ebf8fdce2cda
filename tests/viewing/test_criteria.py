"""Figures of criteria against plain ones of the standard library."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.rollout import Split
from metapo.rubric import Verdict
from metapo.viewing.criteria import correlation, history, spaced
from metapo.viewing.lineage import clusters
from metapo.viewing.runs import Viewed

whole = st.integers(-50, 50)


@given(st.lists(st.tuples(whole, whole), min_size=2, max_size=30))
def test_correlation_is_that_of_the_standard_library(pairs: list[tuple[int, int]]) -> None:
    xs, ys = zip(*pairs, strict=True)
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        assert correlation(pairs) is None
    else:
        assert correlation(pairs) == pytest.approx(statistics.correlation(xs, ys), abs=1e-9)


def test_one_pair_has_no_correlation() -> None:
    assert correlation([(1.0, 2.0)]) is None


@given(st.lists(st.integers(0, 1000), unique=True, min_size=1).map(sorted), st.integers(1, 40))
def test_spaced_steps_are_few_and_keep_both_ends(steps: list[int], most: int) -> None:
    chosen = spaced(steps, most)
    assert len(chosen) == min(len(steps), most)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(steps)
    assert chosen[-1] == steps[-1]
    assert most == 1 or chosen[0] == steps[0]


def test_a_history_says_what_a_plain_loop_says(run: Viewed) -> None:
    cluster = clusters(run)[-1]
    found = history(run, cluster, Split.TRAIN, 3, 12, 4)
    assert (found.n_steps, found.steps) == (10, (3, 6, 9, 12))
    for i, step in enumerate(found.steps):
        records = run.store.rollouts(from_step=step, to_step=step + 1, cluster=cluster)
        for told in found.criteria:
            outcomes = [o for r in records for o in r.outcomes if o.criterion_id == told.id]
            points = [o.points for o in outcomes if isinstance(o, Verdict)]
            assert told.n[i] == len(outcomes)
            assert told.mean[i] == pytest.approx(statistics.fmean(points), rel=1e-5)
            assert told.variance[i] == pytest.approx(statistics.pvariance(points), rel=1e-5)
            assert told.passed[i] == pytest.approx(sum(p == told.max_points for p in points) / len(points), rel=1e-5)
            assert told.unscored[i] == pytest.approx(1 - len(points) / len(outcomes), rel=1e-5)
            whole_ones = [r for r in records if r.value is not None]
            mine = [next(o.points for o in r.outcomes if o.criterion_id == told.id) for r in whole_ones]  # type: ignore[union-attr]
            rest = [(r.raw or 0) - m for r, m in zip(whole_ones, mine, strict=True)]
            assert told.correlation[i] == pytest.approx(statistics.correlation(mine, rest), abs=1e-4)


def test_without_steps_there_is_nothing_to_tell(run: Viewed) -> None:
    found = history(run, "nobody's", Split.TRAIN, 10_000, None, 4)
    assert (found.steps, found.criteria) == ((), ())

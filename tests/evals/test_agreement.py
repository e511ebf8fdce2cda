from collections import Counter
from itertools import combinations, permutations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.errors import DataError
from metapo.evals.agreement import (
    Word,
    alpha,
    confusion,
    drift,
    pairwise_accuracy,
    read_scorings,
    report_agreement,
    spearman,
)

grades = st.integers(0, 4).map(float)
pairs_of_grades = st.lists(st.tuples(grades, grades), min_size=2, max_size=15)


def rows(*scored: tuple[str, float | None, float | None]) -> list[dict[str, object]]:
    return [{"prompt": p, "score": s, "label": label, "rollout": i} for i, (p, s, label) in enumerate(scored)]


def test_pairs_of_one_prompt_are_ordered_by_their_scores() -> None:
    scorings = read_scorings(
        "f",
        rows(("a", 0.9, 3), ("a", 0.1, 1), ("a", 0.5, 5), ("a", None, 9), ("b", 0.4, 2), ("b", 0.4, 1), ("c", 1, 1)),
    )
    found = pairwise_accuracy(scorings)
    # a: 3 over 1 right, 5 over 3 wrong, 5 over 1 right; b: a tie; c: alone
    assert (found.n_pairs, found.right, found.tied, found.value) == (4, 2, 1, 2.5 / 4)
    assert found.interval is not None


@given(st.lists(st.tuples(st.sampled_from("ab"), grades, grades), max_size=12))
def test_pairwise_accuracy_is_that_of_a_naive_twin(scored: list[tuple[str, float, float]]) -> None:
    points = []
    for (p, s, label), (q, t, other) in permutations(scored, 2):
        if p == q and label > other:
            points.append(1.0 if s > t else 0.5 if s == t else 0.0)
    found = pairwise_accuracy(read_scorings("f", rows(*scored)))
    assert found.value == (pytest.approx(fmean(points)) if points else None)
    assert found.n_pairs == len(points)


@given(pairs_of_grades)
def test_spearman_is_that_of_a_naive_twin(both: list[tuple[float, float]]) -> None:
    labels, scores = [a for a, _ in both], [b for _, b in both]
    wanted = naive_spearman(labels, scores)
    assert spearman(labels, scores) == (wanted if wanted is None else pytest.approx(wanted))


@settings(max_examples=40)
@given(pairs_of_grades, st.sampled_from(["interval", "ordinal"]))
def test_alpha_is_that_of_a_naive_twin(both: list[tuple[float, float]], level: str) -> None:
    labels, scores = [a for a, _ in both], [b for _, b in both]
    wanted = naive_alpha(both, level)
    assert alpha(labels, scores, level) == (wanted if wanted is None else pytest.approx(wanted, abs=1e-9))


def test_alpha_of_published_examples() -> None:
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A and B
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(meg, owen, "interval") == pytest.approx(0.095, abs=5e-4)  # of two values, every level gives the same
    assert alpha(meg, owen, "ordinal") == pytest.approx(0.095, abs=5e-4)
    ben, gerry = (["abcde".index(v) for v in raters] for raters in ("aabbdcccedda", "babbbccceddd"))
    assert alpha(ben, gerry, "nominal") == pytest.approx(0.692, abs=5e-4)


def test_confusion_counts_labels_by_scores() -> None:
    assert confusion([1, 1, 2, 0], [1, 0.5, 0.5, 1]) == {
        "0": {"0.5": 0, "1": 1},
        "1": {"0.5": 1, "1": 1},
        "2": {"0.5": 1, "1": 0},
    }
    assert confusion([], []) is None
    assert confusion(list(range(11)), [0] * 11) is None


def scored_twice(changes: list[float]) -> list[dict[str, object]]:
    before = [{"prompt": f"p{i}", "completion": "c", "revision": "old", "score": 0.5} for i in range(len(changes))]
    after = [{**row, "revision": "new", "score": 0.5 + c} for row, c in zip(before, changes, strict=True)]
    return before + after


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ([-0.2, -0.1, -0.3, -0.2, 0.0], Word.STRICTER),
        ([0.2, 0.1, 0.3], Word.MILDER),
        ([-0.2, 0.2, 0.1, -0.1], Word.UNTOLD),
        ([-0.2, -0.2], Word.UNTOLD),
    ],
)
def test_drift_is_the_mean_change_of_the_same_rollouts(changes: list[float], word: Word) -> None:
    [found] = report_agreement("f", read_scorings("f", scored_twice(changes))).drift
    assert (found.earlier, found.later, found.n, found.word) == ("old", "new", len(changes), word)
    assert found.difference == pytest.approx(fmean(changes))
    assert (found.lower, found.higher) == (sum(c < 0 for c in changes), sum(c > 0 for c in changes))


def test_drift_goes_from_each_revision_to_the_next_and_over_all() -> None:
    three = [{"prompt": "p", "rollout": 1, "revision": r, "score": s} for r, s in (("c", 3), ("a", 2), ("b", None))]
    found = report_agreement("f", read_scorings("f", three)).drift
    assert [(d.earlier, d.later, d.n) for d in found] == [("c", "a", 1), ("a", "b", 0), ("c", "b", 0)]
    assert found[1].difference is None


def test_equal_completions_of_a_prompt_are_told_apart_by_their_order() -> None:
    group = [
        {"prompt": "p", "completion": "same", "revision": r, "score": s}
        for r, s in (("a", 1), ("a", 2), ("b", 5), ("b", 7))
    ]
    scorings = read_scorings("f", group)
    found = drift(scorings[:2], scorings[2:])
    assert (found.n, found.difference) == (2, 4.5)


def test_agreement_counts_what_is_unscored() -> None:
    report = report_agreement(
        "f", read_scorings("f", rows(("a", 1, 1), ("a", None, 2), ("a", 2, None), ("b", 3, True)))
    )
    [found] = report.agreement.values()
    assert (found.n, found.n_unscored, report.drift) == (2, 1, [])
    assert found.spearman is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p"}, "f, row 1: no column 'score'"),
        ({"score": 1}, "f, row 1: no column 'prompt'"),
        ({"prompt": "p", "score": "high"}, "f, row 1: 'score' must be a finite number or null; got 'high'"),
        ({"prompt": "p", "score": float("nan")}, "f, row 1: 'score' must be a finite number or null; got nan"),
        ({"prompt": "p", "score": 1, "label": "good"}, "f, row 1: 'label' must be a finite number"),
        ({"prompt": "p", "score": 1, "revision": "a"}, "f, row 1: under a revision, a row needs 'rollout' or 'comp"),
    ],
)
def test_bad_rows_are_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as e:
        read_scorings("f", [row])
    assert str(e.value).startswith(message)


def test_one_rollout_has_one_score_under_a_revision() -> None:
    with pytest.raises(DataError, match="f, row 2: rollout '1' of this prompt has a score of 'a' already"):
        read_scorings("f", [{"prompt": "p", "rollout": 1, "revision": "a", "score": 1}] * 2)


def test_without_labels_or_revisions_there_is_nothing_to_compare() -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        report_agreement("f", read_scorings("f", [{"prompt": "p", "score": 1}]))


# --- twins


def ranks(values: list[float]) -> list[float]:
    """Equal values share the mean of their places, from 1."""
    return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]


def naive_spearman(a: list[float], b: list[float]) -> float | None:
    x, y = ranks(a), ranks(b)
    x, y = [v - fmean(x) for v in x], [v - fmean(y) for v in y]
    spread = (sum(v * v for v in x) * sum(v * v for v in y)) ** 0.5
    return sum(v * w for v, w in zip(x, y, strict=True)) / spread if spread else None


def naive_alpha(units: list[tuple[float, float]], level: str) -> float | None:
    """1 - observed / expected disagreement, over all pairs of values (Krippendorff 2011)."""
    values = [v for unit in units for v in unit]
    counts = Counter(values)

    def distance(c: float, k: float) -> float:
        if level == "interval":
            return (c - k) ** 2
        low, high = min(c, k), max(c, k)
        return (sum(n for v, n in counts.items() if low <= v <= high) - (counts[c] + counts[k]) / 2) ** 2

    observed = fmean(distance(c, k) for c, k in units)
    expected = fmean(distance(c, k) for c, k in combinations(values, 2))
    return 1 - observed / expected if expected else None

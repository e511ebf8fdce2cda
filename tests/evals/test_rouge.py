"""ROUGE against a twin written from Lin's definitions (2004), with none of the library's code."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.answers.rouge import KINDS
from metapo.errors import DataError
from metapo.evals.rouge import rouge_rows
from tests.helpers import ends

words = st.lists(st.sampled_from(["the", "cat", "sat", "on", "Mat", "a", "dog's", "2"]), max_size=12).map(" ".join)
texts = st.lists(words, min_size=1, max_size=3).map("\n".join)


@settings(max_examples=40)
@given(texts, texts)
def test_scores_are_those_of_a_naive_twin(predicted: str, reference: str) -> None:
    [row] = rouge_rows("f", [{"predicted": predicted, "reference": reference}]).rows
    assert row == pytest.approx({kind: 100 * naive(kind, predicted, reference) for kind in KINDS})


def test_the_example_of_lin_2004() -> None:
    # "police kill the gunman" against "police killed the gunman": the longest common subsequence has 3 of 4 words
    [row] = rouge_rows("f", [{"predicted": "police kill the gunman", "reference": "police killed the gunman"}]).rows
    assert row["rougeL"] == pytest.approx(75)
    [row] = rouge_rows("f", [{"predicted": "the gunman kill police", "reference": "police killed the gunman"}]).rows
    assert row["rougeL"] == pytest.approx(50)
    [row] = rouge_rows(
        "f", [{"predicted": "police kill the gunman", "reference": "police killed the gunman"}], stem=True
    ).rows
    assert row["rougeL"] == pytest.approx(100)


def test_means_with_precision_and_recall() -> None:
    rows = [{"predicted": "a b", "reference": "a b c d"}, {"predicted": "x", "reference": "a"}]
    report = rouge_rows("f", rows)
    mean = report.means["rouge1"]
    assert (mean.precision, mean.recall, mean.f) == pytest.approx((50, 25, 100 / 3))
    assert ends(mean.interval) == pytest.approx((0, 200 / 3))
    assert report.n == 2


def test_an_empty_summary_scores_nothing() -> None:
    assert rouge_rows("f", [{"predicted": "", "reference": "a b"}]).rows == [dict.fromkeys(KINDS, 0)]


def test_bad_rows_are_refused() -> None:
    with pytest.raises(DataError, match="f, row 2: no column 'reference'; it has 'predicted'"):
        rouge_rows("f", [{"predicted": "a", "reference": "a"}, {"predicted": "a"}])
    with pytest.raises(DataError, match="f, row 1: texts of 6000 and 6000 words are too long"):
        rouge_rows("f", [{"predicted": "a " * 6000, "reference": "a " * 6000}])


# --- the twin


def naive(kind: str, predicted: str, reference: str) -> float:
    if kind == "rougeLsum":
        return lsum([tokens(line) for line in predicted.split("\n")], [tokens(line) for line in reference.split("\n")])
    a, b = tokens(predicted), tokens(reference)
    if kind == "rougeL":
        return f_measure(len(lcs(b, a)), len(a), len(b))
    n = int(kind[-1])
    grams_a, grams_b = (Counter(tuple(t[i : i + n]) for i in range(len(t) - n + 1)) for t in (a, b))
    return f_measure(sum((grams_a & grams_b).values()), sum(grams_a.values()), sum(grams_b.values()))


def tokens(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def f_measure(hits: int, n_predicted: int, n_reference: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / n_predicted, hits / n_reference
    return 2 * precision * recall / (precision + recall)


def lcs(reference: list[str], predicted: list[str]) -> list[int]:
    """The places in the reference of a longest common subsequence: of several, the one found from the end."""
    n, m = len(reference), len(predicted)
    table = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(n):
        for j in range(m):
            same = reference[i] == predicted[j]
            table[i + 1][j + 1] = table[i][j] + 1 if same else max(table[i][j + 1], table[i + 1][j])
    places, i, j = [], n, m
    while i and j:
        if reference[i - 1] == predicted[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]


def lsum(predicted: list[list[str]], reference: list[list[str]]) -> float:
    """Each reference sentence's union of common subsequences with all predicted sentences; a word counts as often as
    both texts have it."""
    left_a, left_b = (Counter(w for sentence in side for w in sentence) for side in (predicted, reference))
    n_a, n_b = left_a.total(), left_b.total()
    hits = 0
    for sentence in reference:
        for place in sorted({p for other in predicted for p in lcs(sentence, other)}):
            word = sentence[place]
            if left_a[word] > 0 and left_b[word] > 0:
                hits += 1
                left_a[word] -= 1
                left_b[word] -= 1
    return f_measure(hits, n_a, n_b)

"""ROUGE of a file of summaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from metapo.answers.rouge import KINDS, rouge
from metapo.errors import DataError
from metapo.evals.columns import Row, text
from metapo.intervals import Interval, mean_interval

PREDICTED = ("predicted", "completion", "response")
MAX_CELLS = 25_000_000  # words of one text times words of the other: what the longest common subsequence takes


@dataclass(frozen=True)
class RougeMean:
    """The mean F-measure in [0, 100] with its interval, and the means of precision and recall."""

    f: float
    interval: Interval | None
    precision: float
    recall: float


@dataclass(frozen=True)
class RougeReport:
    n: int
    means: dict[str, RougeMean]
    rows: list[dict[str, float]]
    """F-measures in [0, 100], in the order of the file."""


def rouge_rows(source: object, rows: Sequence[Row], *, stem: bool = False) -> RougeReport:
    """ROUGE-1, -2, -L and -Lsum of `predicted` (or `completion`) against `reference`. For Lsum each line is a sentence.

    Raises DataError for a missing text, and for two that are too long to compare; MissingExtra.
    """
    pairs = [(text(source, n, row, *PREDICTED), text(source, n, row, "reference")) for n, row in enumerate(rows, 1)]
    for number, (predicted, reference) in enumerate(pairs, 1):
        if (cells := _n_words(predicted) * _n_words(reference)) > MAX_CELLS:
            raise DataError(
                f"{source}, row {number}: texts of {_n_words(predicted)} and {_n_words(reference)} words are too long: "
                f"their product {cells} is above {MAX_CELLS}. Cut them or leave the row out."
            )
    scores = rouge(pairs, stem=stem)
    groups = [reference for _, reference in pairs]  # several summaries of one text are no independent evidence
    means = {}
    for kind in KINDS:
        f = [s[kind].f for s in scores]
        precision, recall = fmean(s[kind].precision for s in scores), fmean(s[kind].recall for s in scores)
        means[kind] = RougeMean(fmean(f), mean_interval(f, groups), precision, recall)
    return RougeReport(len(pairs), means, [{kind: s[kind].f for kind in KINDS} for s in scores])


def _n_words(words: str) -> int:
    return len(words.split())

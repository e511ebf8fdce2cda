"""How many completions come to the right verdict or answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from metapo.answers import Comparer, Why, boxed_answer
from metapo.answers.verdict import LABELS, label_of, verdict_in
from metapo.errors import DataError
from metapo.evals.columns import Row, answer_in, text
from metapo.intervals import Interval, mean_interval


class Mark(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    NO_VERDICT = "no verdict"
    """The completion says nothing that could be right: no tag, a tag with something else in it, no boxed answer."""


@dataclass(frozen=True)
class Marked:
    mark: Mark
    said: str | None
    label: str
    reason: str = ""
    """Where answers were compared, what their equality rests on."""


@dataclass(frozen=True)
class Accuracy:
    """A share with its interval; None where there is nothing to take it of."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class AccuracyReport:
    n: int
    marks: dict[Mark, int]
    accuracy: Accuracy
    """Of all completions, so that no verdict counts as wrong: the figure that the MPO paper reports."""
    accuracy_of_verdicts: Accuracy
    """Of the completions that came to a verdict."""
    by_label: dict[str, dict[Mark, int]]
    reasons: dict[str, int]
    rows: list[Marked]

    @property
    def uncompared(self) -> dict[str, int]:
        """Answers that are too large, or whose comparison came to no end: they count as wrong."""
        return {why: n for why, n in self.reasons.items() if why in (Why.TOO_LONG, Why.TOO_NESTED, Why.GAVE_UP)}


def mark_verdicts(
    source: object, rows: Sequence[Row], column: str = "label", labels: Sequence[str] = LABELS
) -> list[Marked]:
    """Each completion's verdict against its row's label. Raises DataError for a label that is not one of `labels`."""
    marked = []
    for number, row in enumerate(rows, 1):
        said = verdict_in(text(source, number, row, "completion", "response"), labels)
        given = text(source, number, row, column)
        label = label_of(given, labels)
        if label is None:
            raise DataError(
                f"{source}, row {number}: {column!r} is {given[:80]!r}, none of {', '.join(labels)}. "
                "Name the labels there are with --labels."
            )
        marked.append(Marked(Mark.NO_VERDICT if said is None else _mark(said == label), said, label))
    return marked


def mark_answers(source: object, rows: Sequence[Row], column: str = "reference") -> list[Marked]:
    """Each completion's boxed answer against its row's reference: a solution with a boxed answer, or the answer alone.

    Raises DataError as `gold` does, MissingExtra.
    """
    pairs = []
    for number, row in enumerate(rows, 1):
        said = boxed_answer(text(source, number, row, "completion", "response"))
        pairs.append((said, answer_in(source, number, row, column)))
    with Comparer() as comparer:
        found = [comparer.compare(*pair) for pair in pairs]
    return [
        Marked(Mark.NO_VERDICT if e.why is Why.NO_ANSWER else _mark(e.equal), said, answer, e.why.value)
        for (said, answer), e in zip(pairs, found, strict=True)
    ]


def _mark(is_right: bool) -> Mark:
    return Mark.RIGHT if is_right else Mark.WRONG


def report_accuracy(marked: Sequence[Marked], prompts: Sequence[str] | None = None) -> AccuracyReport:
    """What the marks come to. Completions of one prompt are drawn together for the intervals."""
    groups = list(range(len(marked))) if prompts is None else list(prompts)
    said = [i for i, m in enumerate(marked) if m.mark is not Mark.NO_VERDICT]
    labels = sorted({m.label for m in marked}) if not any(m.reason for m in marked) else []
    return AccuracyReport(
        n=len(marked),
        marks=_counts(marked),
        accuracy=_share(marked, groups),
        accuracy_of_verdicts=_share([marked[i] for i in said], [groups[i] for i in said]),
        by_label={label: _counts([m for m in marked if m.label == label]) for label in labels},
        reasons=dict(Counter(m.reason for m in marked if m.reason).most_common()),
        rows=list(marked),
    )


def _counts(marked: Sequence[Marked]) -> dict[Mark, int]:
    counts = Counter(m.mark for m in marked)
    return {mark: counts[mark] for mark in Mark}


def _share(marked: Sequence[Marked], groups: Sequence[int | str]) -> Accuracy:
    right = [float(m.mark is Mark.RIGHT) for m in marked]
    return Accuracy(fmean(right), mean_interval(right, groups)) if right else Accuracy(None, None)

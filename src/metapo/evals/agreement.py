"""Do a judge's scores agree with labels, and does a later revision score the same rollouts lower?"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, pairwise
from statistics import fmean

from metapo.errors import DataError, MissingExtra
from metapo.evals.columns import Row, at_row, number_or_none, text
from metapo.intervals import Interval, mean_interval
from metapo.tasks.reading import column

MAX_LABELS = 10
"""With more different labels or scores there is no confusion matrix."""
MIN_PROMPTS = 3
"""With fewer, nothing is said of drift."""


@dataclass(frozen=True)
class Scoring:
    """One rollout's score under one revision, with its label where there is one; a score of None is unscored."""

    prompt: str
    rollout: Hashable
    revision: str
    score: float | None
    label: float | None


@dataclass(frozen=True)
class PairwiseAccuracy:
    """Pairs of rollouts of one prompt whose labels differ. A tie of scores counts half."""

    n_pairs: int
    right: int
    tied: int
    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Agreement:
    """Of one revision's scores with the labels. None where a figure isn't defined, as with equal scores throughout."""

    n: int
    """Rollouts with a label and a score."""
    n_unscored: int
    """Rollouts with a label and no score: they count in no figure."""
    pairwise: PairwiseAccuracy
    spearman: float | None
    alpha_ordinal: float | None
    alpha_interval: float | None
    confusion: dict[str, dict[str, int]] | None
    """How often each label got each score: confusion[label][score], both in their order."""


class Word(StrEnum):
    """What an interval says, by rule: the whole of it lies below 0, above 0, or neither."""

    STRICTER = "stricter"
    MILDER = "milder"
    UNTOLD = "can't be told"


@dataclass(frozen=True)
class Drift:
    """A later revision's scores less an earlier one's, on the rollouts that both scored."""

    earlier: str
    later: str
    n: int
    n_apart: int
    """Rollouts that only one of the two scored: they count in no figure."""
    difference: float | None
    interval: Interval | None
    lower: int
    equal: int
    higher: int
    word: Word


@dataclass(frozen=True)
class AgreementReport:
    agreement: dict[str, Agreement]
    """By revision; "" for rows that name none. Empty without labels."""
    drift: list[Drift]
    """From each revision to the next in the order of the file, then from the first to the last."""


def read_scorings(source: object, rows: Sequence[Row], score: str = "score", label: str = "label") -> list[Scoring]:
    """Rows with `prompt`, a score, and as far as they go: a label, `revision`, `rollout` (what names the same rollout
    under several revisions; without it, `completion` does). Raises DataError."""
    scorings = []
    seen: Counter[Hashable] = Counter()
    for number, row in enumerate(rows, 1):
        where = f"{source}, row {number}"
        with at_row(source, number):
            column(row, score)
        prompt = text(source, number, row, "prompt")
        revision = "" if row.get("revision") is None else str(row["revision"])
        named = row.get("rollout") is not None
        name = str(row["rollout"]) if named else str(row.get("completion") or "")
        seen[revision, prompt, name] += 1
        if named and seen[revision, prompt, name] > 1:
            raise DataError(f"{where}: rollout {name!r} of this prompt has a score of {revision!r} already")
        if revision and not named and "completion" not in row:
            raise DataError(f"{where}: under a revision, a row needs 'rollout' or 'completion' as well")
        rollout = (name, seen[revision, prompt, name])  # equal completions are told apart by their order
        scores = (number_or_none(source, number, row, figure) for figure in (score, label))
        scorings.append(Scoring(prompt, rollout, revision, *scores))
    return scorings


def report_agreement(source: object, scorings: Sequence[Scoring]) -> AgreementReport:
    """Raises DataError where there is neither a label to agree with nor a second revision; MissingExtra."""
    revisions = list(dict.fromkeys(s.revision for s in scorings))
    labelled = any(s.label is not None for s in scorings)
    if not labelled and len(revisions) < 2:
        raise DataError(f"{source}: no row has a label, and there are no two revisions: nothing to compare")
    by_revision = {revision: [s for s in scorings if s.revision == revision] for revision in revisions}
    steps = list(pairwise(revisions))
    if len(revisions) > 2:
        steps.append((revisions[0], revisions[-1]))
    return AgreementReport(
        agreement={r: agreement(part) for r, part in by_revision.items()} if labelled else {},
        drift=[drift(by_revision[earlier], by_revision[later]) for earlier, later in steps],
    )


# --- agreement


def agreement(scorings: Sequence[Scoring]) -> Agreement:
    """Of scores with labels, over the rollouts that have both. Raises MissingExtra."""
    both = [(s.label, s.score) for s in scorings if s.label is not None and s.score is not None]
    labels, scores = [label for label, _ in both], [score for _, score in both]
    return Agreement(
        n=len(both),
        n_unscored=sum(s.label is not None and s.score is None for s in scorings),
        pairwise=pairwise_accuracy(scorings),
        spearman=spearman(labels, scores),
        alpha_ordinal=alpha(labels, scores, "ordinal"),
        alpha_interval=alpha(labels, scores, "interval"),
        confusion=confusion(labels, scores),
    )


def pairwise_accuracy(scorings: Sequence[Scoring]) -> PairwiseAccuracy:
    """How often the score orders two rollouts of one prompt as their labels do; the interval draws prompts."""
    by_prompt: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for s in scorings:
        if s.label is not None and s.score is not None:
            by_prompt[s.prompt].append((s.label, s.score))
    points, prompts = [], []
    for prompt, group in by_prompt.items():
        for (label, score), (other_label, other_score) in combinations(group, 2):
            if label != other_label:
                product = (label - other_label) * (score - other_score)
                points.append(0.5 if score == other_score else float(product > 0))
                prompts.append(prompt)
    value = fmean(points) if points else None
    return PairwiseAccuracy(
        len(points), points.count(1.0), points.count(0.5), value, mean_interval(points, prompts) if points else None
    )


def spearman(labels: Sequence[float], scores: Sequence[float]) -> float | None:
    if len(set(labels)) < 2 or len(set(scores)) < 2:
        return None
    try:
        from scipy.stats import spearmanr
    except ImportError as e:
        raise MissingExtra("eval", "Spearman's correlation") from e
    return float(spearmanr(labels, scores).statistic)


def alpha(labels: Sequence[float], scores: Sequence[float], level: str) -> float | None:
    """Krippendorff's, of two raters: whoever labelled and the judge. It compares values as they are, so it says
    something only where both use one scale. Raises MissingExtra."""
    if len({*labels, *scores}) < 2:
        return None
    try:
        import krippendorff
    except ImportError as e:
        raise MissingExtra("eval", "Krippendorff's alpha") from e
    return float(krippendorff.alpha(reliability_data=[list(labels), list(scores)], level_of_measurement=level))


def confusion(labels: Sequence[float], scores: Sequence[float]) -> dict[str, dict[str, int]] | None:
    rows, columns = sorted(set(labels)), sorted(set(scores))
    if not rows or max(len(rows), len(columns)) > MAX_LABELS:
        return None
    counts = Counter(zip(labels, scores, strict=True))
    return {f"{label:g}": {f"{score:g}": counts[label, score] for score in columns} for label in rows}


# --- drift


def drift(earlier: Sequence[Scoring], later: Sequence[Scoring]) -> Drift:
    """How scores of the same rollouts changed from one revision to another. The interval draws prompts."""
    before = {(s.prompt, s.rollout): s.score for s in earlier if s.score is not None}
    after = {(s.prompt, s.rollout): s.score for s in later if s.score is not None}
    common = [key for key in before if key in after]
    differences = [after[key] - before[key] for key in common]
    prompts = [prompt for prompt, _ in common]
    interval = mean_interval(differences, prompts) if common else None
    return Drift(
        earlier=earlier[0].revision,
        later=later[0].revision,
        n=len(common),
        n_apart=len(before.keys() ^ after.keys()),
        difference=fmean(differences) if differences else None,
        interval=interval,
        lower=sum(d < 0 for d in differences),
        equal=differences.count(0),
        higher=sum(d > 0 for d in differences),
        word=_say(interval, len(set(prompts))),
    )


def _say(interval: Interval | None, n_prompts: int) -> Word:
    if interval is None or n_prompts < MIN_PROMPTS or interval.low <= 0 <= interval.high:
        return Word.UNTOLD
    return Word.STRICTER if interval.high < 0 else Word.MILDER

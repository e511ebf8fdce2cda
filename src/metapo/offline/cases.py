"""Cases: completions, and the score that each deserves."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from metapo.errors import DataError
from metapo.judge.neutral import neutralize, shorten
from metapo.judge.template import fence
from metapo.reward import Scored
from metapo.rollout import Rollout, rollout_of
from metapo.rubric import Verdict
from metapo.tasks.reading import read_jsonl

SHAPE = "'prompt' and 'completion' (or 'response'), and 'label': a number from 0 to 1, or true or false"
MAX_CHARS = 8_000  # of a completion; several are shown at once
BANDS = ("low", "middle", "high")


@dataclass(frozen=True)
class Case:
    """A rollout and the score that it deserves, in [0, 1], as an annotator or a person says."""

    rollout: Rollout
    label: float

    @property
    def key(self) -> tuple[str, str]:
        """Cases with equal keys ask the same."""
        return self.rollout.prompt, self.rollout.completion


@dataclass(frozen=True)
class Graded:
    """A case under one rubric. `error` (-1 to 1) is how far the score lies above the label, None without a score."""

    case: Case
    scored: Scored

    @property
    def error(self) -> float | None:
        score = self.scored.reward.normalized
        return None if score is None else score - self.case.label

    @property
    def off(self) -> float:
        """The size of the error of a case that has a score."""
        assert self.error is not None
        return abs(self.error)

    @property
    def told(self) -> str:
        return f"the score is {self.scored.reward.normalized:.2f}, the label {self.case.label:.2f}"


def load_labels(path: Path) -> list[Case]:
    """Cases from JSON lines, each once. A row is that of a rollout with a label besides. A label of true is 1, of
    false 0.

    Raises DataError that names the row (counted from 1) for another shape, and for one completion with two labels.
    """
    found: dict[tuple[str, str], tuple[int, Case]] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        case = _case(path, number, row)
        first, known = found.setdefault(case.key, (number, case))
        if known.label != case.label:
            raise DataError(
                f"{path}, row {number}: its completion has the label {case.label:g} here and {known.label:g} in "
                f"row {first}; keep one of them"
            )
    if not found:
        raise DataError(f"{path} holds no rows; expected {SHAPE}")
    return [case for _, case in found.values()]


def _case(path: Path, number: int, row: Mapping[str, Any]) -> Case:
    if "label" not in row:
        raise DataError(f"{path}, row {number}: expected {SHAPE}; it has {', '.join(map(repr, row)) or 'nothing'}")
    label = row["label"]
    if not isinstance(label, int | float) or not math.isfinite(label) or not 0 <= label <= 1:
        raise DataError(f"{path}, row {number}: the label is {label!r}; expected a number from 0 to 1, true or false")
    try:
        return Case(rollout_of(row), float(label))
    except DataError as e:
        raise DataError(f"{path}, row {number}: {e}") from e


def agreement(graded: Sequence[Graded]) -> float | None:
    """1 minus the mean distance of scores and labels, in [0, 1], over the cases that have a score; None without any."""
    errors = [g.off for g in graded if g.error is not None]
    return 1 - fmean(errors) if errors else None


def worst_first(graded: Sequence[Graded]) -> list[Graded]:
    """Those with a score, the largest error first."""
    return sorted((g for g in graded if g.error is not None), key=lambda g: -g.off)


def confusion(graded: Sequence[Graded]) -> str:
    """How many cases of each third of the labels got a score in each third, as text, one line a third of the labels."""
    counts = Counter((_band(g.case.label), _band(g.case.label + g.error)) for g in graded if g.error is not None)
    return "\n".join(
        f"label {label}: " + ", ".join(f"{counts[label, score]} scored {score}" for score in BANDS) for label in BANDS
    )


def _band(score: float) -> str:
    return BANDS[min(int(score * len(BANDS) + 1e-9), len(BANDS) - 1)]


def quoted(label: str, text: str) -> str:
    """Text that we did not write, for the meta model: neutralised, fenced, without its middle where it is long."""
    return fence(label, shorten(neutralize(text), MAX_CHARS).text)


def verdicts_text(scored: Scored) -> str:
    """What the judge said of each criterion, one line each."""
    verdicts = [o for o in scored.assessment.outcomes if isinstance(o, Verdict)]
    return "\n".join(f"- {v.criterion_id}: {v.value:g}. {neutralize(v.rationale)}".rstrip() for v in verdicts)

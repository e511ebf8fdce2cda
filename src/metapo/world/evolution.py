"""A rubric's evolution as the report shows it: each revision against the one before, with the words that differ."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from metapo.meta.step import Decision
from metapo.rubric import Criterion, Polarity, Revision, Rubric
from metapo.rubric_diff import Change, CriterionDiff, Line, diff_rubrics
from metapo.rubric_text import render_rubric
from metapo.world.runs import Arm

_LEVEL = re.compile(r"^([+-]\d+)  ")


@dataclass(frozen=True)
class LineView:
    """One line of a difference as pieces of text, each marked or not as what differs."""

    change: Change
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class CriterionView:
    """A criterion that was added, removed or changed, or stands in a first revision; `note` says what it has besides
    levels."""

    name: str
    what: str
    note: str
    lines: tuple[LineView, ...]


@dataclass(frozen=True)
class RevisionView:
    """A revision as adopted: its number from 1, the step from which it scores, and the criteria that it changed."""

    number: int
    step: int
    revision: Revision
    text: str
    criteria: tuple[CriterionView, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class DecisionView:
    """How a meta step that began after `step` steps ended, in words, and why it began; `number` is the revision that it
    brought, None where it brought none."""

    step: int
    why: str
    decision: str
    reason: str
    number: int | None


def view_revisions(lineage: Sequence[tuple[int, Revision]]) -> tuple[RevisionView, ...]:
    """The revisions in order, each against the one before. The first one shows all of its criteria."""
    views = []
    for i, (step, revision) in enumerate(lineage):
        before, after = lineage[max(0, i - 1)][1].rubric, revision.rubric
        diffs = diff_rubrics(before, after)
        shown = [view_criterion(d, before, after) for d in diffs if i == 0 or d.changed]
        unchanged = [_find(d, after).name for d in diffs if i > 0 and not d.changed]
        views.append(RevisionView(i + 1, step, revision, render_rubric(after), tuple(shown), tuple(unchanged)))
    return tuple(views)


def view_criterion(diff: CriterionDiff, before: Rubric, after: Rubric) -> CriterionView:
    """A difference with its words marked where a line replaces another."""
    what = {Change.ADDED: "added", Change.REMOVED: "removed"}.get(diff.change, "changed" if diff.changed else "")
    criterion = _find(diff, before if diff.change is Change.REMOVED else after)
    # The first line holds the name and what `note` says: it is news only where it differs between the two.
    is_news = diff.change is Change.SAME and diff.lines[0].change is not Change.SAME
    lines = _mark_lines(diff.lines if is_news else diff.lines[1:])
    return CriterionView(criterion.name, what, _note(criterion), tuple(lines))


def _find(diff: CriterionDiff, rubric: Rubric) -> Criterion:
    return next(c for c in rubric.criteria if c.id == diff.criterion_id)


def _note(criterion: Criterion) -> str:
    notes = {
        "only takes points off": criterion.polarity is Polarity.NEGATIVE,
        f"counts {criterion.weight:g} times": criterion.weight != 1,
        "pinned: no meta step may change it": criterion.pinned,
        "evidence: a verdict needs a quote that the completion holds": criterion.evidence,
    }
    return ", ".join(note for note, holds in notes.items() if holds)


def _mark_lines(lines: Sequence[Line]) -> list[LineView]:
    texts = [_LEVEL.sub(_points, line.text) for line in lines]
    views = [LineView(line.change, ((text, False),)) for line, text in zip(lines, texts, strict=True)]
    for i, (old, new) in enumerate(pairwise(lines)):
        if (old.change, new.change) == (Change.REMOVED, Change.ADDED):
            before, after = mark_words(texts[i], texts[i + 1])
            views[i : i + 2] = [LineView(Change.REMOVED, before), LineView(Change.ADDED, after)]
    return views


def _points(match: re.Match[str]) -> str:
    points = int(match[1])
    return f"{points} point{'s' * (abs(points) != 1)}: ".replace("-", "−")


def mark_words(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """Both texts as pieces, marked where the words differ; joined with spaces the pieces give the text's words."""
    a, b = old.split(), new.split()
    before, after = [], []
    for tag, a_start, a_end, b_start, b_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        before.append((" ".join(a[a_start:a_end]), tag != "equal"))
        after.append((" ".join(b[b_start:b_end]), tag != "equal"))
    return tuple(p for p in before if p[0]), tuple(p for p in after if p[0])


def view_decisions(arm: Arm) -> tuple[DecisionView, ...]:
    """The first seed's meta steps in order."""
    numbers = {revision.short_id: number for number, (_, revision) in enumerate(arm.lineage, 1)}
    return tuple(_view_decision(row, numbers) for row in arm.first.meta_steps)


def _view_decision(row: Mapping[str, Any], numbers: Mapping[str, int]) -> DecisionView:
    decision = Decision(row["decision"])
    return DecisionView(
        step=row.get("began", row["step"]),  # a run of a version whose meta steps never overlapped training has one
        why=row.get("why", ""),
        decision=decision.in_words,
        reason=row["reason"],
        number=numbers.get(row["revision"]) if decision.brings_child else None,
    )

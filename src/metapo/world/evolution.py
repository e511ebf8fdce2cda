"""A rubric's evolution as the report shows it: each revision against the one before, with the words that differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from metapo.rubric import Revision, Rubric
from metapo.rubric_diff import Change, CriterionDiff, diff_rubrics
from metapo.rubric_text import render_rubric
from metapo.world.runs import Arm


@dataclass(frozen=True)
class LineView:
    """One line of a difference as pieces of text, each marked or not as what differs."""

    change: Change
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class CriterionView:
    """A criterion that was added, removed or changed."""

    name: str
    what: str
    lines: tuple[LineView, ...]


@dataclass(frozen=True)
class RevisionView:
    """A revision as adopted: its number from 1, the step from which it scores, and what it changed."""

    number: int
    step: int
    revision: Revision
    text: str
    changed: tuple[CriterionView, ...]
    unchanged: tuple[str, ...]


@dataclass(frozen=True)
class DecisionView:
    """How a meta step ended; `number` is the revision that it brought, None where it brought none."""

    step: int
    decision: str
    reason: str
    number: int | None


def view_revisions(lineage: Sequence[tuple[int, Revision]]) -> tuple[RevisionView, ...]:
    """The revisions in order, each against the one before; the first one has nothing to differ from."""
    rubrics = [None, *(revision.rubric for _, revision in lineage)]
    views = []
    for number, ((before, after), (step, revision)) in enumerate(zip(pairwise(rubrics), lineage, strict=True), 1):
        diffs = diff_rubrics(before, after) if before and after else []
        changed = tuple(view_criterion(d, before, after) for d in diffs if before and after and d.changed)
        unchanged = tuple(_name(d, after) for d in diffs if after and not d.changed)
        views.append(RevisionView(number, step, revision, render_rubric(revision.rubric), changed, unchanged))
    return tuple(views)


def view_criterion(diff: CriterionDiff, before: Rubric, after: Rubric) -> CriterionView:
    """A difference with its words marked where a line replaces another."""
    what = {Change.ADDED: "added", Change.REMOVED: "removed", Change.SAME: "changed"}[diff.change]
    rubric = before if diff.change is Change.REMOVED else after
    return CriterionView(_name(diff, rubric), what, tuple(_mark_lines(diff)))


def _name(diff: CriterionDiff, rubric: Rubric) -> str:
    criterion = rubric.criterion(diff.criterion_id)
    return criterion.name if criterion else diff.criterion_id


def _mark_lines(diff: CriterionDiff) -> Iterable[LineView]:
    lines = [LineView(line.change, ((line.text, False),)) for line in diff.lines]
    for i, (old, new) in enumerate(pairwise(diff.lines)):
        if (old.change, new.change) == (Change.REMOVED, Change.ADDED):
            before, after = mark_words(old.text, new.text)
            lines[i : i + 2] = [LineView(old.change, before), LineView(new.change, after)]
    return lines


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
    return tuple(
        DecisionView(
            step=row["step"],
            decision=row["decision"],
            reason=row["reason"],
            number=numbers.get(row["revision"]) if row["decision"] == "adopted" else None,
        )
        for row in arm.first.meta_steps
    )

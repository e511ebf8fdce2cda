"""What changed between two rubrics, criterion by criterion and level by level, and word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum

from metapo.rubric import Criterion, Rubric


class Change(StrEnum):
    """How a criterion, or a line of one, differs."""

    ADDED = "+"
    REMOVED = "-"
    SAME = " "


@dataclass(frozen=True)
class Line:
    """One line of a difference: a field or a level of a criterion."""

    change: Change
    text: str


@dataclass(frozen=True)
class CriterionDiff:
    """A criterion with its lines; `change` is SAME where it stands in both rubrics, changed or not."""

    criterion_id: str
    change: Change
    lines: tuple[Line, ...]

    @property
    def changed(self) -> bool:
        return any(line.change is not Change.SAME for line in self.lines)


def diff_rubrics(before: Rubric, after: Rubric) -> list[CriterionDiff]:
    """Every criterion of both rubrics: those of `after` in its order, then those that were removed."""
    present = [_diff(before.criterion(c.id), c) for c in after.criteria]
    return present + [_diff(c, None) for c in before.criteria if after.criterion(c.id) is None]


def diff_words(before: str, after: str) -> list[Line]:
    """The words of both texts in order, in runs of one change each, with the white space behind them. Without those
    that were added the text is `before`, without those that were removed it is `after`."""
    old, new = (re.findall(r"\S+\s*|\s+", text) for text in (before, after))
    lines: list[Line] = []
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines.append(Line(Change.SAME, "".join(new[c:d])))
            continue
        lines += [Line(Change.REMOVED, "".join(old[a:b]))] if b > a else []
        lines += [Line(Change.ADDED, "".join(new[c:d]))] if d > c else []
    return lines


def _diff(before: Criterion | None, after: Criterion | None) -> CriterionDiff:
    old, new = _lines(before), _lines(after)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key):
            lines.append(Line(Change.SAME, new[key]))
            continue
        lines += [Line(Change.REMOVED, old[key])] if key in old else []
        lines += [Line(Change.ADDED, new[key])] if key in new else []
    criterion = after or before
    assert criterion is not None
    change = Change.ADDED if before is None else Change.REMOVED if after is None else Change.SAME
    return CriterionDiff(criterion.id, change, tuple(lines))


def _lines(criterion: Criterion | None) -> dict[tuple[int, int], str]:
    """A criterion as text lines, keyed by what they say: fields first, then levels by points."""
    if criterion is None:
        return {}
    weight = repr(criterion.weight).removesuffix(".0")
    marks = [name for name, is_set in (("pinned", criterion.pinned), ("evidence", criterion.evidence)) if is_set]
    flags = ", ".join([f"weight {weight}", criterion.polarity.value, *marks])
    lines = {(0, 0): f"{criterion.name} ({flags})"}
    if criterion.instruction:
        lines[(0, 1)] = criterion.instruction
    for level in criterion.levels:
        example = f" (Example: {level.example})" if level.example else ""
        lines[(1, level.points)] = f"{level.points:+d}  {level.description}{example}"
    return lines

"""What changed from one revision to another, field by field and word by word."""

from collections.abc import Iterator
from typing import NamedTuple

from metapo.rubric import Criterion, Rubric
from metapo.rubric_diff import diff_words
from metapo.viewing.answers import CriterionDiff, DiffAnswer, FieldDiff, Word

ADDED, REMOVED, CHANGED, SAME = "+", "-", "~", " "


class _Key(NamedTuple):
    """A field's name; a level's points behind it."""

    field: str
    points: int | None = None


def difference(from_id: str, before: Rubric, to_id: str, after: Rubric) -> DiffAnswer:
    """Every criterion of both rubrics: those of `after` in its order, then those that were removed."""
    present = [_criterion(before.criterion(c.id), c) for c in after.criteria]
    gone = [_criterion(c, None) for c in before.criteria if after.criterion(c.id) is None]
    return DiffAnswer(from_id=from_id, to_id=to_id, criteria=tuple(present + gone))


def _criterion(before: Criterion | None, after: Criterion | None) -> CriterionDiff:
    criterion = after or before
    assert criterion is not None
    fields = tuple(_fields(_texts(before), _texts(after)))
    if before is None or after is None:
        change = ADDED if before is None else REMOVED
    else:
        change = CHANGED if any(f.change != SAME for f in fields) else SAME
    return CriterionDiff(id=criterion.id, name=criterion.name, change=change, fields=fields)


def _fields(old: dict[_Key, str], new: dict[_Key, str]) -> Iterator[FieldDiff]:
    """Levels that one text lacks stand between the others, by points."""
    keys = list(dict.fromkeys([*new, *old]))
    named, levels = [k for k in keys if k.points is None], [k for k in keys if k.points is not None]
    for key in [*named, *sorted(levels, key=lambda k: k.points or 0)]:
        before, after = old.get(key, ""), new.get(key, "")
        change = SAME if before == after else ADDED if key not in old else REMOVED if key not in new else CHANGED
        words = tuple(Word(change=line.change.value, text=line.text) for line in diff_words(before, after))
        yield FieldDiff(field=key.field, points=key.points, change=change, words=words)


def _texts(criterion: Criterion | None) -> dict[_Key, str]:
    """A criterion as texts. A field that says nothing is none."""
    if criterion is None:
        return {}
    fields = {
        "name": criterion.name,
        "instruction": criterion.instruction,
        "weight": f"{criterion.weight:g}",
        "polarity": criterion.polarity.value,
        "pinned": "pinned" if criterion.pinned else "",
        "evidence": "verdicts need a quote" if criterion.evidence else "",
    }
    levels = {
        _Key("level", level.points): f"{level.description} (Example: {level.example})"
        if level.example
        else level.description
        for level in criterion.levels
    }
    return {_Key(name): text for name, text in fields.items() if text} | levels

"""Hygiene after merging: no duplicates, order stable, pinned criteria kept, bounded in criteria and words."""

from collections.abc import Sequence

from metapo.rubric import Criterion, Rubric


def tidy(parent: Rubric, proposed: Sequence[Criterion], max_criteria: int, max_words: int) -> tuple[Rubric, list[str]]:
    """A rubric from proposed criteria (at least one), and a note for each that was left out or put back.

    Pinned criteria of the parent stand first, unchanged; the others keep the order in which they came. A proposal
    can't pin. Two criteria are duplicates when their ids or their levels are equal.
    """
    notes: list[str] = []
    kept = [c for c in parent.criteria if c.pinned]
    n_pinned = len(kept)
    for criterion in proposed:
        criterion = criterion.model_copy(update={"pinned": False})
        if twin := next((k for k in kept if k.id == criterion.id or k.levels == criterion.levels), None):
            if not (twin.pinned and twin.id == criterion.id):
                notes.append(f"left out {criterion.id!r}: it repeats {twin.id!r}")
            continue
        kept.append(criterion)
    while len(kept) > max(max_criteria, n_pinned, 1):
        notes.append(f"left out {kept.pop().id!r}: more than {max_criteria} criteria")
    while len(kept) > max(n_pinned, 1) and Rubric(criteria=tuple(kept)).n_words > max_words:
        notes.append(f"left out {kept.pop().id!r}: more than {max_words} words")
    return Rubric(criteria=tuple(kept)), notes

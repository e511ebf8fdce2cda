"""Compound criteria become atomic ones: the meta model writes one criterion for each thing that one demanded."""

from collections.abc import Sequence

from metapo.judge.template import load_template
from metapo.meta.conversation import Exchange, MetaModel, Stage, attempt
from metapo.meta.propose import read
from metapo.rubric import Criterion, Rubric
from metapo.rubric_lint import compound, repeats
from metapo.rubric_text import render_criterion, render_rubric


async def split(model: MetaModel, rubric: Rubric, log: list[Exchange]) -> tuple[Rubric, list[str]]:
    """The rubric with atomic criteria in the place of each compound one, and a note for each that was tried.

    Pinned criteria stay, and so does a compound one whose parts can't be read or find no place within
    `max_criteria`. Run `tidy` on the result: more criteria hold more words. Raises ChatMisconfigured.
    """
    notes: list[str] = []
    for criterion in rubric.criteria:
        why = compound(criterion)
        if why and not criterion.pinned:
            rubric, note = await _split_one(model, rubric, criterion, why, log)
            notes.append(note)
    return rubric, notes


async def _split_one(
    model: MetaModel, rubric: Rubric, criterion: Criterion, why: str, log: list[Exchange]
) -> tuple[Rubric, str]:
    room = model.settings.max_criteria - len(rubric.criteria) + 1
    if room < 2:
        return rubric, f"left {criterion.id!r} compound: no place within {model.settings.max_criteria} criteria"
    written, n_asked = await _parts(model, rubric, criterion, why, room, log)
    if problem := _problem(written, n_asked, room):
        return rubric, f"left {criterion.id!r} as it is: {problem}"
    others = [c for c in rubric.criteria if c.id != criterion.id]
    parts = [_like(criterion, part) for part in written if not any(_is_there(c, part) for c in others)]
    if not parts:
        return rubric, f"left {criterion.id!r} as it is: other criteria judge each part of it"
    after = [c for old in rubric.criteria for c in (parts if old.id == criterion.id else [old])]
    return Rubric(criteria=tuple(after)), f"split {criterion.id!r} into {', '.join(repr(p.id) for p in parts)}"


async def _parts(
    model: MetaModel, rubric: Rubric, criterion: Criterion, why: str, room: int, log: list[Exchange]
) -> tuple[Sequence[Criterion], int]:
    """The criteria that the meta model wrote, and how many it was asked for; none where a request failed."""
    prompt = load_template("metapo.meta", "split_count").render(
        task=model.task,
        rubric=render_rubric(rubric),
        why=why,
        criterion=render_criterion(criterion),
        max_parts=str(room),
    )
    n_before = len(log)
    text = await attempt(model.talk(Stage.SPLIT, log).write_rubric(prompt, "split_criterion"))
    return (read(text).criteria if text else ()), len(log) - n_before - 1


def _problem(parts: Sequence[Criterion], n_asked: int, room: int) -> str:
    """Why parts can't stand in for a criterion, or "": a demand could be lost, or there are too many."""
    if n_asked == len(parts) == 1:
        return "it demands one thing"
    if len(parts) < max(2, n_asked) or len({p.id for p in parts}) < len(parts):
        return "its parts can't be read"
    return f"{len(parts)} parts, and place for {room}" if len(parts) > room else ""


def _is_there(other: Criterion, part: Criterion) -> bool:
    return other.id == part.id or repeats(other, part)


def _like(criterion: Criterion, part: Criterion) -> Criterion:
    """A part, weighed and proven as the criterion was that it comes from."""
    return part.model_copy(update={"weight": criterion.weight, "evidence": criterion.evidence, "pinned": False})

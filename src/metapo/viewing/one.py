"""One rollout in full, one prompt through the steps, and prompts under two revisions side by side."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from metapo.errors import UnknownRecord
from metapo.judge.evidence import find_quote
from metapo.rollout import Split
from metapo.rubric import Rubric
from metapo.store import schema as t
from metapo.store.views import live
from metapo.viewing.answers import (
    Bridged,
    CallShown,
    FlagShown,
    OpinionShown,
    PairOfSides,
    PairsAnswer,
    PromptAnswer,
    RolloutAnswer,
    Span,
    VerdictShown,
)
from metapo.viewing.rollouts import Order, after, entries_of, make_cursor, r, read_cursor, steps_of, stored_id
from metapo.viewing.rollouts import rollout as live_rollout
from metapo.viewing.runs import Viewed

A_SIDE = 8
MOST_PAIRED = 5_000
_PLACE = (r.step, r.split, r.position, r.attempt_id)


def rollout(run: Viewed, rollout_id: str) -> RolloutAnswer:
    """Raises UnknownRecord, StoreError."""
    with run.store.snapshot() as db:
        row = db.execute(sa.select(live_rollout).where(r.id == stored_id(rollout_id))).one_or_none()
        if row is None:
            raise UnknownRecord(f"{run.name} has no rollout {rollout_id!r} that counts")
        others = [r.prompt_id == row.prompt_id, r.step == row.step, r.split == row.split, r.id != row.id]
        [entry] = entries_of(db, [row.id])
        group = entries_of(db, db.scalars(sa.select(r.id).where(*others).order_by(*_PLACE).limit(64)).all())
        verdicts, opinions, calls, flags = (
            _of(db, table, row.id) for table in (t.verdict, t.opinion, t.judge_call, t.rollout_flag)
        )
        read_by = _read_by(db, row)
    return RolloutAnswer(
        entry=entry,
        prompt=row.prompt,
        completion=row.completion,
        reference=row.reference,
        verdicts=_verdicts(verdicts, run.rubric(row.revision_id), row.completion),
        opinions=tuple(_opinion(opinion) for opinion in opinions),
        calls=tuple(_call(call) for call in calls),
        flags=tuple(FlagShown(detector=flag.detector, detail=flag.detail) for flag in flags),
        group=tuple(group),
        read_by=read_by,
        n_reused=row.n_reused,
        n_left_out=row.n_left_out,
    )


def prompt(run: Viewed, prompt_id: str, cursor: str | None, limit: int) -> PromptAnswer:
    """A prompt's rollouts by step. Raises UnknownRecord, DataError, StoreError."""
    of_prompt = r.prompt_id == prompt_id
    asked = sa.select(r.id, *_PLACE).where(of_prompt, *after(cursor, Order.OLDEST, _PLACE)).order_by(*_PLACE)
    with run.store.snapshot() as db:
        first = db.execute(sa.select(r.prompt, r.reference).where(of_prompt).limit(1)).one_or_none()
        if first is None:
            raise UnknownRecord(f"{run.name} has no rollout of the prompt {prompt_id!r} that counts")
        rows = db.execute(asked.limit(limit + 1)).all()
        entries = entries_of(db, [row.id for row in rows[:limit]])
    following = make_cursor(Order.OLDEST, list(rows[limit - 1][1:])) if len(rows) > limit else None
    return PromptAnswer(
        prompt_id=prompt_id,
        prompt=first.prompt,
        reference=first.reference,
        rollouts=tuple(entries),
        next=following,
    )


def pairs(run: Viewed, left: str, right: str, cursor: str | None, limit: int) -> PairsAnswer:
    """Prompts with rollouts under both revisions, in the order of their ids. Raises UnknownRevision, DataError."""
    sides = [run.store.find_revision(prefix).id for prefix in (left, right)]
    [last] = read_cursor(cursor, "pairs", [str]) if cursor else [""]
    found = []
    with run.store.snapshot() as db:
        known = [_prompts(db, revision, steps_of(run, revision)) for revision in sides]
        both = sorted(i for i in known[0].keys() & known[1].keys() if i > last)
        for prompt_id in both[:limit]:
            entries = [entries_of(db, ids[prompt_id][:A_SIDE]) for ids in known]
            found.append(
                PairOfSides(
                    prompt_id=prompt_id,
                    prompt_snippet=entries[0][0].prompt_snippet,
                    left=tuple(entries[0]),
                    right=tuple(entries[1]),
                )
            )
    following = make_cursor("pairs", [both[limit - 1]]) if len(both) > limit else None
    return PairsAnswer(left=sides[0], right=sides[1], pairs=tuple(found), bridge=_bridged(run, *sides), next=following)


def _prompts(db: sa.Connection, revision: str, steps: tuple[int | None, int | None]) -> dict[str, list[str]]:
    """The newest rollouts that a revision scored in these steps, both ends in, by prompt, newest first."""
    ends = [r.step >= steps[0]] if steps[0] is not None else []
    ends += [r.step <= steps[1]] if steps[1] is not None else []
    newest = sa.select(r.prompt_id, r.id).where(r.revision_id == revision, *ends)
    found: dict[str, list[str]] = {}
    for row in db.execute(newest.order_by(*(column.desc() for column in _PLACE)).limit(MOST_PAIRED)):
        found.setdefault(row.prompt_id, []).append(row.id)
    return found


def _bridged(run: Viewed, left: str, right: str) -> Bridged | None:
    """The figures of the bridge from one revision to the other, where the run built one."""
    if left not in run.revision(right).parents:
        return None
    for row in run.figures.read().of("bridge"):
        if right.startswith(row["revision"]):
            told = {name.removeprefix("bridge/"): value for name, value in row.items() if name.startswith("bridge/")}
            return Bridged(step=row["step"], **told)
    return None


def _of(db: sa.Connection, table: sa.Table, rollout_id: str) -> Sequence[Any]:
    asked = sa.select(table).where(table.c.rollout_id == rollout_id)
    return db.execute(asked.order_by(*table.primary_key.columns)).all()


def _read_by(db: sa.Connection, row: Any) -> tuple[int, ...]:
    """The meta steps that read a training rollout; they know it by its place."""
    if row.split != Split.TRAIN:
        return ()
    s, m = t.meta_sample.c, live(t.meta_step).c
    same = (m.attempt_id == s.attempt_id) & (m.cluster == s.cluster) & (m.step == s.step)
    place = (s.rollout_step == row.step) & (s.rollout_position == row.position) & (s.cluster == row.cluster)
    return tuple(db.scalars(sa.select(s.step).where(place, same).distinct().order_by(s.step)))


def _verdicts(rows: Sequence[Any], rubric: Rubric, completion: str) -> tuple[VerdictShown, ...]:
    """In the rubric's order."""
    order = [criterion.id for criterion in rubric.criteria]
    rows = sorted(rows, key=lambda row: order.index(row.criterion_id) if row.criterion_id in order else len(order))
    return tuple(_verdict(row, rubric, completion) for row in rows)


def _verdict(row: Any, rubric: Rubric, completion: str) -> VerdictShown:
    criterion = rubric.criterion(row.criterion_id)
    level = criterion.level(row.points) if criterion and row.points is not None else None
    return VerdictShown(
        criterion=row.criterion_id,
        name=criterion.name if criterion else row.criterion_id,
        weight=criterion.weight if criterion else 1.0,
        min_points=criterion.min_points if criterion else None,
        max_points=criterion.max_points if criterion else None,
        points=row.points,
        value=row.points if row.expected is None else row.expected,
        uncertainty=row.uncertainty,
        label_mass=row.label_mass,
        level=level.description if level else "",
        rationale=row.rationale,
        quote=row.quote,
        spans=tuple(Span(start=start, end=end) for start, end in find_quote(completion, row.quote)),
        missing=row.reason,
        detail=row.detail,
    )


def _opinion(row: Any) -> OpinionShown:
    return OpinionShown(
        role=row.role,
        judge=row.judge,
        criterion=row.criterion_id,
        points=row.points,
        value=row.value,
        rationale=row.rationale,
        missing=row.reason,
        detail=row.detail,
    )


def _call(row: Any) -> CallShown:
    return CallShown(**{name: getattr(row, name) for name in CallShown.model_fields})

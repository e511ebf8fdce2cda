"""What a store keeps for services: who asked for what, which steps are over, and the run's metrics.

Several services may write at once. A step is counted as closed when what it brought is in force and on record.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from metapo.rollout import Split
from metapo.rubric import Outcome
from metapo.store import schema as t
from metapo.store.calls import append_calls, count_calls
from metapo.store.database import next_number
from metapo.store.lineages import Lineages, append_anchor_rows
from metapo.store.postgres import take_turns
from metapo.store.records import AnchorRecord, RolloutRecord
from metapo.store.rows import (
    insert_rollouts,
    read_call,
    read_opinion,
    read_outcome,
    read_rollout,
    rollout_id,
)
from metapo.store.views import live

_live_metric = live(t.metric)


class Standing(NamedTuple):
    """How far a run is: its newest attempt (0: none has begun), how many steps are over, and the error that the last
    of them ended in, if any."""

    attempt: int
    step: int
    error: str = ""


class Member(NamedTuple):
    """One completion of a group. `step` is the engine's; None where it tells none."""

    split: Split
    group: str
    step: int | None


class Counting(NamedTuple):
    """How steps are counted where the engine tells none: so many groups a step, each of so many completions."""

    groups: int
    group_size: int


class Serving(Lineages):
    """Each method is one transaction."""

    def serve(self, settings: str, anchors: Sequence[AnchorRecord] = ()) -> str | None:
        """The settings that this store serves under already; None where it does under those given, with these anchors,
        from now on."""
        with self._transaction(writes=True) as db:
            take_turns(db, "served")
            known: str | None = db.scalar(sa.select(t.served.c.settings))
            if known is None:
                db.execute(t.served.insert(), {"id": 1, "settings": settings})
                append_anchor_rows(db, None, 0, "", anchors)
        return known

    def served(self) -> str | None:
        """The settings that this store serves under; None where it serves none."""
        with self._transaction() as db:
            found: str | None = db.scalar(sa.select(t.served.c.settings))
        return found

    def standing(self) -> Standing:
        with self._transaction() as db:
            return _standing(db)

    def place(self, members: Sequence[Member], counting: Counting | None) -> tuple[Standing, list[int]]:
        """The step that each member belongs to, with what the run stood at.

        The first member of a named group fixes the step for all of it. A member without a step is counted, if the
        engine's steps are, and else belongs to the step that is open.
        """
        with self._transaction() as db:
            standing = _standing(db)
            known = _steps_of_groups(db, standing.attempt, sorted({m.group for m in members if m.group}))
        if not any(m.group and (_is_counted(m, counting) or (m.split, m.group) not in known) for m in members):
            return standing, [known.get((m.split, m.group), _asked(m, standing)) for m in members]
        with self._transaction(writes=True) as db:
            take_turns(db, "group_member")
            standing = _standing(db)
            return standing, [_place(db, standing, member, counting) for member in members]

    def append_scored(self, attempt: int, records: Sequence[RolloutRecord], keys: Sequence[str]) -> list[RolloutRecord]:
        """Write rollouts in this order, each in the next free place of its step, and return them so. What is on record
        under one of the `keys` ("" is none) already is returned as it is, and not written again."""
        with self._transaction(writes=True) as db:
            take_turns(db, "rollout")
            known = _recorded(db, attempt, keys)
            first = {key: i for i, key in reversed(list(enumerate(keys)))}
            new = [i for i, key in enumerate(keys) if not key or (key not in known and first[key] == i)]
            written = dict(zip(new, _numbered(db, attempt, [records[i] for i in new]), strict=True))
            insert_rollouts(db, attempt, list(written.values()))
            named = [
                {"attempt_id": attempt, "key": keys[i], "rollout_id": rollout_id(attempt, r.rollout)}
                for i, r in written.items()
                if keys[i]
            ]
            if named:
                db.execute(t.rollout_key.insert(), named)
            by_key = known | {keys[i]: r for i, r in written.items()}
            doubled = [record for i, record in enumerate(records) if i not in written]  # scored twice, paid for twice
            for record in doubled:
                append_calls(db, attempt, record.rollout.step, record.calls)
            count_calls(db, self.writer, [call for r in (*written.values(), *doubled) for call in r.calls])
        return [written[i] if i in written else by_key[key] for i, key in enumerate(keys)]

    def recorded(self, attempt: int, keys: Sequence[str]) -> dict[str, RolloutRecord]:
        """What is on record under these keys, by key, without calls."""
        with self._transaction() as db:
            return _recorded(db, attempt, keys)

    def batch(self, attempt: int, from_step: int, to_step: int | None) -> list[RolloutRecord]:
        """All that an attempt scored in steps `from_step` <= step < `to_step`, evaluation too, with calls and opinions;
        by step, split and position."""
        r = t.rollout.c
        where = [r.attempt_id == attempt, r.step >= from_step]
        if to_step is not None:
            where.append(r.step < to_step)
        with self._transaction() as db:
            rows = db.execute(sa.select(t.rollout).where(*where).order_by(r.step, r.split, r.position)).all()
            outcomes = _by_rollout(db, t.verdict, where)
            calls = _by_rollout(db, t.judge_call, where)
            opinions = _by_rollout(db, t.opinion, where)
        return [
            replace(
                read_rollout(row, [read_outcome(o) for o in outcomes.get(row.id, [])]),
                calls=tuple(map(read_call, sorted(calls.get(row.id, []), key=lambda c: c.number))),
                opinions=tuple(map(read_opinion, sorted(opinions.get(row.id, []), key=_of_whom))),
            )
            for row in rows
        ]

    def close_boundary(self, attempt: int, step: int, now: datetime, error: str = "") -> None:
        """`step` steps are over, and what they brought is in force."""
        row = {"attempt_id": attempt, "step": step, "error": error, "closed_at": now.isoformat(timespec="seconds")}
        with self._transaction(writes=True) as db:
            db.execute(t.boundary.insert(), row)

    def append_metric(self, attempt: int, row: Mapping[str, Any]) -> int:
        """Keep a row of the run's metrics, which has a `kind` and a `step`; returns its number."""
        with self._transaction(writes=True) as db:
            number = next_number(db, t.metric.c.number)
            named = {"attempt_id": attempt, "step": row["step"], "kind": row["kind"]}
            db.execute(t.metric.insert(), {"number": number, **named, "body": json.dumps(row)})
        return number

    def metrics(self, after: int = 0, *, live: bool = True) -> list[tuple[int, dict[str, Any]]]:
        """Rows of the run's metrics with their numbers, oldest first: those after a number, and unless `live` those
        too that a later attempt superseded."""
        table = _live_metric if live else t.metric
        with self._transaction() as db:
            query = sa.select(table.c.number, table.c.body).where(table.c.number > after).order_by(table.c.number)
            return [(row.number, json.loads(row.body)) for row in db.execute(query)]


def _standing(db: sa.Connection) -> Standing:
    newest = db.execute(sa.select(t.attempt).order_by(t.attempt.c.id.desc()).limit(1)).one_or_none()
    if newest is None:
        return Standing(0, 0)
    b = t.boundary.c
    over = db.execute(
        sa.select(b.step, b.error).where(b.attempt_id == newest.id).order_by(b.step.desc()).limit(1)
    ).one_or_none()
    return Standing(newest.id, over.step, over.error) if over else Standing(newest.id, newest.resumed_step)


def _steps_of_groups(db: sa.Connection, attempt: int, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """By split and name, for those that have begun."""
    g = t.group_member.c
    first = sa.select(g.split, g.name, g.step).where(g.attempt_id == attempt, g.number == 0)
    rows = [row for some in _in_parts(names) for row in db.execute(first.where(g.name.in_(some)))]
    return {(row.split, row.name): int(row.step) for row in rows}


def _in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Few enough for one statement, which a database bounds."""
    return (values[i : i + 500] for i in range(0, len(values), 500))


def _is_counted(member: Member, counting: Counting | None) -> bool:
    return counting is not None and member.step is None and member.split is Split.TRAIN


def _asked(member: Member, standing: Standing) -> int:
    return standing.step if member.step is None else member.step


def _place(db: sa.Connection, standing: Standing, member: Member, counting: Counting | None) -> int:
    g = t.group_member.c
    mine = (g.attempt_id == standing.attempt, g.split == member.split.value)
    if not member.group:
        return _asked(member, standing)
    is_counted = _is_counted(member, counting)
    newest = db.scalar(sa.select(sa.func.max(g.number)).where(*mine, g.name == member.group))
    number = 0 if newest is None else newest + 1
    first = number - number % counting.group_size if counting and is_counted else 0
    step = db.scalar(sa.select(g.step).where(*mine, g.name == member.group, g.number == first))
    if step is not None and not is_counted:
        return int(step)
    if step is None:
        step = _next_step(db, mine, standing.step, counting) if counting and is_counted else _asked(member, standing)
    key = {"attempt_id": standing.attempt, "split": member.split.value, "name": member.group}
    db.execute(t.group_member.insert(), {**key, "number": number, "step": step})
    return int(step)


def _next_step(db: sa.Connection, mine: Sequence[Any], open_step: int, counting: Counting) -> int:
    """The step of a group that begins: the newest one, unless that has all its groups."""
    g = t.group_member.c
    newest = max(db.scalar(sa.select(sa.func.max(g.step)).where(*mine)) or 0, open_step)
    begins = sa.select(sa.func.count()).select_from(t.group_member).where(*mine, g.step == newest)
    n_groups = db.scalar(begins.where(g.number % counting.group_size == 0)) or 0
    return newest + (n_groups >= counting.groups)


def _numbered(db: sa.Connection, attempt: int, records: Sequence[RolloutRecord]) -> list[RolloutRecord]:
    """The same, each in the next free place of its step."""
    taken: Counter[tuple[Split, int]] = Counter()
    r = t.rollout.c
    for split, step in {(record.rollout.split, record.rollout.step) for record in records}:
        newest = db.scalar(
            sa.select(sa.func.max(r.position)).where(r.step == step, r.split == split.value, r.attempt_id == attempt)
        )
        taken[split, step] = 0 if newest is None else newest + 1
    numbered = []
    for record in records:
        place = record.rollout.split, record.rollout.step
        rollout = record.rollout.model_copy(update={"position": taken[place]})
        numbered.append(replace(record, rollout=rollout))
        taken[place] += 1
    return numbered


def _recorded(db: sa.Connection, attempt: int, keys: Sequence[str]) -> dict[str, RolloutRecord]:
    wanted = sorted({key for key in keys if key})
    if not wanted:
        return {}
    k = t.rollout_key.c
    joined = t.rollout.join(t.rollout_key, k.rollout_id == t.rollout.c.id)
    asked = sa.select(t.rollout, k.key).select_from(joined).where(k.attempt_id == attempt)
    rows = [row for some in _in_parts(wanted) for row in db.execute(asked.where(k.key.in_(some)))]
    outcomes: dict[str, list[Outcome]] = {row.id: [] for row in rows}
    for some in _in_parts(list(outcomes)):
        for verdict in db.execute(sa.select(t.verdict).where(t.verdict.c.rollout_id.in_(some))):
            outcomes[verdict.rollout_id].append(read_outcome(verdict))
    return {row.key: read_rollout(row, outcomes[row.id]) for row in rows}


def _of_whom(opinion: Any) -> tuple[str, str, str]:
    return opinion.role, opinion.judge, opinion.criterion_id


def _by_rollout(db: sa.Connection, table: sa.Table, where: Sequence[Any]) -> dict[str, list[Any]]:
    joined = table.join(t.rollout, t.rollout.c.id == table.c.rollout_id)
    found: dict[str, list[Any]] = {}
    for row in db.execute(sa.select(table).select_from(joined).where(*where)):
        found.setdefault(row.rollout_id, []).append(row)
    return found

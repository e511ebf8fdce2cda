"""Rollouts in order, by what they have in common, page by page.

A page begins where the one before it ended, at a key that an index knows: its cost doesn't grow with what lies before
it. What no index knows is looked for in the next `FEW` rollouts, then in at most `MOST_LOOKED_AT`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from metapo.errors import DataError
from metapo.rollout import Split
from metapo.store import schema as t
from metapo.store.text import Text
from metapo.store.views import live
from metapo.viewing.answers import RolloutEntry, RolloutsAnswer
from metapo.viewing.runs import Viewed

FEW, MOST_LOOKED_AT = 1_000, 10_000
SNIPPET = 200
MAX_NUMBER = 2**53
rollout = live(t.rollout)
r = rollout.c
Filter = Callable[[Any], sa.ColumnElement[bool]]
Filters = Sequence[Filter]


class Order(StrEnum):
    """By step, or by reward; what has no reward is in neither of the latter."""

    NEWEST = "newest"
    OLDEST = "oldest"
    BEST = "best"
    WORST = "worst"

    @property
    def is_falling(self) -> bool:
        return self in (Order.NEWEST, Order.BEST)

    @property
    def key(self) -> tuple[sa.ColumnElement[Any], ...]:
        place = (r.step, r.split, r.position, r.attempt_id)
        return (r.value, *place) if self in (Order.BEST, Order.WORST) else place

    @property
    def by(self) -> list[sa.ColumnElement[Any]]:
        """What sorts it."""
        return [column.desc() if self.is_falling else column for column in self.key]


@dataclass(frozen=True)
class Wanted:
    """Which rollouts; None asks for nothing. Both ends of a range are in."""

    split: Split | None = None
    cluster: str | None = None
    from_step: int | None = None
    to_step: int | None = None
    min_reward: float | None = None
    max_reward: float | None = None
    revision: str | None = None
    flag: str | None = None
    criterion: str | None = None
    points: int | None = None
    has_verdict: bool | None = None
    has_reward: bool | None = None
    screened: bool | None = None
    text: str | None = None
    prompt: str | None = None


def find(run: Viewed, wanted: Wanted, order: Order, cursor: str | None, limit: int) -> RolloutsAnswer:
    """One page. Raises DataError for a cursor of something else, UnknownRevision, StoreError."""
    revision = run.store.find_revision(wanted.revision).id if wanted.revision else None
    filters = _filters(wanted, revision)
    last: list[Any] | None
    behind = [*_ranges(run, wanted, revision, order), *after(cursor, order, order.key)]
    with run.store.snapshot() as db:
        for n in (FEW, MOST_LOOKED_AT) if filters else (limit + 1,):
            window = _Window(db, order, sa.select(*_WINDOW).where(*behind).order_by(*order.by).limit(n), n)
            ids = window.passing(filters, limit + 1)
            if len(ids) > limit:
                n_looked_at, last = n, window.key_of(ids[limit - 1])
                break
        else:
            n_looked_at, last = window.size(), window.edge() if filters else None
        ids = ids[:limit]
        entries = entries_of(db, ids)
    following = None if last is None else make_cursor(order, last)
    return RolloutsAnswer(rollouts=tuple(entries), next=following, n_looked_at=n_looked_at)


@dataclass(frozen=True)
class _Window:
    """The next `n` rollouts in an order."""

    db: sa.Connection
    order: Order
    rows: sa.Select[Any]
    n: int

    def passing(self, filters: Filters, limit: int) -> list[str]:
        """The ids of the first ones that pass."""
        w = self.rows.subquery().c
        by = [w[c.name].desc() if self.order.is_falling else w[c.name] for c in self.order.key]
        return list(self.db.scalars(sa.select(w.id).where(*(holds(w) for holds in filters)).order_by(*by).limit(limit)))

    def size(self) -> int:
        return self.db.scalar(sa.select(sa.func.count()).select_from(self.rows.subquery())) or 0

    def edge(self) -> list[Any] | None:
        """The key of the last one; None where there is none behind it."""
        row = self.db.execute(self.rows.with_only_columns(*self.order.key).offset(self.n - 1).limit(1)).one_or_none()
        return None if row is None else list(row)

    def key_of(self, rollout_id: str) -> list[Any]:
        return list(self.db.execute(sa.select(*self.order.key).where(r.id == rollout_id)).one())


def entries_of(db: sa.Connection, ids: Sequence[str]) -> list[RolloutEntry]:
    """These rollouts in this order, as the store names them; what doesn't count any more is left out."""
    rows: dict[str, Any] = {}
    flags: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    v, f = t.verdict.c, t.rollout_flag.c
    for some in _in_parts(ids):
        rows |= {row.id: row for row in db.execute(sa.select(*_SHOWN).where(r.id.in_(some)))}
        for row in db.execute(sa.select(f.rollout_id, f.detector).where(f.rollout_id.in_(some)).order_by(f.detector)):
            flags.setdefault(row.rollout_id, []).append(row.detector)
        unscored = sa.select(v.rollout_id, sa.func.count().label("n")).where(
            v.rollout_id.in_(some), v.reason.is_not(None)
        )
        missing |= {row.rollout_id: row.n for row in db.execute(unscored.group_by(v.rollout_id))}
    return [_entry(rows[i], tuple(flags.get(i, ())), missing.get(i, 0)) for i in ids if i in rows]


def after(cursor: str | None, order: Order, key: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[bool]]:
    """What lies behind a cursor in an order. Raises DataError."""
    if cursor is None:
        return []
    kinds = [float if isinstance(c.type, sa.Float) else int if isinstance(c.type, sa.Integer) else str for c in key]
    at = sa.tuple_(*(sa.literal(v, c.type) for v, c in zip(read_cursor(cursor, order, kinds), key, strict=True)))
    return [sa.tuple_(*key) < at if order.is_falling else sa.tuple_(*key) > at]


def make_cursor(order: str, key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([str(order), *key]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: str, kinds: Sequence[type]) -> list[Any]:
    """The key in a cursor, of values of these kinds. Raises DataError for what is no cursor, or another order's."""
    try:
        named, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError, RecursionError) as e:
        raise DataError("the cursor is none that this server gave; begin without one") from e
    if named != order or len(key) != len(kinds) or not all(map(_is_a, key, kinds)):
        raise DataError(f"the cursor belongs to another question than {order!r}; begin without one")
    return list(key)


def _is_a(value: Any, kind: type) -> bool:
    """Is it a value of this kind that every database can hold?"""
    if kind is str:
        return isinstance(value, str)
    is_number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    return is_number and abs(value) < MAX_NUMBER


def public_id(rollout_id: str) -> str:
    """A rollout's id in addresses: 1-train-12-3."""
    return rollout_id.replace("/", "-")


def stored_id(rollout_id: str) -> str:
    return rollout_id.replace("-", "/")


def snippet(text: str) -> str:
    """How a text begins, on one line."""
    return " ".join(text.split())[:SNIPPET]


_WINDOW = (*(r.id, r.step, r.split, r.position, r.attempt_id, r.value), *(r.cluster, r.revision_id, r.screened))
_SHOWN = (
    *(r.id, r.prompt_id, r.step, r.position, r.split, r.cluster, r.revision_id, r.value, r.normalized, r.raw),
    *(r.monitor, r.screened),
    sa.func.substr(r.prompt, 1, 2 * SNIPPET, type_=Text()).label("prompt_start"),
    sa.func.substr(r.completion, 1, 2 * SNIPPET, type_=Text()).label("start"),
)


def _ranges(run: Viewed, wanted: Wanted, revision: str | None, order: Order) -> list[sa.ColumnElement[bool]]:
    """What an index can go by."""
    first, last = steps_of(run, revision) if revision else (None, None)
    found = [r.step >= step for step in (wanted.from_step, first) if step is not None]
    found += [r.step <= step for step in (wanted.to_step, last) if step is not None]
    found += [r.prompt_id == wanted.prompt] if wanted.prompt is not None else []
    if order in (Order.BEST, Order.WORST):
        found.append(r.value.is_not(None))
        found += [r.value >= wanted.min_reward] if wanted.min_reward is not None else []
        found += [r.value <= wanted.max_reward] if wanted.max_reward is not None else []
    return found


def steps_of(run: Viewed, revision: str) -> tuple[int | None, int | None]:
    """The steps that a revision can have scored, both ends in; none where it never was in force."""
    first: list[int] = []
    last: list[int | None] = []
    for cluster in dict.fromkeys(["", *run.store.clusters()]):
        chain = run.store.adoptions(cluster)
        for i, adoption in enumerate(chain):
            if adoption.revision.id == revision:
                first.append(adoption.step)
                last.append(chain[i + 1].step if i + 1 < len(chain) else None)
    if not first:
        return 0, -1
    return min(first), None if None in last else max(step for step in last if step is not None)


def _filters(wanted: Wanted, revision: str | None) -> Filters:
    """What each rollout in a window, whose columns they take, is held against."""
    equal: Mapping[str, Any] = {"split": wanted.split, "cluster": wanted.cluster, "revision_id": revision}
    found: list[Filter] = [_equals(name, str(value)) for name, value in equal.items() if value is not None]
    if wanted.min_reward is not None:
        found.append(lambda w: w.value >= wanted.min_reward)
    if wanted.max_reward is not None:
        found.append(lambda w: w.value <= wanted.max_reward)
    if wanted.has_reward is not None:
        found.append(lambda w: w.value.is_not(None) if wanted.has_reward else w.value.is_(None))
    if wanted.screened is not None:
        found.append(lambda w: w.screened != "" if wanted.screened else w.screened == "")
    if wanted.flag is not None:
        f = t.rollout_flag.c
        found.append(lambda w: sa.exists().where(f.rollout_id == w.id, f.detector == wanted.flag))
    if wanted.criterion is not None:
        found.append(lambda w: _judged(wanted, w))
    if wanted.text is not None:
        found.append(lambda w: _says(str(wanted.text), w))
    return found


def _equals(name: str, value: str) -> Filter:
    return lambda w: w[name] == value


def _judged(wanted: Wanted, w: Any) -> sa.ColumnElement[bool]:
    v = t.verdict.c
    asked = [v.rollout_id == w.id, v.criterion_id == wanted.criterion]
    asked += [v.points == wanted.points] if wanted.points is not None else []
    if wanted.has_verdict is not None:
        asked.append(v.reason.is_(None) if wanted.has_verdict else v.reason.is_not(None))
    return sa.exists().where(*asked)


def _says(text: str, w: Any) -> sa.ColumnElement[bool]:
    c = t.rollout.c
    parts = (part.icontains(text, autoescape=True) for part in (c.completion, c.prompt))
    return sa.exists().where(c.id == w.id, sa.or_(*parts))


def _entry(row: Any, flags: tuple[str, ...], n_unscored: int) -> RolloutEntry:
    return RolloutEntry(
        id=public_id(row.id),
        prompt_id=row.prompt_id,
        step=row.step,
        position=row.position,
        split=Split(row.split),
        cluster=row.cluster,
        revision=row.revision_id,
        reward=row.value,
        normalized=row.normalized,
        raw=row.raw,
        monitor=row.monitor,
        screened=row.screened,
        flags=flags,
        n_unscored=n_unscored,
        prompt_snippet=snippet(row.prompt_start),
        snippet=snippet(row.start),
    )


def _in_parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[i : i + 500] for i in range(0, len(ids), 500)]

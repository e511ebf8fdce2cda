"""Meta steps: what each read, asked, proposed and found, and how it ended."""

from typing import Any

import sqlalchemy as sa

from metapo.errors import UnknownRecord
from metapo.rollout import Split
from metapo.store import schema as t
from metapo.store.text import Text
from metapo.store.views import live
from metapo.viewing.answers import (
    ExchangeAnswer,
    ExchangeEntry,
    MetaStepAnswer,
    MetaStepEntry,
    MetaStepsAnswer,
    ProposalShown,
    SampleShown,
)
from metapo.viewing.lineage import findings
from metapo.viewing.rollouts import SNIPPET, entries_of, r, snippet
from metapo.viewing.runs import Viewed

_begun, _ended = live(t.meta_begun), live(t.meta_step)
_e = t.meta_exchange.c
_ENTRY = (
    *(_e.position, _e.stage, _e.sample, _e.model, _e.error, _e.prompt_tokens, _e.completion_tokens, _e.cost_usd),
    _e.latency_s,
    sa.func.substr(_e.reply, 1, 2 * SNIPPET, type_=Text()).label("start"),
    sa.func.length(_e.prompt).label("prompt_chars"),
    sa.func.length(_e.reply).label("reply_chars"),
)


def overview(run: Viewed, cluster: str | None) -> MetaStepsAnswer:
    """Every meta step that counts. Raises StoreError."""
    with run.store.snapshot() as db:
        return MetaStepsAnswer(meta_steps=tuple(_entries(db, cluster)))


def in_full(run: Viewed, step: int, cluster: str) -> MetaStepAnswer:
    """Raises UnknownRecord, StoreError."""
    with run.store.snapshot() as db:
        entry = next((e for e in _entries(db, cluster) if e.step == step), None)
        if entry is None:
            raise UnknownRecord(f"{run.name} has no meta step after step {step} for cluster {cluster!r}")
        key = _key(db, step, cluster)
        samples = _samples(db, key)
        of_step = [_e[name] == value for name, value in key.items()]
        exchanges = [_exchange(row) for row in db.execute(sa.select(*_ENTRY).where(*of_step).order_by(_e.position))]
        evidence = _evidence(db, key)
    record = next((m for m in run.store.meta_steps(cluster, brief=True) if m.step == step), None)
    return MetaStepAnswer(
        entry=entry,
        samples=tuple(samples),
        exchanges=tuple(exchanges),
        proposals=tuple(
            ProposalShown(
                number=number,
                revision=p.revision.id,
                accepted=p.accepted,
                reason=p.reason,
                repairs=p.repairs,
                findings=findings(p),
            )
            for number, p in enumerate(record.proposals if record else ())
        ),
        evidence=evidence,
    )


def exchange(run: Viewed, step: int, cluster: str, position: int) -> ExchangeAnswer:
    """Raises UnknownRecord, StoreError."""
    with run.store.snapshot() as db:
        key = {**_key(db, step, cluster), "position": position}
        asked = sa.select(*_ENTRY, _e.prompt, _e.reply).where(*(_e[name] == value for name, value in key.items()))
        row = db.execute(asked).one_or_none()
    if row is None:
        raise UnknownRecord(f"the meta step after step {step} asked the meta model nothing as number {position}")
    return ExchangeAnswer(entry=_exchange(row), prompt=row.prompt, reply=row.reply)


def _key(db: sa.Connection, step: int, cluster: str) -> dict[str, Any]:
    """Which attempt's meta step counts. Of one that is under way nothing is on record yet."""
    attempt = db.scalar(sa.select(_ended.c.attempt_id).where(_ended.c.cluster == cluster, _ended.c.step == step))
    return {"attempt_id": attempt or 0, "cluster": cluster, "step": step}


def _entries(db: sa.Connection, cluster: str | None) -> list[MetaStepEntry]:
    where = [] if cluster is None else [_begun.c.cluster == cluster]
    begun = {(row.cluster, row.step): row for row in db.execute(sa.select(_begun).where(*where))}
    where = [] if cluster is None else [_ended.c.cluster == cluster]
    ended = {(row.cluster, row.step): row for row in db.execute(sa.select(_ended).where(*where))}
    counts = _counts(db)
    found = []
    for place in sorted(begun.keys() | ended.keys(), key=lambda place: (place[1], place[0])):
        row = ended.get(place)
        first = row or begun[place]
        told = {"decision": None} if row is None else _told(row, counts.get((row.attempt_id, *place), {}))
        found.append(MetaStepEntry(cluster=place[0], step=place[1], adopt_step=first.adopt_step, why=first.why, **told))
    return found


def _told(row: Any, counts: dict[str, Any]) -> dict[str, Any]:
    named = {name: getattr(row, name) for name in ("decision", "reason", "seconds")}
    return {**named, "parent": row.parent_id, "child": row.child_id, **counts}


def _counts(db: sa.Connection) -> dict[tuple[int, str, int], dict[str, Any]]:
    """How much each meta step read, asked and proposed, and what its exchanges cost."""
    found: dict[tuple[int, str, int], dict[str, Any]] = {}
    tokens = sa.func.coalesce(_e.prompt_tokens, 0) + sa.func.coalesce(_e.completion_tokens, 0)
    cost: list[sa.ColumnElement[Any]] = [
        sa.func.sum(tokens).label("tokens"),
        sa.func.sum(_e.cost_usd).label("cost_usd"),
    ]
    for name, table, more in (
        ("n_samples", t.meta_sample, []),
        ("n_exchanges", t.meta_exchange, cost),
        ("n_proposals", t.proposal, []),
    ):
        key = [table.c[part] for part in ("attempt_id", "cluster", "step")]
        for row in db.execute(sa.select(*key, sa.func.count().label(name), *more).group_by(*key)):
            figures = dict(zip(row._fields[3:], row[3:], strict=True))
            found.setdefault((row.attempt_id, row.cluster, row.step), {}).update(figures)
    return found


def _samples(db: sa.Connection, key: dict[str, Any]) -> list[SampleShown]:
    s = t.meta_sample.c
    place = (r.step == s.rollout_step) & (r.position == s.rollout_position) & (r.split == Split.TRAIN.value)
    asked = sa.select(r.id, s.why, s.flags).where(place, *(s[name] == value for name, value in key.items()))
    rows = db.execute(asked.order_by(s.position)).all()
    entries = entries_of(db, [row.id for row in rows])
    return [
        SampleShown(rollout=e, why=row.why, flags=tuple(row.flags.split()))
        for e, row in zip(entries, rows, strict=True)
    ]


def _evidence(db: sa.Connection, key: dict[str, Any]) -> dict[str, int]:
    a = t.anchor.c
    of_step = [a[name] == value for name, value in key.items()]
    rows = db.execute(sa.select(a.source, sa.func.count().label("n")).where(*of_step).group_by(a.source))
    return {row.source: row.n for row in rows}


def _exchange(row: Any) -> ExchangeEntry:
    named = {name: getattr(row, name) for name in ExchangeEntry.model_fields if name != "snippet"}
    return ExchangeEntry(**named, snippet=snippet(row.start))

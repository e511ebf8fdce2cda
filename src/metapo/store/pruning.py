"""What of old steps may go once nobody will ask for it again."""

from datetime import datetime

import sqlalchemy as sa

from metapo.store import schema as t
from metapo.store.database import next_number
from metapo.store.lineages import live_rollout


def prune(db: sa.Connection, before_step: int, now: datetime, *, dry_run: bool) -> dict[str, int]:
    """Remove, of the steps before `before_step`, what judges answered word for word and what later attempts superseded;
    returns how many rows of each table, which goes on record. What calls cost stays counted."""
    found = {}
    for table, is_old in _old(before_step).items():
        found[table.name] = db.scalar(sa.select(sa.func.count()).select_from(table).where(is_old)) or 0
        if not dry_run:
            db.execute(table.delete().where(is_old))
    if not dry_run:
        first = next_number(db, t.pruned.c.number)
        told = {"pruned_at": now.isoformat(timespec="seconds"), "before_step": before_step}
        rows = [{"number": n, **told, "what": what, "n_rows": found[what]} for n, what in enumerate(found, first)]
        db.execute(t.pruned.insert(), rows)
    return found


def _old(before_step: int) -> dict[sa.Table, sa.ColumnElement[bool]]:
    """Which rows go, in an order in which no row is left that refers to one."""
    old = sa.select(t.rollout.c.id).where(t.rollout.c.step < before_step)
    live = sa.select(live_rollout.c.id).where(live_rollout.c.step < before_step)
    superseded = old.where(t.rollout.c.id.not_in(live))
    return {
        t.judge_call: t.judge_call.c.rollout_id.in_(old),
        t.other_call: (t.other_call.c.step < before_step) & (t.other_call.c.role != "meta"),
        t.known_answer: t.known_answer.c.step < before_step,
        t.opinion: t.opinion.c.rollout_id.in_(superseded),
        t.verdict: t.verdict.c.rollout_id.in_(superseded),
        t.rollout_flag: t.rollout_flag.c.rollout_id.in_(superseded),
        t.rollout_key: t.rollout_key.c.rollout_id.in_(superseded),
        t.rollout: t.rollout.c.id.in_(superseded),
    }

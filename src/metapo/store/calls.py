"""Calls of models: those that belong to no rollout, and what all of them cost."""

import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from metapo.store import schema as t
from metapo.store.database import next_number
from metapo.store.records import CallRecord

TOTALS = ("n_calls", "n_failed", "prompt_tokens", "completion_tokens", "cost_usd", "latency_s")


def append_calls(db: sa.Connection, attempt: int | None, step: int, calls: Sequence[CallRecord]) -> None:
    if not calls:
        return
    first = next_number(db, t.other_call.c.number)
    key = {"attempt_id": attempt, "step": step}
    db.execute(
        t.other_call.insert(), [{"number": number, **key, **vars(call)} for number, call in enumerate(calls, first)]
    )


def count_calls(db: sa.Connection, writer: str, calls: Sequence[CallRecord]) -> None:
    """Add calls to what this writer's have cost; the last thing in a transaction, as it makes its own others wait."""
    groups: dict[tuple[str, str], list[CallRecord]] = {}
    for call in calls:
        groups.setdefault((call.role, call.model), []).append(call)
    if not groups:
        return
    insert = insert_into(db, t.spent_by)
    added = {name: t.spent_by.c[name] + insert.excluded[name] for name in TOTALS}
    rows = [
        {"writer": writer, "role": role, "model": model, **_totals(of)} for (role, model), of in sorted(groups.items())
    ]
    db.execute(insert.on_conflict_do_update(index_elements=list(t.spent_by.primary_key), set_=added), rows)


def insert_into(db: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may say what to do where the row is there already."""
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


def _totals(calls: Sequence[CallRecord]) -> dict[str, Any]:
    return {
        "n_calls": len(calls),
        "n_failed": sum(call.error != "" for call in calls),
        "prompt_tokens": sum(call.prompt_tokens or 0 for call in calls),
        "completion_tokens": sum(call.completion_tokens or 0 for call in calls),
        "cost_usd": math.fsum(call.cost_usd or 0.0 for call in calls),
        "latency_s": math.fsum(call.latency_s for call in calls),
    }

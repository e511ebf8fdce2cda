"""Records as rows of the store, and back."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Unscored, Verdict
from metapo.store import schema as t
from metapo.store.records import CallRecord, OpinionRecord, RolloutRecord
from metapo.store.text import prompt_id


def rollout_id(attempt: int, rollout: Rollout) -> str:
    return f"{attempt}/{rollout.split}/{rollout.step}/{rollout.position}"


def insert_rollouts(db: sa.Connection, attempt: int, records: Sequence[RolloutRecord]) -> None:
    """Write rollouts with their verdicts, calls and opinions."""
    ids = [rollout_id(attempt, record.rollout) for record in records]
    pairs = list(zip(ids, records, strict=True))
    insert(db, t.rollout, [rollout_row(i, attempt, record) for i, record in pairs])
    insert(db, t.verdict, [verdict_row(i, outcome) for i, record in pairs for outcome in record.outcomes])
    insert(
        db,
        t.judge_call,
        [
            {"rollout_id": i, "number": number, **vars(call)}
            for i, record in pairs
            for number, call in enumerate(record.calls)
        ],
    )
    insert(db, t.opinion, [opinion_row(i, opinion) for i, record in pairs for opinion in record.opinions])


def insert(db: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        db.execute(table.insert(), rows)


def rollout_row(rollout_id: str, attempt: int, record: RolloutRecord) -> dict[str, Any]:
    return {
        "id": rollout_id,
        "attempt_id": attempt,
        **record.rollout.model_dump(mode="json"),
        "revision_id": record.revision_id,
        "value": record.value,
        "normalized": record.normalized,
        "raw": record.raw,
        "n_reused": record.n_reused,
        "n_left_out": record.n_left_out,
        "monitor": record.monitor,
        "screened": record.screened,
        "prompt_id": prompt_id(record.rollout.prompt),
    }


def verdict_row(rollout_id: str, outcome: Outcome) -> dict[str, Any]:
    row = {"rollout_id": rollout_id, "criterion_id": outcome.criterion_id}
    if isinstance(outcome, Verdict):
        return {**row, "reason": None, "detail": "", **outcome.model_dump(exclude={"criterion_id"})}
    nothing = {"points": None, "rationale": "", "quote": ""}
    unknown = dict.fromkeys(("expected", "uncertainty", "label_mass"))
    return {**row, **nothing, **unknown, "reason": outcome.reason.value, "detail": outcome.detail}


def opinion_row(rollout_id: str, opinion: OpinionRecord) -> dict[str, Any]:
    outcome = opinion.outcome
    verdict = outcome if isinstance(outcome, Verdict) else None
    return {
        "rollout_id": rollout_id,
        "role": opinion.role,
        "judge": opinion.judge,
        "criterion_id": outcome.criterion_id,
        "points": verdict.points if verdict else None,
        "value": verdict.value if verdict else None,
        "rationale": verdict.rationale if verdict else "",
        "reason": outcome.reason.value if isinstance(outcome, Unscored) else None,
        "detail": outcome.detail if isinstance(outcome, Unscored) else "",
    }


def read_outcome(row: Any) -> Outcome:
    if row.reason is not None:
        return Unscored(criterion_id=row.criterion_id, reason=Reason(row.reason), detail=row.detail)
    return Verdict(
        criterion_id=row.criterion_id,
        points=row.points,
        rationale=row.rationale,
        quote=row.quote,
        expected=row.expected,
        uncertainty=row.uncertainty,
        label_mass=row.label_mass,
    )


def read_rollout(row: Any, outcomes: Sequence[Outcome]) -> RolloutRecord:
    """With the outcomes by criterion, in whatever order they were read."""
    rollout = Rollout(
        prompt=row.prompt,
        completion=row.completion,
        step=row.step,
        position=row.position,
        split=Split(row.split),
        reference=row.reference,
        cluster=row.cluster,
    )
    return RolloutRecord(
        rollout,
        row.revision_id,
        row.value,
        row.normalized,
        row.raw,
        tuple(sorted(outcomes, key=lambda outcome: outcome.criterion_id)),
        n_reused=row.n_reused,
        n_left_out=row.n_left_out,
        monitor=row.monitor,
        screened=row.screened,
    )


def read_call(row: Any) -> CallRecord:
    return CallRecord(**{f.name: getattr(row, f.name) for f in fields(CallRecord)})


def read_opinion(row: Any) -> OpinionRecord:
    """Without the judge's expected points: they are the value here."""
    expected = None if row.points is None or row.value == row.points else row.value
    named = {"criterion_id": row.criterion_id, "points": row.points, "rationale": row.rationale}
    outcome = (
        Verdict(**named, expected=expected)
        if row.reason is None
        else Unscored(criterion_id=row.criterion_id, reason=Reason(row.reason), detail=row.detail)
    )
    return OpinionRecord(row.role, row.judge, outcome)

"""Append-only writes and the reads that a run needs. Rows of an interrupted attempt stay, but are no longer live."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from metapo.errors import LineageError, StoreError
from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Revision, Rubric, Unscored, Verdict
from metapo.store import schema as t
from metapo.store.migrations import migrate
from metapo.store.records import CallRecord, ExchangeRecord, MetaStepRecord, OpinionRecord, RolloutRecord, Spent

_live_rollout = sa.table("live_rollout", *(sa.column(c.name) for c in t.rollout.columns))
_live_adoption = sa.table("live_adoption", *(sa.column(c.name) for c in t.adoption.columns))
_live_meta_step = sa.table("live_meta_step", *(sa.column(c.name) for c in t.meta_step.columns))


class Store:
    """One run's facts. Each method is one transaction: it happens wholly or, with a StoreError, not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(self._engine, "connect", _set_up)
        sa.event.listen(self._engine, "begin", _begin)
        with self._transaction(writes=True) as db:
            migrate(db)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(writes=writes) as db, db.begin():
                yield db
        except sa.exc.DBAPIError as e:
            raise StoreError(f"{self.path}: {_explain(e)}") from e

    # writes

    def begin_attempt(self, *, resumed_step: int, now: datetime, answered_by: Mapping[str, str] | None = None) -> int:
        """Open an attempt that goes on after `resumed_step` steps; what older ones wrote beyond is superseded.
        `answered_by` says, by role, who answers in it."""
        with self._transaction(writes=True) as db:
            number: int = (db.scalar(sa.select(sa.func.max(t.attempt.c.id))) or 0) + 1
            db.execute(
                t.attempt.insert(),
                {"id": number, "resumed_step": resumed_step, "started_at": now.isoformat(timespec="seconds")},
            )
            if answered_by:
                db.execute(
                    t.answered_by.insert(),
                    [{"attempt_id": number, "role": role, "identity": who} for role, who in answered_by.items()],
                )
        return number

    def adopt(self, attempt: int, step: int, revision: Revision) -> None:
        """From `step` on, rollouts are scored by this revision."""
        with self._transaction(writes=True) as db:
            _write_revision(db, revision)
            db.execute(t.adoption.insert(), {"attempt_id": attempt, "step": step, "revision_id": revision.id})

    def append_rollouts(self, attempt: int, records: Sequence[RolloutRecord]) -> None:
        """Write rollouts with their verdicts, calls and opinions."""
        if not records:
            return
        ids = [_rollout_id(attempt, record.rollout) for record in records]
        verdicts = [_verdict_row(i, o) for i, r in zip(ids, records, strict=True) for o in r.outcomes]
        calls = [
            {"rollout_id": i, "number": number, **vars(call)}
            for i, record in zip(ids, records, strict=True)
            for number, call in enumerate(record.calls)
        ]
        opinions = [_opinion_row(i, o) for i, record in zip(ids, records, strict=True) for o in record.opinions]
        with self._transaction(writes=True) as db:
            db.execute(t.rollout.insert(), [_rollout_row(i, attempt, r) for i, r in zip(ids, records, strict=True)])
            if verdicts:
                db.execute(t.verdict.insert(), verdicts)
            if calls:
                db.execute(t.judge_call.insert(), calls)
            if opinions:
                db.execute(t.opinion.insert(), opinions)

    def append_other_calls(self, attempt: int | None, step: int, calls: Sequence[CallRecord]) -> None:
        """Write calls that belong to no rollout and are no exchange, made when `step` steps were done; `attempt` is
        None before the first has begun."""
        if calls:
            with self._transaction(writes=True) as db:
                first = (db.scalar(sa.select(sa.func.max(t.other_call.c.number))) or 0) + 1
                rows = [
                    {"number": number, "attempt_id": attempt, "step": step, **vars(call)}
                    for number, call in enumerate(calls, first)
                ]
                db.execute(t.other_call.insert(), rows)

    def append_meta_step(self, attempt: int, record: MetaStepRecord, *, adopted: bool) -> None:
        """Write a meta step with every intermediate text and, where `adopted`, its child's adoption, in one go."""
        key = {"attempt_id": attempt, "step": record.step}
        with self._transaction(writes=True) as db:
            if record.child is not None:
                _write_revision(db, record.child)
            db.execute(
                t.meta_step.insert(),
                {
                    **key,
                    "parent_id": record.parent_id,
                    "child_id": record.child.id if record.child else None,
                    "decision": record.decision,
                    "reason": record.reason,
                    "seconds": record.seconds,
                },
            )
            if record.samples:
                db.execute(
                    t.meta_sample.insert(),
                    [
                        {**key, "position": i, "rollout_step": s.step, "rollout_position": s.position}
                        for i, s in enumerate(record.samples)
                    ],
                )
            if record.exchanges:
                db.execute(
                    t.meta_exchange.insert(),
                    [{**key, "position": i, **vars(e)} for i, e in enumerate(record.exchanges)],
                )
            if adopted and record.child is not None:
                db.execute(t.adoption.insert(), {**key, "revision_id": record.child.id})

    def remember(self, answers: Mapping[str, str]) -> None:
        """Keep known answers by key; one that is known already stays as it is."""
        if answers:
            insert = sa.text("INSERT INTO known_answer (key, body) VALUES (:key, :body) ON CONFLICT (key) DO NOTHING")
            with self._transaction(writes=True) as db:
                db.execute(insert, [{"key": key, "body": body} for key, body in answers.items()])

    # reads

    def known_keys(self) -> set[str]:
        """The keys of all known answers."""
        with self._transaction() as db:
            return set(db.scalars(sa.select(t.known_answer.c.key)))

    def known_answer(self, key: str) -> str | None:
        with self._transaction() as db:
            found: str | None = db.scalar(sa.select(t.known_answer.c.body).where(t.known_answer.c.key == key))
        return found

    def spent(self) -> Spent:
        """What the run's calls cost so far."""
        with self._transaction() as db:
            row = db.execute(
                sa.text(
                    "SELECT COALESCE(SUM(n_calls), 0), COALESCE(SUM(prompt_tokens + completion_tokens), 0), "
                    "COALESCE(SUM(cost_usd), 0) FROM spending"
                )
            ).one()
        return Spent(int(row[0]), int(row[1]), float(row[2]))

    def answered_by(self) -> dict[str, str]:
        """Who answered, by role, in the newest attempt that knows; empty where none does."""
        newest = sa.select(sa.func.max(t.answered_by.c.attempt_id)).scalar_subquery()
        with self._transaction() as db:
            rows = db.execute(sa.select(t.answered_by).where(t.answered_by.c.attempt_id == newest)).all()
        return {row.role: row.identity for row in rows}

    def revision(self, revision_id: str) -> Revision:
        """Raises LineageError where the store has no such revision, or its content doesn't match its id."""
        with self._transaction() as db:
            return _read_revision(db, revision_id)

    def find_revision(self, prefix: str) -> Revision:
        """The revision whose id starts with `prefix`. Raises StoreError for none or several."""
        with self._transaction() as db:
            ids = db.scalars(
                sa.select(t.revision.c.id).where(t.revision.c.id.startswith(prefix, autoescape=True))
            ).all()
            if len(ids) != 1:
                raise StoreError(f"{self.path}: {len(ids)} revisions start with {prefix!r}; give an id that one has")
            return _read_revision(db, ids[0])

    def lineage(self) -> list[tuple[int, Revision]]:
        """The adopted revisions in order, each with the step from which it scores."""
        with self._transaction() as db:
            rows = db.execute(sa.select(_live_adoption).order_by(_live_adoption.c.step)).all()
            return [(row.step, _read_revision(db, row.revision_id)) for row in rows]

    def meta_steps(self) -> list[MetaStepRecord]:
        """The live meta steps in order, with samples, children and every text."""
        with self._transaction() as db:
            rows = db.execute(sa.select(_live_meta_step).order_by(_live_meta_step.c.step)).all()
            return [_read_meta_step(db, row) for row in rows]

    def rollouts(
        self, *, split: Split = Split.TRAIN, from_step: int = 0, to_step: int | None = None
    ) -> list[RolloutRecord]:
        """Live rollouts with `from_step` <= step < `to_step`, by step and position, without their calls."""
        where = [_live_rollout.c.split == split.value, _live_rollout.c.step >= from_step]
        if to_step is not None:
            where.append(_live_rollout.c.step < to_step)
        with self._transaction() as db:
            rows = db.execute(
                sa.select(_live_rollout).where(*where).order_by(_live_rollout.c.step, _live_rollout.c.position)
            ).all()
            outcomes: dict[str, list[Outcome]] = {row.id: [] for row in rows}
            joined = t.verdict.join(_live_rollout, _live_rollout.c.id == t.verdict.c.rollout_id)
            for verdict in db.execute(sa.select(t.verdict).select_from(joined).where(*where)):
                outcomes[verdict.rollout_id].append(_read_outcome(verdict))
        return [_read_rollout(row, outcomes[row.id]) for row in rows]

    def calls(self) -> Iterable[dict[str, Any]]:
        """Every judge call, raw replies included, oldest first."""
        with self._transaction() as db:
            yield from (dict(r._mapping) for r in db.execute(sa.select(t.judge_call)))

    def other_calls(self) -> list[CallRecord]:
        """Every call that belongs to no rollout and is no exchange, oldest first."""
        with self._transaction() as db:
            rows = db.execute(sa.select(t.other_call).order_by(t.other_call.c.number)).all()
        return [CallRecord(**{f.name: getattr(row, f.name) for f in fields(CallRecord)}) for row in rows]

    def verify(self) -> int:
        """Re-derive the whole lineage; returns the number of revisions. Raises LineageError at the first that fails.

        Checked: each revision's id follows from its content and parents; adoptions form one chain; each live
        training rollout was scored by the revision in force at its step.
        """
        with self._transaction() as db:
            ids = db.scalars(sa.select(t.revision.c.id)).all()
            known = {i: _read_revision(db, i) for i in ids}
            chain = db.execute(sa.select(_live_adoption).order_by(_live_adoption.c.step)).all()
            used = db.execute(
                sa.select(_live_rollout.c.step, _live_rollout.c.revision_id)
                .where(_live_rollout.c.split == "train")
                .distinct()
            ).all()
        for before, after in pairwise(chain):
            if before.revision_id not in known[after.revision_id].parents:
                raise LineageError(
                    f"{self.path}: revision {after.revision_id[:10]}, adopted at step {after.step}, is no child of "
                    f"{before.revision_id[:10]}, which was in force"
                )
        for step, revision_id in used:
            in_force = [a.revision_id for a in chain if a.step <= step]
            if not in_force or in_force[-1] != revision_id:
                raise LineageError(
                    f"{self.path}: rollouts of step {step} were scored by {revision_id[:10]}, "
                    f"which was not in force at that step"
                )
        return len(known)


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else Python's driver begins no transaction before CREATE, ALTER or DROP
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(db: sa.Connection) -> None:
    """Who is going to write takes the lock first: to wait for it after having read is an error in SQLite."""
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")


def _explain(error: sa.exc.DBAPIError) -> str:
    text = str(error.orig)
    if "disk is full" in text or "disk I/O" in text:
        return f"{text}. Nothing of this step was written. Free some space, then resume the run."
    if "not a database" in text or "malformed" in text:
        return f"{text}. The file is damaged or is no store; restore it from a backup."
    return f"the store refused: {text}"


def _rollout_id(attempt: int, rollout: Rollout) -> str:
    return f"{attempt}/{rollout.split}/{rollout.step}/{rollout.position}"


def _rollout_row(rollout_id: str, attempt: int, record: RolloutRecord) -> dict[str, Any]:
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
    }


def _verdict_row(rollout_id: str, outcome: Outcome) -> dict[str, Any]:
    row = {"rollout_id": rollout_id, "criterion_id": outcome.criterion_id}
    if isinstance(outcome, Verdict):
        return {**row, "reason": None, "detail": "", **outcome.model_dump(exclude={"criterion_id"})}
    nothing = {"points": None, "rationale": "", "quote": ""}
    unknown = dict.fromkeys(("expected", "uncertainty", "label_mass"))
    return {**row, **nothing, **unknown, "reason": outcome.reason.value, "detail": outcome.detail}


def _opinion_row(rollout_id: str, opinion: OpinionRecord) -> dict[str, Any]:
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


def _read_outcome(row: Any) -> Outcome:
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


def _read_rollout(row: Any, outcomes: list[Outcome]) -> RolloutRecord:
    rollout = Rollout(
        prompt=row.prompt,
        completion=row.completion,
        step=row.step,
        position=row.position,
        split=Split(row.split),
        reference=row.reference,
    )
    return RolloutRecord(
        rollout,
        row.revision_id,
        row.value,
        row.normalized,
        row.raw,
        tuple(outcomes),
        n_reused=row.n_reused,
        n_left_out=row.n_left_out,
        monitor=row.monitor,
    )


def _write_revision(db: sa.Connection, revision: Revision) -> None:
    if db.scalar(sa.select(t.revision.c.id).where(t.revision.c.id == revision.id)):
        return
    digest = revision.rubric.digest
    if not db.scalar(sa.select(t.rubric.c.digest).where(t.rubric.c.digest == digest)):
        db.execute(t.rubric.insert(), {"digest": digest, "body": revision.rubric.model_dump_json()})
    db.execute(
        t.revision.insert(),
        {
            "id": revision.id,
            "rubric_digest": digest,
            "reason": revision.reason,
            "proposer": revision.proposer,
            "step": revision.step,
        },
    )
    if revision.parents:
        db.execute(
            t.revision_parent.insert(),
            [{"revision_id": revision.id, "position": i, "parent_id": p} for i, p in enumerate(revision.parents)],
        )


def _read_revision(db: sa.Connection, revision_id: str) -> Revision:
    row = db.execute(
        sa.select(t.revision, t.rubric.c.body)
        .join(t.rubric, t.rubric.c.digest == t.revision.c.rubric_digest)
        .where(t.revision.c.id == revision_id)
    ).one_or_none()
    if row is None:
        raise LineageError(f"the store has no revision {revision_id!r}")
    parents = db.scalars(
        sa.select(t.revision_parent.c.parent_id)
        .where(t.revision_parent.c.revision_id == revision_id)
        .order_by(t.revision_parent.c.position)
    ).all()
    revision = Revision(
        rubric=Rubric.model_validate_json(row.body),
        parents=tuple(parents),
        reason=row.reason,
        proposer=row.proposer,
        step=row.step,
    )
    if revision.id != revision_id or revision.rubric.digest != row.rubric_digest:
        raise LineageError(
            f"revision {revision_id[:10]} was changed after it was written: its content has another digest"
        )
    return revision


def _read_meta_step(db: sa.Connection, row: Any) -> MetaStepRecord:
    exchanges = db.execute(
        sa.select(t.meta_exchange)
        .where(t.meta_exchange.c.attempt_id == row.attempt_id, t.meta_exchange.c.step == row.step)
        .order_by(t.meta_exchange.c.position)
    ).all()
    return MetaStepRecord(
        step=row.step,
        parent_id=row.parent_id,
        child=_read_revision(db, row.child_id) if row.child_id else None,
        decision=row.decision,
        reason=row.reason,
        samples=_read_samples(db, row),
        exchanges=tuple(_read_exchange(e) for e in exchanges),
        seconds=row.seconds,
    )


def _read_exchange(row: Any) -> ExchangeRecord:
    return ExchangeRecord(**{f.name: getattr(row, f.name) for f in fields(ExchangeRecord)})


def _read_samples(db: sa.Connection, row: Any) -> tuple[Rollout, ...]:
    joined = t.meta_sample.join(
        _live_rollout,
        (_live_rollout.c.step == t.meta_sample.c.rollout_step)
        & (_live_rollout.c.position == t.meta_sample.c.rollout_position)
        & (_live_rollout.c.split == Split.TRAIN.value),
    )
    rows = db.execute(
        sa.select(_live_rollout)
        .select_from(joined)
        .where(t.meta_sample.c.attempt_id == row.attempt_id, t.meta_sample.c.step == row.step)
        .order_by(t.meta_sample.c.position)
    ).all()
    return tuple(_read_rollout(r, []).rollout for r in rows)

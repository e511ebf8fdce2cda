"""Append-only writes and the reads that a run needs. Rows of an interrupted attempt stay, but are no longer live."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome
from metapo.store import schema as t
from metapo.store.calls import append_calls, count_calls, insert_into
from metapo.store.database import next_number
from metapo.store.lineages import live_rollout, trained
from metapo.store.pruning import prune
from metapo.store.records import AttemptRecord, CallRecord, RolloutRecord, Spent
from metapo.store.rows import insert_rollouts, read_call, read_outcome, read_rollout, rollout_id
from metapo.store.serving import Serving


class Store(Serving):
    """One run's facts. Each method is one transaction: it happens wholly or, with a StoreError, not at all."""

    # writes

    def begin_attempt(self, *, resumed_step: int, now: datetime, answered_by: Mapping[str, str] | None = None) -> int:
        """Open an attempt that goes on after `resumed_step` steps; what older ones wrote beyond is superseded.
        `answered_by` says, by role, who answers in it."""
        with self._transaction(writes=True) as db:
            number = next_number(db, t.attempt.c.id)
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

    def append_rollouts(self, attempt: int, records: Sequence[RolloutRecord]) -> None:
        """Write rollouts with their verdicts, calls and opinions."""
        if records:
            with self._transaction(writes=True) as db:
                insert_rollouts(db, attempt, records)
                count_calls(db, self.writer, [call for record in records for call in record.calls])

    def append_flags(self, attempt: int, flags: Sequence[tuple[Rollout, str, str]]) -> None:
        """Write which detectors fired on rollouts of this attempt: (rollout, detector, detail). What is there already
        stays as it is."""
        if flags:
            rows = [
                {"rollout_id": rollout_id(attempt, rollout), "detector": detector, "detail": detail}
                for rollout, detector, detail in flags
            ]
            with self._transaction(writes=True) as db:
                db.execute(insert_into(db, t.rollout_flag).on_conflict_do_nothing(), rows)

    def append_other_calls(self, attempt: int | None, step: int, calls: Sequence[CallRecord]) -> None:
        """Write calls that belong to no rollout and are no exchange, made when `step` steps were done; `attempt` is
        None before the first has begun."""
        if calls:
            with self._transaction(writes=True) as db:
                append_calls(db, attempt, step, calls)
                count_calls(db, self.writer, calls)

    def remember(self, answers: Mapping[str, str]) -> None:
        """Keep known answers by key; one that is known already stays as it is."""
        if answers:
            with self._transaction(writes=True) as db:
                newest = db.scalar(sa.select(sa.func.max(t.rollout.c.step))) or 0
                rows = [{"key": key, "body": body, "step": newest} for key, body in sorted(answers.items())]
                db.execute(insert_into(db, t.known_answer).on_conflict_do_nothing(), rows)

    def prune(self, keep_steps: int, now: datetime, *, dry_run: bool = False) -> dict[str, int]:
        """Remove, of all but the newest `keep_steps` steps, the calls to judges word for word, known answers, and what
        later attempts superseded; lineage, verdicts and all that a meta step left stay. Returns how many rows by table,
        which goes on record, unless it is a `dry_run`, which removes nothing."""
        newest = sa.select(live_rollout.c.step).where(live_rollout.c.split == Split.TRAIN.value)
        with self._transaction(writes=not dry_run) as db:
            step = db.scalar(newest.order_by(live_rollout.c.step.desc()).limit(1))
            return prune(db, 0 if step is None else step + 1 - keep_steps, now, dry_run=dry_run)

    # reads

    def known_answer(self, key: str) -> str | None:
        with self._transaction() as db:
            found: str | None = db.scalar(sa.select(t.known_answer.c.body).where(t.known_answer.c.key == key))
        return found

    def spent(self, roles: Sequence[str] = ()) -> Spent:
        """What the run's calls cost so far; in certain roles alone where these are given."""
        total = t.spent_by.c
        tokens = total.prompt_tokens + total.completion_tokens
        asked = sa.select(*map(sa.func.sum, (total.n_calls, tokens, total.cost_usd)))
        with self._transaction() as db:
            n_calls, n_tokens, cost_usd = db.execute(asked.where(total.role.in_(roles)) if roles else asked).one()
        return Spent(int(n_calls or 0), int(n_tokens or 0), float(cost_usd or 0.0))

    def answered_by(self) -> dict[str, str]:
        """Who answered, by role, in the newest attempt that knows; empty where none does."""
        newest = sa.select(sa.func.max(t.answered_by.c.attempt_id)).scalar_subquery()
        with self._transaction() as db:
            rows = db.execute(sa.select(t.answered_by).where(t.answered_by.c.attempt_id == newest)).all()
        return {row.role: row.identity for row in rows}

    def attempts(self) -> list[AttemptRecord]:
        """Every start and resume of the run, oldest first."""
        with self._transaction() as db:
            rows = db.execute(sa.select(t.attempt).order_by(t.attempt.c.id)).all()
        return [AttemptRecord(row.id, row.resumed_step, row.started_at) for row in rows]

    def last_told(self) -> str | None:
        """The newest time (UTC, ISO 8601) that the run put on record: of a start, or of a step that is over."""
        times = sa.union_all(sa.select(t.attempt.c.started_at.label("at")), sa.select(t.boundary.c.closed_at))
        with self._transaction() as db:
            found: str | None = db.scalar(sa.select(sa.func.max(times.subquery().c.at)))
        return found

    def first_step(self, cluster: str) -> int | None:
        """The first step with live training rollouts of a cluster that no task's rule scored, or None."""
        return self._step_of(cluster, live_rollout.c.step)

    def last_step(self, to_step: int, cluster: str) -> int | None:
        """The same of the newest step below `to_step`."""
        return self._step_of(cluster, live_rollout.c.step.desc(), live_rollout.c.step < to_step)

    def _step_of(self, cluster: str, order: sa.ColumnElement[int], *limits: sa.ColumnElement[bool]) -> int | None:
        of = sa.select(live_rollout.c.step).where(trained, live_rollout.c.cluster == cluster, *limits)
        with self._transaction() as db:
            found: int | None = db.scalar(of.order_by(order).limit(1))  # min and max would read all steps
        return found

    def rollouts(
        self,
        *,
        split: Split = Split.TRAIN,
        from_step: int = 0,
        to_step: int | None = None,
        cluster: str | None = None,
    ) -> list[RolloutRecord]:
        """Live rollouts with `from_step` <= step < `to_step`, by step and position, without their calls; of one
        cluster where it is given."""
        where = [live_rollout.c.split == split.value, live_rollout.c.step >= from_step]
        if to_step is not None:
            where.append(live_rollout.c.step < to_step)
        if cluster is not None:
            where.append(live_rollout.c.cluster == cluster)
        with self._transaction() as db:
            rows = db.execute(
                sa.select(live_rollout).where(*where).order_by(live_rollout.c.step, live_rollout.c.position)
            ).all()
            outcomes: dict[str, list[Outcome]] = {row.id: [] for row in rows}
            joined = t.verdict.join(live_rollout, live_rollout.c.id == t.verdict.c.rollout_id)
            for verdict in db.execute(sa.select(t.verdict).select_from(joined).where(*where)):
                outcomes[verdict.rollout_id].append(read_outcome(verdict))
        return [read_rollout(row, outcomes[row.id]) for row in rows]

    def calls(self) -> Iterable[dict[str, Any]]:
        """Every judge call, raw replies included, oldest first."""
        of, by_age = t.rollout.c, ("attempt_id", "step", "split", "position")
        joined = sa.select(t.judge_call).join(t.rollout, of.id == t.judge_call.c.rollout_id)
        with self._transaction() as db:
            rows = db.execute(joined.order_by(*(of[name] for name in by_age), t.judge_call.c.number))
            yield from (dict(r._mapping) for r in rows)

    def other_calls(self) -> list[CallRecord]:
        """Every call that belongs to no rollout and is no exchange, oldest first."""
        with self._transaction() as db:
            rows = db.execute(sa.select(t.other_call).order_by(t.other_call.c.number)).all()
        return [read_call(row) for row in rows]

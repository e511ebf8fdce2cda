"""Append-only writes and the reads that a run needs. Rows of an interrupted attempt stay, but are no longer live."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from metapo.rollout import Split
from metapo.rubric import Outcome
from metapo.store import schema as t
from metapo.store.lineages import append_calls, live_rollout, trained
from metapo.store.records import CallRecord, RolloutRecord, Spent
from metapo.store.rows import insert_rollouts, read_call, read_outcome, read_rollout
from metapo.store.serving import Serving


class Store(Serving):
    """One run's facts. Each method is one transaction: it happens wholly or, with a StoreError, not at all."""

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

    def append_rollouts(self, attempt: int, records: Sequence[RolloutRecord]) -> None:
        """Write rollouts with their verdicts, calls and opinions."""
        with self._transaction(writes=True) as db:
            insert_rollouts(db, attempt, records)

    def append_other_calls(self, attempt: int | None, step: int, calls: Sequence[CallRecord]) -> None:
        """Write calls that belong to no rollout and are no exchange, made when `step` steps were done; `attempt` is
        None before the first has begun."""
        with self._transaction(writes=True) as db:
            append_calls(db, attempt, step, calls)

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

    def spent(self, roles: Sequence[str] = ()) -> Spent:
        """What the run's calls cost so far; in certain roles alone where these are given."""
        view = sa.table(
            "spending", *map(sa.column, ("role", "n_calls", "prompt_tokens", "completion_tokens", "cost_usd"))
        )
        tokens = view.c.prompt_tokens + view.c.completion_tokens
        asked = sa.select(*map(sa.func.sum, (view.c.n_calls, tokens, view.c.cost_usd)))
        with self._transaction() as db:
            n_calls, n_tokens, cost_usd = db.execute(asked.where(view.c.role.in_(roles)) if roles else asked).one()
        return Spent(int(n_calls or 0), int(n_tokens or 0), float(cost_usd or 0.0))

    def answered_by(self) -> dict[str, str]:
        """Who answered, by role, in the newest attempt that knows; empty where none does."""
        newest = sa.select(sa.func.max(t.answered_by.c.attempt_id)).scalar_subquery()
        with self._transaction() as db:
            rows = db.execute(sa.select(t.answered_by).where(t.answered_by.c.attempt_id == newest)).all()
        return {row.role: row.identity for row in rows}

    def first_step(self, cluster: str) -> int | None:
        """The first step with live training rollouts of a cluster that no task's rule scored, or None."""
        return self._step_of(cluster, sa.func.min(live_rollout.c.step))

    def last_step(self, to_step: int, cluster: str) -> int | None:
        """The same of the newest step below `to_step`."""
        return self._step_of(cluster, sa.func.max(live_rollout.c.step), live_rollout.c.step < to_step)

    def _step_of(self, cluster: str, which: sa.ColumnElement[int], *limits: sa.ColumnElement[bool]) -> int | None:
        with self._transaction() as db:
            found: int | None = db.scalar(sa.select(which).where(trained, live_rollout.c.cluster == cluster, *limits))
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
        with self._transaction() as db:
            yield from (dict(r._mapping) for r in db.execute(sa.select(t.judge_call)))

    def other_calls(self) -> list[CallRecord]:
        """Every call that belongs to no rollout and is no exchange, oldest first."""
        with self._transaction() as db:
            rows = db.execute(sa.select(t.other_call).order_by(t.other_call.c.number)).all()
        return [read_call(row) for row in rows]

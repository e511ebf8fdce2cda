"""How rubrics changed, as a store tells it: revisions, adoptions, meta steps, anchors, what people decided."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from metapo.errors import LineageError, UnknownRevision
from metapo.rollout import Split
from metapo.rubric import Revision, Rubric, describe
from metapo.store import schema as t
from metapo.store.calls import append_calls, count_calls
from metapo.store.database import Database, next_number
from metapo.store.postgres import take_turns
from metapo.store.records import (
    ActKind,
    ActRecord,
    AdoptionRecord,
    AnchorRecord,
    BegunRecord,
    CallRecord,
    DecisionRecord,
    ExchangeRecord,
    FindingRecord,
    MetaStepRecord,
    ProposalRecord,
    SampleRecord,
)
from metapo.store.rows import insert, read_rollout
from metapo.store.views import live

live_rollout = live(t.rollout)
trained = sa.and_(live_rollout.c.split == Split.TRAIN.value, live_rollout.c.screened == "")
"""What evolution goes by: live training rollouts, but for those that a task's own rule scored."""
_live_adoption = live(t.adoption)
_live_begun = live(t.meta_begun)
_live_meta_step = live(t.meta_step)
_live_anchor = live(t.anchor)
_live_taken = live(t.act_taken)


class Lineages(Database):
    """Each cluster of prompts has its own lineage; all begin with the first revision of the cluster "", the run's."""

    # writes

    def adopt(
        self,
        attempt: int,
        step: int,
        revision: Revision,
        cluster: str = "",
        *,
        factor: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        """From `step` on, rollouts of the cluster are scored by this revision, and values scaled."""
        where = (t.adoption.c.attempt_id == attempt, t.adoption.c.cluster == cluster, t.adoption.c.step == step)
        with self._transaction(writes=True) as db:
            _write_revision(db, revision)
            number = db.scalar(sa.select(sa.func.count()).select_from(t.adoption).where(*where))
            db.execute(
                t.adoption.insert(),
                {
                    "attempt_id": attempt,
                    "cluster": cluster,
                    "step": step,
                    "number": number,
                    "revision_id": revision.id,
                    "factor": factor,
                    "shift": shift,
                },
            )

    def begin_meta_step(self, attempt: int, begun: BegunRecord) -> None:
        """A meta step begins: a run that is interrupted before its end knows that it was under way."""
        with self._transaction(writes=True) as db:
            db.execute(t.meta_begun.insert(), {"attempt_id": attempt, **vars(begun)})

    def append_meta_step(self, attempt: int, record: MetaStepRecord, calls: Sequence[CallRecord] = ()) -> None:
        """Write what a meta step did: every text, what the gate found, the evidence that an accepted child leaves, and
        the calls that are no exchange."""
        key = {"attempt_id": attempt, "cluster": record.cluster, "step": record.step}
        named = {name: getattr(record, name) for name in ("adopt_step", "why", "parent_id", "decision", "reason")}
        child_id = record.child.id if record.child else None
        with self._transaction(writes=True) as db:
            for revision in (*(p.revision for p in record.proposals), *([record.child] if record.child else [])):
                _write_revision(db, revision)
            db.execute(t.meta_step.insert(), {**key, **named, "child_id": child_id, "seconds": record.seconds})
            insert(db, t.meta_sample, [{**key, **_sample_row(i, s)} for i, s in enumerate(record.samples)])
            insert(db, t.meta_exchange, [{**key, "position": i, **vars(e)} for i, e in enumerate(record.exchanges)])
            for number, proposal in enumerate(record.proposals):
                db.execute(t.proposal.insert(), {**key, **_proposal_row(number, proposal)})
                insert(db, t.gate_finding, [{**key, "number": number, **vars(f)} for f in proposal.findings])
            append_anchor_rows(db, attempt, record.step, record.cluster, record.evidence)
            append_calls(db, attempt, record.step, calls)
            count_calls(db, self.writer, [*calls, *(_call(e) for e in record.exchanges)])

    def append_anchors(self, anchors: Sequence[AnchorRecord]) -> None:
        """Pin pairs of known order; they hold in every attempt, for every cluster."""
        with self._transaction(writes=True) as db:
            append_anchor_rows(db, None, 0, "", anchors)

    def append_act(self, act: ActRecord) -> int:
        """Note what a person decided, for the run to take at its next step's beginning; returns the act's number."""
        with self._transaction(writes=True) as db:
            number = next_number(db, t.act.c.id)
            if act.rubric is not None:
                _write_rubric(db, act.rubric)
            row = {name: value for name, value in vars(act).items() if name not in ("id", "rubric")}
            digest = act.rubric.digest if act.rubric else None
            db.execute(t.act.insert(), {**row, "id": number, "kind": act.kind.value, "rubric_digest": digest})
        return number

    def take_act(self, attempt: int, step: int, act_id: int, cluster: str, outcome: str) -> None:
        """What came of an act at the boundary after `step` steps."""
        row = {"attempt_id": attempt, "step": step, "act_id": act_id, "cluster": cluster, "outcome": outcome}
        with self._transaction(writes=True) as db:
            db.execute(t.act_taken.insert(), row)

    # reads

    def revision(self, revision_id: str) -> Revision:
        """Raises LineageError where the store has no such revision, or its content doesn't match its id."""
        with self._transaction() as db:
            return _read_revision(db, revision_id)

    def find_revision(self, prefix: str) -> Revision:
        """The revision whose id starts with `prefix`. Raises UnknownRevision for none or several."""
        with self._transaction() as db:
            ids = db.scalars(
                sa.select(t.revision.c.id).where(t.revision.c.id.startswith(prefix, autoescape=True))
            ).all()
            if len(ids) != 1:
                raise UnknownRevision(
                    f"{self.name}: {len(ids)} revisions start with {prefix!r}; give an id that one has"
                )
            return _read_revision(db, ids[0])

    def clusters(self) -> list[str]:
        """The clusters that have training rollouts which no task's rule scored, in order."""
        found: list[str] = []
        named = sa.select(live_rollout.c.cluster).where(trained).order_by(live_rollout.c.cluster).limit(1)
        with self._transaction() as db:  # from each to the next one: DISTINCT would read all rollouts
            while (
                next_one := db.scalar(named.where(live_rollout.c.cluster > found[-1]) if found else named)
            ) is not None:
                found.append(next_one)
        return sorted(found)

    def lineage_state(self) -> tuple[object, ...]:
        """Differs where lineages, meta steps or acts do: their tables only ever grow."""
        grows = (t.attempt, t.adoption, t.meta_begun, t.meta_step, t.act, t.act_taken)
        counts = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in grows]
        with self._transaction() as db:
            state = tuple(db.execute(sa.select(*counts)).one())
        return (*state, *self.clusters())

    def adoptions(self, cluster: str = "") -> list[AdoptionRecord]:
        """The live adoptions of a cluster in order, the run's first one before them."""
        with self._transaction() as db:
            rows = _chain(db, cluster)
            return [AdoptionRecord(r.step, _read_revision(db, r.revision_id), r.factor, r.shift) for r in rows]

    def lineage(self, cluster: str = "") -> list[tuple[int, Revision]]:
        """The adopted revisions of a cluster in order, each with the step from which it scores."""
        return [(adoption.step, adoption.revision) for adoption in self.adoptions(cluster)]

    def begun(self, cluster: str = "") -> list[BegunRecord]:
        """The live meta steps of a cluster that began, ended or not, in order."""
        with self._transaction() as db:
            rows = db.execute(_of_cluster(_live_begun, cluster)).all()
        return [BegunRecord(row.step, row.adopt_step, row.why, row.cluster) for row in rows]

    def n_begun(self) -> int:
        """How many live meta steps began, those of all clusters together."""
        with self._transaction() as db:
            return db.scalar(sa.select(sa.func.count()).select_from(_live_begun)) or 0

    def decisions(self, cluster: str = "") -> list[DecisionRecord]:
        """How the live meta steps of a cluster ended, in order, without their texts."""
        with self._transaction() as db:
            rows = db.execute(_of_cluster(_live_meta_step, cluster)).all()
        return [DecisionRecord(r.step, r.adopt_step, r.decision, r.parent_id, r.child_id) for r in rows]

    def meta_steps(self, cluster: str = "", *, brief: bool = False) -> list[MetaStepRecord]:
        """The live meta steps of a cluster in order, with samples, proposals and every text, but not the evidence;
        where `brief`, with the proposals alone."""
        with self._transaction() as db:
            rows = db.execute(_of_cluster(_live_meta_step, cluster)).all()
            return [_read_meta_step(db, row, brief=brief) for row in rows]

    def meta_step(self, step: int, cluster: str = "") -> MetaStepRecord | None:
        """The live meta step that began after `step` steps, if it has ended."""
        with self._transaction() as db:
            row = db.execute(_of_cluster(_live_meta_step, cluster).where(_live_meta_step.c.step == step)).one_or_none()
            return _read_meta_step(db, row) if row else None

    def anchors(self, cluster: str = "", newest: int | None = None) -> list[AnchorRecord]:
        """The live anchors that hold in a cluster, oldest first: the pinned ones, and those of its own meta steps, at
        most the `newest` of each source."""
        pinned = _live_anchor.c.attempt_id.is_(None)
        age = sa.func.row_number().over(partition_by=_live_anchor.c.source, order_by=_live_anchor.c.number.desc())
        own = sa.select(_live_anchor, age.label("age")).where(~pinned, _live_anchor.c.cluster == cluster).subquery()
        queries = (
            sa.select(_live_anchor).where(pinned),
            sa.select(own).where(sa.true() if newest is None else own.c.age <= newest),
        )
        with self._transaction() as db:
            rows = sorted((row for query in queries for row in db.execute(query)), key=lambda row: row.number)
        return [AnchorRecord(**{f.name: getattr(row, f.name) for f in fields(AnchorRecord)}) for row in rows]

    def acts(self) -> list[ActRecord]:
        """All that people decided, oldest first."""
        with self._transaction() as db:
            rows = db.execute(sa.select(t.act).order_by(t.act.c.id)).all()
            return [_read_act(db, row) for row in rows]

    def open_acts(self, cluster: str, step: int | None = None) -> list[ActRecord]:
        """What people decided for a cluster, or for all, and the run has to take after `step` steps; oldest first. What
        was taken before an interruption is taken again after the same step; without a step, all that is yet to take."""
        with self._transaction() as db:
            taken = sa.select(_live_taken.c.act_id).where(_live_taken.c.cluster == cluster)
            open_now = [sa.or_(t.act.c.cluster.is_(None), t.act.c.cluster == cluster), t.act.c.id.not_in(taken)]
            if step is not None:
                later = sa.select(t.act_taken.c.act_id).where(
                    t.act_taken.c.cluster == cluster, t.act_taken.c.step > step
                )
                open_now.append(t.act.c.id.not_in(later))
            rows = db.execute(sa.select(t.act).where(*open_now).order_by(t.act.c.id)).all()
            return [_read_act(db, row) for row in rows]

    def outcomes_of_acts(self) -> list[tuple[int, str, int, str]]:
        """What came of each act that was taken: (act, cluster, step, outcome), in order."""
        columns = (_live_taken.c.act_id, _live_taken.c.cluster, _live_taken.c.step, _live_taken.c.outcome)
        with self._transaction() as db:
            rows = db.execute(sa.select(*columns).order_by(_live_taken.c.act_id, _live_taken.c.cluster)).all()
        return [tuple(row) for row in rows]

    def verify(self) -> int:
        """Re-derive all lineages; returns the number of revisions. Raises LineageError at the first that fails.

        Checked: each revision's id follows from its content and parents; the adoptions of each cluster form one chain
        from a revision without parents; each live training rollout was scored by the revision in force at its step;
        nothing was adopted that the gate refused. What a person writes is a revision of its own, which no gate saw.
        """
        with self._transaction() as db:
            known = {i: _read_revision(db, i) for i in db.scalars(sa.select(t.revision.c.id)).all()}
            used = db.execute(
                sa.select(live_rollout.c.cluster, live_rollout.c.step, live_rollout.c.revision_id)
                .where(live_rollout.c.split == Split.TRAIN.value)
                .distinct()
            ).all()
            clusters = {"", *(u.cluster for u in used), *db.scalars(sa.select(_live_adoption.c.cluster))}
            chains = {cluster: _chain(db, cluster) for cluster in clusters}
            refused = _refused(db)
        for chain in chains.values():
            self._verify_chain(chain, known, refused)
        for row in used:
            in_force = [a.revision_id for a in chains[row.cluster] if a.step <= row.step]
            if not in_force or in_force[-1] != row.revision_id:
                raise LineageError(
                    f"{self.name}: rollouts of step {row.step} were scored by {row.revision_id[:10]}, "
                    f"which was not in force at that step"
                )
        return len(known)

    def _verify_chain(self, chain: Sequence[Any], known: dict[str, Revision], refused: set[str]) -> None:
        for adoption in chain:
            if adoption.revision_id not in known:
                raise LineageError(
                    f"{self.name}: revision {adoption.revision_id[:10]}, adopted at step {adoption.step}, is not there"
                )
        if chain and known[chain[0].revision_id].parents:
            raise LineageError(
                f"{self.name}: the lineage begins with {chain[0].revision_id[:10]}, which has parents: what was "
                "in force before is missing"
            )
        for before, after in pairwise(chain):
            if before.revision_id not in known[after.revision_id].parents:
                raise LineageError(
                    f"{self.name}: revision {after.revision_id[:10]}, adopted at step {after.step}, is no child of "
                    f"{before.revision_id[:10]}, which was in force"
                )
        for adoption in chain:
            if adoption.revision_id in refused:
                raise LineageError(
                    f"{self.name}: revision {adoption.revision_id[:10]}, adopted at step {adoption.step}, was refused "
                    "by the gate"
                )


def _of_cluster(view: sa.TableClause, cluster: str) -> sa.Select[Any]:
    return sa.select(view).where(view.c.cluster == cluster).order_by(view.c.step)


def _chain(db: sa.Connection, cluster: str) -> list[Any]:
    """The live adoptions of a cluster by step, the first one of the run in front."""
    a = _live_adoption.c
    by_step = sa.select(_live_adoption).order_by(a.step, a.attempt_id, a.number)
    chain = list(db.execute(by_step.where(_live_adoption.c.cluster == cluster)).all())
    if not cluster:
        return chain
    return [*db.execute(by_step.where(_live_adoption.c.cluster == "").limit(1)).all(), *chain]


def _refused(db: sa.Connection) -> set[str]:
    """The revisions that the gate refused in the meta steps that count."""
    m, p = _live_meta_step.c, t.proposal.c
    of_step = (p.attempt_id == m.attempt_id) & (p.cluster == m.cluster) & (p.step == m.step)
    rows = db.execute(sa.select(p.revision_id, p.accepted).join_from(t.proposal, _live_meta_step, of_step)).all()
    return {row.revision_id for row in rows} - {row.revision_id for row in rows if row.accepted}


def append_anchor_rows(
    db: sa.Connection, attempt: int | None, step: int, cluster: str, anchors: Sequence[AnchorRecord]
) -> None:
    if not anchors:
        return
    first = next_number(db, t.anchor.c.number)
    key = {"attempt_id": attempt, "step": step, "cluster": cluster}
    insert(db, t.anchor, [{"number": number, **key, **vars(a)} for number, a in enumerate(anchors, first)])


def _sample_row(position: int, sample: SampleRecord) -> dict[str, Any]:
    return {
        "position": position,
        "rollout_step": sample.rollout.step,
        "rollout_position": sample.rollout.position,
        "why": sample.why,
        "flags": " ".join(sample.flags),
    }


def _call(exchange: ExchangeRecord) -> CallRecord:
    """What an exchange is among the calls that are counted."""
    counted = ("reply", "error", "model", "prompt_tokens", "completion_tokens", "cost_usd", "latency_s")
    return CallRecord(role="meta", **{name: getattr(exchange, name) for name in counted})


def _proposal_row(number: int, proposal: ProposalRecord) -> dict[str, Any]:
    return {
        "number": number,
        "revision_id": proposal.revision.id,
        "accepted": proposal.accepted,
        "reason": proposal.reason,
        "repairs": proposal.repairs,
    }


def _write_rubric(db: sa.Connection, rubric: Rubric) -> None:
    take_turns(db, t.rubric.name)
    if not db.scalar(sa.select(t.rubric.c.digest).where(t.rubric.c.digest == rubric.digest)):
        db.execute(t.rubric.insert(), {"digest": rubric.digest, "body": rubric.model_dump_json()})


def _write_revision(db: sa.Connection, revision: Revision) -> None:
    take_turns(db, t.rubric.name)
    if db.scalar(sa.select(t.revision.c.id).where(t.revision.c.id == revision.id)):
        return
    _write_rubric(db, revision.rubric)
    db.execute(
        t.revision.insert(),
        {
            "id": revision.id,
            "rubric_digest": revision.rubric.digest,
            "reason": revision.reason,
            "proposer": revision.proposer,
            "step": revision.step,
        },
    )
    parents = [{"revision_id": revision.id, "position": i, "parent_id": p} for i, p in enumerate(revision.parents)]
    insert(db, t.revision_parent, parents)


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
    try:
        revision = Revision(
            rubric=Rubric.model_validate_json(row.body),
            parents=tuple(parents),
            reason=row.reason,
            proposer=row.proposer,
            step=row.step,
        )
    except ValidationError as e:
        raise LineageError(f"revision {revision_id[:10]} was changed after it was written: {describe(e)}") from e
    if revision.id != revision_id or revision.rubric.digest != row.rubric_digest:
        raise LineageError(
            f"revision {revision_id[:10]} was changed after it was written: its content has another digest"
        )
    return revision


def _read_meta_step(db: sa.Connection, row: Any, *, brief: bool = False) -> MetaStepRecord:
    exchanges = [] if brief else _parts(db, t.meta_exchange, row, "position")
    return MetaStepRecord(
        step=row.step,
        adopt_step=row.adopt_step,
        why=row.why,
        cluster=row.cluster,
        parent_id=row.parent_id,
        child=_read_revision(db, row.child_id) if row.child_id else None,
        decision=row.decision,
        reason=row.reason,
        samples=() if brief else _read_samples(db, row),
        exchanges=tuple(_record(ExchangeRecord, e) for e in exchanges),
        proposals=_read_proposals(db, row),
        seconds=row.seconds,
    )


def _parts(db: sa.Connection, table: sa.Table, row: Any, order: str) -> Sequence[Any]:
    """The rows of a table that belong to a meta step."""
    key = (table.c.attempt_id == row.attempt_id, table.c.cluster == row.cluster, table.c.step == row.step)
    return db.execute(sa.select(table).where(*key).order_by(table.c[order])).all()


def _record(kind: Any, row: Any) -> Any:
    return kind(**{f.name: getattr(row, f.name) for f in fields(kind)})


def _read_samples(db: sa.Connection, row: Any) -> tuple[SampleRecord, ...]:
    joined = t.meta_sample.join(
        live_rollout,
        (live_rollout.c.step == t.meta_sample.c.rollout_step)
        & (live_rollout.c.position == t.meta_sample.c.rollout_position)
        & (live_rollout.c.split == Split.TRAIN.value),
    )
    mine = (t.meta_sample.c.attempt_id == row.attempt_id, t.meta_sample.c.cluster == row.cluster)
    rows = db.execute(
        sa.select(live_rollout, t.meta_sample.c.why, t.meta_sample.c.flags)
        .select_from(joined)
        .where(*mine, t.meta_sample.c.step == row.step)
        .order_by(t.meta_sample.c.position)
    ).all()
    return tuple(SampleRecord(read_rollout(r, []).rollout, r.why, tuple(r.flags.split())) for r in rows)


def _read_proposals(db: sa.Connection, row: Any) -> tuple[ProposalRecord, ...]:
    findings: dict[int, list[FindingRecord]] = {}
    for f in _parts(db, t.gate_finding, row, "number"):
        findings.setdefault(f.number, []).append(_record(FindingRecord, f))
    return tuple(
        ProposalRecord(
            _read_revision(db, p.revision_id), p.accepted, p.reason, p.repairs, tuple(findings.get(p.number, ()))
        )
        for p in _parts(db, t.proposal, row, "number")
    )


def _read_act(db: sa.Connection, row: Any) -> ActRecord:
    body = db.scalar(sa.select(t.rubric.c.body).where(t.rubric.c.digest == row.rubric_digest))
    return ActRecord(
        kind=ActKind(row.kind),
        who=row.who,
        why=row.why,
        done_at=row.done_at,
        cluster=row.cluster,
        about=row.about,
        criterion=row.criterion,
        rubric=Rubric.model_validate_json(body) if body else None,
        id=row.id,
    )

"""How a run's rubrics came to be, revision by revision: what is in force, was, waits, or was refused."""

from collections.abc import Iterator, Mapping, Sequence

from metapo.meta.step import Decision
from metapo.people import waiting_in
from metapo.rubric import Revision
from metapo.scale import Scale
from metapo.store import AdoptionRecord, MetaStepRecord, ProposalRecord
from metapo.viewing.answers import Finding, Mark, MarkKind, Node, RevisionShown, Status, TreeAnswer
from metapo.viewing.figures import Known, onsets
from metapo.viewing.runs import Viewed


def tree(run: Viewed, cluster: str) -> TreeAnswer:
    """Raises StoreError."""
    return TreeAnswer(cluster=cluster, nodes=tuple(nodes(run, cluster)))


def nodes(run: Viewed, cluster: str) -> list[Node]:
    """Every revision of a cluster, parents before children."""
    return run.remembered(("nodes", cluster), lambda: _nodes(run, cluster))


def _nodes(run: Viewed, cluster: str) -> list[Node]:
    chain = run.store.adoptions(cluster)
    meta_steps = run.store.meta_steps(cluster, brief=True)
    open_ids = {m.child.id for m in waiting_in(run.store, cluster) if m.child}
    by_child = {m.child.id: m for m in meta_steps if m.child}
    found = [_adopted(i, chain, by_child, meta_steps) for i in range(len(chain))]
    known = {node.id for node in found}
    for meta_step in meta_steps:
        for proposal in _proposals(meta_step):
            if proposal.revision.id not in known:
                known.add(proposal.revision.id)
                status = _status(meta_step, proposal, open_ids, chain)
                found.append(_node(proposal.revision, status, meta_step, proposal))
    return sorted(found, key=lambda node: node.step)


def marks(run: Viewed, known: Known) -> list[Mark]:
    """What happened in a run, in the order of steps."""
    found = [mark for cluster in clusters(run) for mark in _of_cluster(run, cluster)]
    told, gold = onsets(known)
    if told is not None:
        found.append(Mark(step=told, kind=MarkKind.ONSET, text="judge and monitor part"))
    if gold is not None:
        found.append(Mark(step=gold, kind=MarkKind.GOLD_ONSET, text="judge and gold part"))
    for attempt in run.store.attempts():
        if attempt.resumed_step:
            found.append(
                Mark(step=attempt.resumed_step, kind=MarkKind.RESUMED, text=f"went on at {attempt.started_at}")
            )
    return sorted(found, key=lambda mark: mark.step)


def clusters(run: Viewed) -> list[str]:
    """The clusters that have a lineage of their own; "" where nothing was scored yet."""
    return run.remembered("clusters", run.store.clusters) or [""]


def shown(run: Viewed, revision_id: str) -> RevisionShown:
    """A revision by how its id begins. Raises UnknownRevision."""
    revision = run.store.find_revision(revision_id)
    return RevisionShown(id=revision.id, revision=revision, yaml=revision.rubric.to_yaml())


def findings(proposal: ProposalRecord) -> tuple[Finding, ...]:
    return tuple(
        Finding(check=f.gate_check, passed=f.passed, detail=f.detail, parent=f.parent, child=f.child, n_pairs=f.n_pairs)
        for f in proposal.findings
    )


def _of_cluster(run: Viewed, cluster: str) -> Iterator[Mark]:
    for node in nodes(run, cluster):
        own = {"cluster": cluster, "revision": node.id}
        if node.in_force_from is not None and node.parents:
            yield Mark(step=node.in_force_from, kind=_kind(node), text=node.reason, **own)
        elif node.status in (Status.WAITING, Status.REJECTED):
            kind = MarkKind.WAITING if node.status is Status.WAITING else MarkKind.REJECTED
            yield Mark(step=node.step, kind=kind, text=node.verdict or node.reason, **own)


def _kind(node: Node) -> MarkKind:
    if node.meta_step is None:
        return MarkKind.PERSON
    return MarkKind.ROLLED_BACK if node.is_return else MarkKind.ADOPTED


def _adopted(
    i: int,
    chain: Sequence[AdoptionRecord],
    by_child: Mapping[str, MetaStepRecord],
    meta_steps: Sequence[MetaStepRecord],
) -> Node:
    adoption = chain[i]
    until = chain[i + 1].step if i + 1 < len(chain) else None
    went_back = any(m.parent_id == adoption.revision.id and m.decision == Decision.ROLLED_BACK for m in meta_steps)
    status = Status.IN_FORCE if until is None else Status.ROLLED_BACK if went_back else Status.EARLIER
    meta_step = by_child.get(adoption.revision.id)
    proposal = next((p for p in _proposals(meta_step) if p.revision.id == adoption.revision.id), None)
    node = _node(adoption.revision, status, meta_step, proposal)
    scale = Scale(factor=adoption.factor, shift=adoption.shift)
    return node.model_copy(update={"in_force_from": adoption.step, "in_force_to": until, "scale": scale})


def _proposals(meta_step: MetaStepRecord | None) -> list[ProposalRecord]:
    """Those that were examined, and the child where none was: without a gate, or where a revision returns."""
    if meta_step is None:
        return []
    child = meta_step.child
    examined = list(meta_step.proposals)
    if child is None or any(p.revision.id == child.id for p in examined):
        return examined
    return [*examined, ProposalRecord(child, True, meta_step.reason)]


def _status(
    meta_step: MetaStepRecord, proposal: ProposalRecord, open_ids: set[str], chain: Sequence[AdoptionRecord]
) -> Status:
    """How a revision stands that was never in force."""
    if not proposal.accepted:
        return Status.REJECTED
    if meta_step.child is None or meta_step.child.id != proposal.revision.id:
        return Status.ASIDE
    if meta_step.decision == Decision.WAITING:
        return Status.WAITING if proposal.revision.id in open_ids else Status.DECIDED
    brings = Decision(meta_step.decision).brings_child
    is_in_time = bool(chain) and meta_step.parent_id == chain[-1].revision.id
    return Status.COMING if brings and is_in_time else Status.ASIDE if brings else Status.REJECTED


def _node(
    revision: Revision, status: Status, meta_step: MetaStepRecord | None, proposal: ProposalRecord | None
) -> Node:
    rubric = revision.rubric
    return Node(
        id=revision.id,
        parents=revision.parents,
        status=status,
        reason=revision.reason,
        proposer=revision.proposer,
        step=revision.step,
        meta_step=meta_step.step if meta_step else None,
        is_return=meta_step is not None and meta_step.decision == Decision.ROLLED_BACK,
        why=meta_step.why if meta_step else "",
        verdict=proposal.reason if proposal else "",
        findings=findings(proposal) if proposal else (),
        n_criteria=len(rubric.criteria),
        n_words=rubric.n_words,
        min_points=rubric.min_points,
        max_points=rubric.max_points,
    )

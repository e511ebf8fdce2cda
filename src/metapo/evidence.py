"""What the store holds for a meta step to look at."""

from metapo.judge.judge import Assessment
from metapo.meta.exam import UNTRAINED_STEPS
from metapo.meta.pairs import Pair, Source
from metapo.meta.select import Evidence
from metapo.meta.settings import ExamSettings
from metapo.reward import Monitored, Reward, Scored
from metapo.rubric import Revision, Rubric
from metapo.store import AnchorRecord, BegunRecord, RolloutRecord, Store

EARLIER_STEPS = 10  # before the last meta step, to tell what is new


def gather_evidence(store: Store, parent: Revision, begun: BegunRecord) -> Evidence:
    """The training rollouts that the rubric of `parent` scored, pinned or not, since the meta step before this one;
    some earlier ones, and what the policy wrote first. What a task's own rule scored says nothing about a rubric."""
    cluster = begun.cluster
    same = _unpinned(parent.rubric)
    alike = {a.revision.id for a in store.adoptions(cluster) if _unpinned(a.revision.rubric) == same}
    last = max((d.step for d in store.decisions(cluster) if d.step < begun.step), default=0)

    def scored(from_step: int, to_step: int) -> list[Scored]:
        records = store.rollouts(from_step=from_step, to_step=to_step, cluster=cluster)
        return [from_record(r, parent.rubric) for r in records if r.value is not None and not r.screened]

    first: dict[str, Scored] = {}
    for one in scored(0, min(UNTRAINED_STEPS, begun.step)):
        first.setdefault(one.rollout.prompt, one)
    since = scored(last, begun.step)
    recent = [s for s in since if s.revision_id in alike]
    others = [s for s in since if s.revision_id not in alike]  # scored while the last meta step was under way
    return Evidence(recent, [*scored(max(0, last - EARLIER_STEPS), last), *others], first)


def from_record(record: RolloutRecord, rubric: Rubric) -> Scored:
    """What the meta model needs of a stored rollout, outcomes in the rubric's order; the calls stay in the store."""
    places = {c.id: i for i, c in enumerate(rubric.criteria)}
    outcomes = tuple(sorted(record.outcomes, key=lambda o: places.get(o.criterion_id, len(places))))
    reward = Reward(record.value, record.normalized, record.raw, ())
    monitored = None
    if record.monitor is not None:
        monitored = Monitored("", Assessment((), ()), Reward(None, record.monitor, None, ()))
    return Scored(record.rollout, record.revision_id, Assessment(outcomes, ()), reward, monitored)


def _unpinned(rubric: Rubric) -> Rubric:
    return Rubric(criteria=tuple(c.model_copy(update={"pinned": False}) for c in rubric.criteria))


def known_pairs(store: Store, exam: ExamSettings, cluster: str = "") -> list[Pair]:
    """The pairs that people pinned, and the newest of those that examined proposals in this cluster, oldest first: what
    the others found depends on how fast they were."""
    return [_pair(record) for record in store.anchors(cluster, newest=max(exam.archive, exam.earlier))]


def _pair(record: AnchorRecord) -> Pair:
    return Pair(
        prompt=record.prompt,
        better=record.better,
        worse=record.worse,
        reference=record.reference,
        source=Source(record.source),
        why=record.why,
    )

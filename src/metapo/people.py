"""What people may decide about a run's rubric, and what comes of it at the next step's beginning.

A decision is written into the run's store, where the run finds it, also while it trains.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from metapo.errors import ActRefused, DataError
from metapo.meta.pairs import Pair, Source
from metapo.records import anchor_record
from metapo.rubric import Revision, Rubric
from metapo.store import ActKind, ActRecord, AnchorRecord, MetaStepRecord, Store

WAITING = "waiting"
WHEN = (
    "The run takes it before its next step begins; one that has stopped takes it after its first step once it is "
    "resumed."
)


class Ruling(NamedTuple):
    """What an act leads to, in words, and the revision that comes into force by it, if any."""

    outcome: str
    child: Revision | None = None


def waiting(
    meta_steps: Sequence[MetaStepRecord], acts: Sequence[ActRecord] = (), taken_at: Mapping[int, int] | None = None
) -> list[MetaStepRecord]:
    """The meta steps whose revision waits for approval, oldest first: accepted by the gate, and none of the acts has
    decided on it.

    `taken_at` is the step at which an act was taken, by its number. One that was taken before a meta step began decided
    nothing of it: a run that goes on from an earlier checkpoint may come to the same revision once more.
    """
    known = taken_at or {}

    def is_open(record: MetaStepRecord, child: Revision) -> bool:
        about = [act.id for act in acts if act.about == child.id]
        return record.decision == WAITING and all(known.get(i, record.step + 1) <= record.step for i in about)

    return [m for m in meta_steps if m.child and is_open(m, m.child)]


def waiting_in(store: Store, cluster: str, before: ActRecord | None = None) -> list[MetaStepRecord]:
    """What waits for approval in a cluster; with `before`, what does when this act is taken."""
    acts = [a for a in store.acts() if a.cluster in (None, cluster) and (before is None or a.id < before.id)]
    taken_at = {number: step for number, of, step, _ in store.outcomes_of_acts() if of == cluster}
    return waiting(store.meta_steps(cluster, brief=True), acts, taken_at)


# --- acts


def note(store: Store, act: ActRecord) -> int:
    """Write an act that can be done as things stand; returns its number. Raises ActRefused, StoreError."""
    foreseen = [foreseen_in(store, act, cluster) for cluster in clusters_of(store, act.cluster)]
    always = (ActKind.REJECT, ActKind.EVOLVE)
    if act.kind not in always and all(ruling.child is None for ruling in foreseen):
        raise ActRefused("; ".join(dict.fromkeys(ruling.outcome for ruling in foreseen)))
    return store.append_act(act)


def told(act: ActRecord) -> str:
    """An act in one line."""
    what = (act.about or "")[:10] or act.criterion
    if act.rubric is not None:
        what = f"rubric {act.rubric.digest[:10]}" + (f" in place of {what}" if what else "")
    only = f" for cluster {act.cluster}" if act.cluster else ""
    return " ".join(part for part in (act.kind.value, what) if part) + f"{only}, by {act.who}"


def find_waiting(store: Store, prefix: str, cluster: str | None) -> tuple[str, str | None]:
    """The waiting revision whose id starts with `prefix`, and its cluster, None where it waits in several.
    Raises ActRefused."""
    found = [(m.child.id, of) for of in clusters_of(store, cluster) for m in waiting_in(store, of) if m.child]
    ids = {child_id for child_id, _ in found if child_id.startswith(prefix)}
    if len(ids) != 1:
        others = f"these wait: {', '.join(sorted({i[:10] for i, _ in found}))}" if found else "none does"
        raise ActRefused(f"{len(ids)} revisions that start with {prefix!r} wait for approval; {others}")
    [about] = ids
    clusters = [of for child_id, of in found if child_id == about]
    return about, clusters[0] if len(clusters) == 1 else None


def foreseen_in(store: Store, act: ActRecord, cluster: str) -> "Ruling":
    """What an act would lead to in a cluster, as things stand. Raises ActRefused."""
    lineage = store.lineage(cluster)
    if not lineage:
        raise ActRefused(f"{store.name} has no revision yet: it stopped before its first step. Resume it.")
    return foresee(act, lineage[-1][1], store.open_acts(cluster), store.meta_steps(cluster, brief=True))


def clusters_of(store: Store, cluster: str | None = None) -> list[str]:
    """The clusters that have a lineage of their own, or the one that is named. Raises ActRefused."""
    known = store.clusters() or [""]
    if cluster is not None and cluster not in known:
        has = f"has {', '.join(map(repr, known))}" if any(known) else "knows no clusters: leave the cluster out"
        raise ActRefused(f"no rollout so far is of cluster {cluster!r}; the run {has}")
    return known if cluster is None else [cluster]


def pin_pairs(store: Store, pairs: Sequence[Pair], who: str) -> int:
    """Pin pairs of known order, but for those that are pinned already; returns how many were new. Raises DataError
    where a pair is known the other way round, StoreError."""
    new = _unknown(store, pairs)
    at = now()
    store.append_anchors([anchor_record(pair, Source.ANCHOR, who=who, added_at=at) for pair in new])
    return len(new)


def pinned(store: Store) -> list[AnchorRecord]:
    """What people pinned, oldest first."""
    return [one for one in store.anchors() if one.source == Source.ANCHOR]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unknown(store: Store, pairs: Sequence[Pair]) -> list[Pair]:
    known = {(a.prompt, a.better, a.worse): a for a in pinned(store)}
    given = {(p.prompt, p.better, p.worse) for p in pairs}
    for pair in pairs:
        turned = pair.prompt, pair.worse, pair.better
        if turned in known:
            by = f"{known[turned].who} at {known[turned].added_at}"
            raise DataError(f"{pair.better[:80]!r} was pinned as the worse one of these two by {by}")
        if turned in given:
            raise DataError(f"{pair.better[:80]!r} stands as the better one and as the worse one of the same two")
    return list({p.key: p for p in pairs if (p.prompt, p.better, p.worse) not in known}.values())


# --- what comes of them


def foresee(
    act: ActRecord, in_force: Revision, earlier: Sequence[ActRecord], meta_steps: Sequence[MetaStepRecord]
) -> Ruling:
    """What an act leads to if nothing comes between but the earlier ones that the run has still to take."""
    ruling = Ruling("")
    for i, one in enumerate([*earlier, act]):
        candidates = [m.child for m in waiting(meta_steps, earlier[:i]) if m.child]
        ruling = rule(one, in_force, candidates, in_force.step)
        in_force = ruling.child or in_force
    return ruling


def rule(act: ActRecord, in_force: Revision, candidates: Sequence[Revision], step: int) -> Ruling:
    """What an act leads to where `in_force` is the revision in force after `step` steps, and `candidates` wait for
    approval."""
    about = next((r for r in candidates if r.id == act.about), None)
    match act.kind:
        case ActKind.APPROVE:
            return _approve(act, in_force, about)
        case ActKind.REJECT if about is None:
            return _not_waiting(act)
        case ActKind.REJECT:
            return Ruling(f"{_short(act.about)} is rejected")
        case ActKind.EDIT:
            return _edit(act, in_force, about, step)
        case ActKind.PIN | ActKind.UNPIN:
            return _pin(act, in_force, step)
        case ActKind.EVOLVE:
            return Ruling("a meta step begins, unless one is under way")


def _approve(act: ActRecord, in_force: Revision, child: Revision | None) -> Ruling:
    if child is None:
        return _not_waiting(act)
    if in_force.id not in child.parents:
        return _stale(child)
    return Ruling(f"{child.short_id} is in force", child)


def _edit(act: ActRecord, in_force: Revision, about: Revision | None, step: int) -> Ruling:
    """The text that a person wrote in place of the revision in force, or of one that waits: a lineage names both."""
    if about is None and act.about not in (None, in_force.id):
        return Ruling(f"nothing changes: {_short(act.about)} is not in force and does not wait for approval")
    if about is None:
        return _replace(act, in_force, act.rubric, step, "written")
    if in_force.id not in about.parents:
        return _stale(about)
    return _replace(act, in_force, act.rubric, step, f"{about.short_id} edited", about.id)


def _pin(act: ActRecord, in_force: Revision, step: int) -> Ruling:
    pinned = act.kind is ActKind.PIN
    criterion = in_force.rubric.criterion(act.criterion)
    if criterion is None:
        return Ruling(f"nothing changes: the rubric in force has no criterion {act.criterion!r}")
    if criterion.pinned is pinned:
        return Ruling(f"nothing changes: {act.criterion!r} is {'pinned already' if pinned else 'not pinned'}")
    criteria = tuple(
        c.model_copy(update={"pinned": pinned}) if c.id == act.criterion else c for c in in_force.rubric.criteria
    )
    return _replace(act, in_force, Rubric(criteria=criteria), step, f"{act.kind.value} {act.criterion}")


def _replace(act: ActRecord, in_force: Revision, rubric: Rubric | None, step: int, what: str, *more: str) -> Ruling:
    """`more` are parents beside the revision in force."""
    if rubric is None or rubric.digest == in_force.rubric.digest:
        return Ruling("nothing changes: the rubric in force is the same")
    reason = f"{what} by {act.who}: {act.why}" if act.why else f"{what} by {act.who}"
    child = Revision(rubric=rubric, parents=(in_force.id, *more), reason=reason, proposer=act.who, step=step)
    return Ruling(f"{child.short_id} is in force", child)


def _not_waiting(act: ActRecord) -> Ruling:
    return Ruling(f"nothing changes: {_short(act.about)} does not wait for approval")


def _stale(child: Revision) -> Ruling:
    return Ruling(f"nothing changes: {child.short_id} was written for a parent that is no longer in force")


def _short(revision_id: str | None) -> str:
    return (revision_id or "nothing")[:10]

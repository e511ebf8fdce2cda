"""The fixed metrics of a sample. verl wants the same names for every sample of a batch, and criteria come and go: slot
i stands for the i-th criterion of the revision that scored the sample."""

from collections.abc import Sequence
from dataclasses import dataclass

from metapo.rubric import Verdict
from metapo.store import RolloutRecord, Store


@dataclass(frozen=True)
class Given:
    """What came of one rollout. `revision` counts the revisions of the rollout's cluster, from 0, each time that one
    comes into force; `points` are those of its criteria in their order, None without a verdict; `why` tells what was
    missing where `value` is None."""

    value: float | None
    normalized: float | None
    raw: float | None
    revision: int
    points: tuple[int | None, ...]
    why: str = ""


@dataclass(frozen=True)
class Slot:
    """From `step` on, the metric `name` of a cluster's samples is the points for `criterion`; None where the slots
    don't reach."""

    cluster: str
    revision: int
    step: int
    revision_id: str
    name: str | None
    criterion: str


def given(record: RolloutRecord, revision: int) -> Given:
    points = tuple(o.points if isinstance(o, Verdict) else None for o in record.outcomes)
    missing = [f"{o.criterion_id}: {o.reason.value} {o.detail}" for o in record.outcomes if not isinstance(o, Verdict)]
    return Given(record.value, record.normalized, record.raw, revision, points, "; ".join(missing))


def metrics(given: Given, n_slots: int) -> dict[str, float | None]:
    """The metrics of a sample, the same names whatever the rubric. What there is no number for is None, which verl's
    validation leaves out of its means."""
    points = (*given.points, *[None] * n_slots)[:n_slots]
    return {
        "judge_failed": float(given.value is None),
        "normalized": given.normalized,
        "points": given.raw,
        "revision": float(given.revision),
        **{slot_name(i): None if p is None else float(p) for i, p in enumerate(points)},
    }


def slot_name(i: int) -> str:
    return f"crit_{i}"


def slots(store: Store, n_slots: int) -> list[Slot]:
    """Which criterion each slot stands for, revision by revision, oldest first."""
    return [
        Slot(cluster, number, step, revision.id, slot_name(i) if i < n_slots else None, criterion.id)
        for cluster in _clusters(store)
        for number, (step, revision) in enumerate(store.lineage(cluster))
        for i, criterion in enumerate(revision.rubric.criteria)
    ]


def _clusters(store: Store) -> Sequence[str]:
    return sorted({"", *store.clusters()})

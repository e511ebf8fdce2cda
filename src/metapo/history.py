"""A run's lineages and meta steps, line by line."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from metapo.errors import RunError
from metapo.meta.step import Decision
from metapo.pages import in_notebook
from metapo.rubric import Revision
from metapo.rubric_diff import diff_rubrics
from metapo.store import MetaStepRecord, Store


@dataclass(frozen=True)
class Lineage:
    """The revisions that scored, in order, each with the step from which it did. A notebook shows what each changed."""

    revisions: tuple[tuple[int, Revision], ...]

    @classmethod
    def load(cls, run: str | Path, cluster: str = "") -> Self:
        """That of a run folder, or of the store at a URL; `cluster` names prompts with a rubric of their own. Raises
        RunError, StoreError."""
        place = run if isinstance(run, str) and "://" in run else Path(run) / "store.db"
        if isinstance(place, Path) and not place.is_file():
            raise RunError(f"{run} is no run folder: there is no {place}. Give one, or the URL of a store.")
        with closing(Store(place)) as store:
            return cls(tuple(store.lineage(cluster)))

    def _repr_html_(self) -> str | None:
        changes = [
            [part for part in diff_rubrics(before.rubric, after.rubric) if part.changed]
            for (_, before), (_, after) in pairwise(self.revisions)
        ]
        shown = zip(self.revisions, [[], *changes], strict=False)
        return in_notebook("lineage", [(step, revision, changed) for (step, revision), changed in shown])


def history(store: Store) -> list[tuple[int, str]]:
    """What happened to the rubrics of a run, as (training step, line) in order; of one step, meta steps come before
    revisions. A line begins with the prompts' cluster where they have one."""
    lines = [line for cluster in dict.fromkeys(["", *store.clusters()]) for line in _of_cluster(store, cluster)]
    return [(step, text) for step, _, text in sorted(lines, key=lambda line: line[:2])]


def _of_cluster(store: Store, cluster: str) -> Iterator[tuple[int, int, str]]:
    """(step, place within it, line)"""
    of = f"{cluster}: " if cluster else ""
    adoptions = store.adoptions(cluster)
    ended = {m.step: m for m in store.meta_steps(cluster, brief=True)}
    under_way = [b for b in store.begun(cluster) if b.step not in ended]
    yield from ((b.step, 0, f"{of}meta step{_why(b.why)}, under way") for b in under_way)
    in_force = {a.revision.id for a in adoptions}
    for meta_step in ended.values():
        yield from ((meta_step.step, 0, of + line) for line in _told(meta_step, in_force))
    own = adoptions[1:] if cluster else adoptions  # every cluster begins with the run's first revision
    yield from ((a.step, 1, f"{of}{_shown(a.revision)}") for a in own)


def _told(meta_step: MetaStepRecord, in_force: set[str]) -> Iterator[str]:
    """How a meta step ended, then its refused proposals. What came into force has its reason with the revision, what
    was refused with the proposal."""
    decision, refused = Decision(meta_step.decision), [p for p in meta_step.proposals if not p.accepted]
    ended = decision.in_words
    if decision.brings_child and meta_step.child and meta_step.child.id not in in_force:
        ended += f", {meta_step.child.short_id} is not in force"
    elif not decision.brings_child and not (decision is Decision.REJECTED and refused):
        ended += f": {_line(meta_step.reason)}"
    yield f"meta step{_why(meta_step.why)}, {ended}"
    for p in refused:
        yield f"  refused {p.revision.short_id}, {_line(p.revision.reason)}: {_line(p.reason)}"


def _why(why: str) -> str:
    return f" ({why})" if why else ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _shown(revision: Revision) -> str:
    rubric = revision.rubric
    n = len(rubric.criteria)
    return (
        f"{revision.short_id}  {n} {'criterion' if n == 1 else 'criteria'}, {rubric.min_points:g} to "
        f"{rubric.max_points:g} points  {revision.proposer}: {revision.reason}"
    )

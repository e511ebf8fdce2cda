"""Runs at a glance: how each stands, with what settings, who answered, and what it cost."""

from collections.abc import Sequence

import sqlalchemy as sa

from metapo.errors import MetapoError
from metapo.rollout import Split
from metapo.store import schema as t
from metapo.viewing.answers import Attempt, MetricsAnswer, RunAnswer, RunEntry, SpentOn, Standing, Status
from metapo.viewing.figures import columns, names_of
from metapo.viewing.lineage import clusters, marks, nodes
from metapo.viewing.runs import Viewed, iso

_spending = sa.table("spending", *(sa.column(name) for name in SpentOn.model_fields))


def entry(run: Viewed) -> RunEntry:
    """Raises StoreError."""
    standing = run.store.standing()
    train = run.figures.read().of(Split.TRAIN.value)
    known = [node for cluster in clusters(run) for node in nodes(run, cluster)]
    return RunEntry(
        run=run.name,
        place=run.where,
        standing=_standing(run, standing.error),
        task=str(run.settings.get("task", "")),
        step=max(standing.step, train[-1]["step"] + 1 if train else 0),
        steps=_steps(run),
        reward=train[-1].get("reward") if train else None,
        n_revisions=len({node.id for node in known if node.in_force_from is not None}),
        n_waiting=sum(node.status is Status.WAITING for node in known),
        written_at=iso(run.written_at),
    )


def entries(runs: Sequence[Viewed]) -> tuple[RunEntry, ...]:
    """Of each run; of one that can't be read, what is wrong."""
    found = []
    for run in runs:
        try:
            found.append(entry(run))
        except MetapoError as e:
            found.append(RunEntry(run=run.name, place=run.where, standing=Standing.QUIET, problem=str(e)))
    return tuple(found)


def in_full(run: Viewed) -> RunAnswer:
    """Raises StoreError."""
    known = run.figures.read()
    names = names_of(known)
    with run.store.snapshot() as db:
        spent = db.execute(sa.select(_spending).order_by(_spending.c.role, _spending.c.model)).all()
        has_flags = db.scalar(sa.select(t.rollout_flag.c.detector).limit(1)) is not None
    flags = sorted({n.removeprefix("flag/") for of in names.values() for n in of if n.startswith("flag/")})
    adopted = [n.id for cluster in clusters(run) for n in nodes(run, cluster) if n.in_force_from is not None]
    in_order = [criterion.id for i in adopted for criterion in run.rubric(i).criteria]
    return RunAnswer(
        entry=entry(run),
        settings=run.settings,
        stopped=run.store.standing().error or None,
        attempts=tuple(
            Attempt(number=a.number, resumed_step=a.resumed_step, started_at=a.started_at) for a in run.store.attempts()
        ),
        answered_by=run.store.answered_by(),
        clusters=tuple(run.store.clusters()),
        criteria=tuple(dict.fromkeys(in_order)),
        flags=tuple(flags) if has_flags else (),
        n_rollouts={split.value: sum(row["n_rollouts"] for row in known.of(split.value)) for split in Split},
        spent=tuple(SpentOn(**{n: getattr(row, n) or 0 for n in SpentOn.model_fields}) for row in spent),
    )


def metrics(run: Viewed, after: int, generation: str | None, names: Sequence[str] | None) -> MetricsAnswer:
    """What came after a number in a generation; all where the generation is another. Raises StoreError."""
    known = run.figures.read()
    is_whole = generation != known.generation or after == 0
    return MetricsAnswer(
        generation=known.generation,
        newest=known.newest,
        is_whole=is_whole,
        series=tuple(columns(known, 0 if is_whole else after, names)),
        names=names_of(known),
        marks=tuple(marks(run, known)),
    )


def _standing(run: Viewed, error: str) -> Standing:
    if error:
        return Standing.STOPPED
    if run.is_finished:
        return Standing.FINISHED
    return Standing.TRAINING if run.is_training else Standing.QUIET


def _steps(run: Viewed) -> int | None:
    """How many steps the run has in all; a served one doesn't know."""
    engine = run.settings.get("engine")
    steps = engine.get("steps") if isinstance(engine, dict) else None
    return steps if isinstance(steps, int) and run.store.served() is None else None

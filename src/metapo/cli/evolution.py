"""metapo rubric evolution"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import (
    FILE,
    FOLDER,
    PLACE,
    SEED,
    counted,
    open_store,
    read_rollouts,
    run_name,
    scoring_settings,
    served_settings,
    task_of,
)
from metapo.cli.judging import given, judge_options, names_judge, rejudged
from metapo.errors import BudgetSpent, JudgeFailureLimit, RubricError, SettingsError

if TYPE_CHECKING:
    from metapo.evals.evolution import Stage
    from metapo.judge.transport import Transport
    from metapo.rollout import Rollout
    from metapo.rubric import Revision
    from metapo.settings import Settings
    from metapo.store import Store

    Lineage = list[tuple[int, Revision]]

JSON, PAGE = "evolution.json", "evolution.html"


@dataclass(frozen=True)
class Measured:
    """A run's lineages by cluster: the rollouts that each was measured on, the figures, who judged ("" for nobody), and
    why the scores are not fit for use, if so."""

    rollouts: "Mapping[str, Sequence[Rollout]]"
    stages: "Mapping[str, Sequence[Stage]]"
    judge: str = ""
    failure: str = ""


@click.command()
@click.argument("run", type=PLACE)
@click.option("--out", type=FOLDER, required=True, help=f"Folder for {JSON} and {PAGE}.")
@click.option(
    "--rollouts", type=FILE, help="JSON lines with prompt and completion (or response), in place of the run's."
)
@click.option(
    "--n",
    type=click.IntRange(min=2),
    default=64,
    show_default=True,
    help="How many of the run's rollouts, per cluster.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Draws the run's rollouts.")
@click.option("--no-judge", is_flag=True, help="Tell the figures of the text alone; no judge is asked.")
@judge_options
def evolution(
    run: Path | str, out: Path, rollouts: Path | None, n: int, seed: int, no_judge: bool, **flags: Any
) -> None:
    """Measure how the rubric of RUN changed: criteria, words and points of each revision that came into force, and how
    it scores one fixed set of rollouts: is a later revision stricter, and does it tell more of them apart?

    The rollouts are training rollouts of the run, spread over its steps, or those of a file; what the task's screen
    scored is left out. They are judged as in the run, but for what options name: another judge, mode or task
    description. Verdicts are kept in the run's store: the same command asks nothing twice.
    """
    from metapo.evals.evolution import trace
    from metapo.evals.evolution_page import describe, render_page, tables
    from metapo.files import write_whole

    if no_judge and (rollouts or given(flags)):
        raise SettingsError("--no-judge judges no rollouts: leave out --rollouts and the options about the judge")
    store = open_store(run)
    try:
        name = run.resolve().name if isinstance(run, Path) else store.name
        lineages = _lineages(store)
        if no_judge:
            measured = Measured({}, {cluster: trace(lineage) for cluster, lineage in lineages.items()})
        else:
            sets = {cluster: _fixed_set(store, cluster, rollouts, n, seed) for cluster in lineages}
            measured = _measure(run, store, lineages, sets, flags)
    finally:
        store.close()
    write_whole(out / JSON, json.dumps(_data(name, measured), indent=1))
    write_whole(out / PAGE, render_page(name, measured.stages, _judged(measured, rollouts)))
    for cluster, stages in measured.stages.items():
        click.echo(f"{cluster}: {describe(stages)}" if cluster else describe(stages))
        for rows in tables(stages):
            _show(rows)
    click.echo(f"Written to {out / JSON} and {out / PAGE}")
    if measured.failure:
        raise JudgeFailureLimit(measured.failure)


def _lineages(store: "Store") -> "dict[str, Lineage]":
    lineages = {cluster: store.lineage(cluster) for cluster in store.clusters() or [""]}
    if not all(lineages.values()):
        raise RubricError(
            f"the run in {run_name(store)} has no revision yet: it stopped before its first step. Resume it."
        )
    return lineages


def _fixed_set(store: "Store", cluster: str, source: Path | None, n: int, seed: int) -> "list[Rollout]":
    """All different rollouts of a file, or `n` of the run's in a cluster."""
    from metapo.evals.evolution import fixed_set

    if source is not None:
        rollouts = read_rollouts(source)[1]
        return fixed_set(rollouts, len(rollouts), seed)
    judged = [record.rollout for record in store.rollouts(cluster=cluster) if not record.screened]
    return fixed_set(judged, n, seed)


def _measure(
    run: Path | str,
    store: "Store",
    lineages: "Mapping[str, Lineage]",
    sets: "Mapping[str, Sequence[Rollout]]",
    flags: dict[str, Any],
) -> Measured:
    """Have each set judged under all revisions of its lineage. Raises BudgetSpent, ChatError."""
    from metapo.cli.scoring import appraise_rollouts
    from metapo.evals.evolution import trace

    settings, judge = _judge(run, store, flags)
    meta = settings.meta.model_copy(update={"endpoint": None})
    settings = settings.model_copy(update={"monitor": None, "meta": meta})  # those need not be there
    rubrics = {c: {r.rubric.digest: r.rubric for _, r in lineage} for c, lineage in lineages.items()}
    tasks = [(c, digest, rubric) for c, known in rubrics.items() for digest, rubric in known.items()]
    place = run / "store.db" if isinstance(run, Path) else run
    cache = place if settings.judging.cache else None
    found = asyncio.run(appraise_rollouts(settings, [(rubric, sets[c]) for c, _, rubric in tasks], cache, judge))
    click.echo(f"It took {found.spent}")
    if found.reached:
        again = " The same command goes on with them, with as much to spend again." if cache else ""
        raise BudgetSpent(
            f"{len(found.scored)} of {len(tasks)} rubrics took {found.reached}: nothing is written.{again}"
        )
    scores: dict[str, dict[str, list[float | None]]] = {c: {} for c in lineages}
    for (c, digest, _), scored in zip(tasks, found.scored, strict=True):
        scores[c][digest] = [s.reward.normalized for s in scored]
    stages = {c: trace(lineage, sets[c], scores[c]) for c, lineage in lineages.items()}
    reasons = Counter(u.reason.value for scored in found.scored for s in scored for u in s.assessment.unscored)
    return Measured(sets, stages, found.judge, _failure(sets, stages, reasons, settings.max_unscored))


def _judge(run: Path | str, store: "Store", flags: dict[str, Any]) -> "tuple[Settings, Transport | None]":
    """Who judges, and how: as in the run, but for what the options name. In the offline world the judge is in this
    process."""
    settings: Settings
    judge: Transport | None = None
    if isinstance(run, str):
        settings = served_settings(store)
    elif task_of(path := run / "settings.yaml") == "world":
        from metapo.world.judge import build_judge
        from metapo.world.presets import WorldSettings

        settings = world = WorldSettings.load(path)
        judge = build_judge(world)
    else:
        settings = scoring_settings(path)  # with all that its task says, written out when it began
    if names_judge(flags):
        judge = None
    return rejudged(settings, flags) if given(flags) else settings, judge


def _failure(
    sets: "Mapping[str, Sequence[Rollout]]",
    stages: "Mapping[str, Sequence[Stage]]",
    reasons: Mapping[str, int],
    max_unscored: float,
) -> str:
    worst = max((stage.n_unscored / len(sets[c]) for c, of in stages.items() for stage in of), default=0.0)
    if worst <= max_unscored:
        return ""
    counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return (
        f"under some revision {worst:.0%} of the rollouts have no score, more than max_unscored = {max_unscored:g} "
        f"allows ({counts}). They count in no figure. Mend the judge and give the same command again."
    )


def _judged(measured: Measured, source: Path | None) -> str:
    if not measured.judge:
        return ""
    n = counted(
        sum(map(len, measured.rollouts.values())) if source is None else max(map(len, measured.rollouts.values())),
        "rollout",
    )
    where = "of the run, spread over its steps" if source is None else f"of {source.name}"
    return f"{n} {where}, judged under every revision by {measured.judge}."


def _show(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _data(name: str, measured: Measured) -> dict[str, Any]:
    clusters = [
        {
            "cluster": cluster,
            "rollouts": [{"step": r.step, "position": r.position} for r in measured.rollouts.get(cluster, ())],
            "revisions": [_stage_data(stage) for stage in stages],
        }
        for cluster, stages in measured.stages.items()
    ]
    return {"run": name, "judge": measured.judge, "clusters": clusters}


def _stage_data(stage: "Stage") -> dict[str, Any]:
    revision = stage.revision
    told = {
        "id": revision.id,
        "digest": revision.rubric.digest,
        "proposer": revision.proposer,
        "reason": revision.reason,
    }
    figures = {"text": asdict(stage.text), "n_unscored": stage.n_unscored}
    scores = asdict(stage.scores) if stage.scores else None
    return {"number": stage.number, "step": stage.step, **told, **figures, "scores": scores}

"""metapo world"""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from metapo.cli.common import FILE, FOLDER, SEED, NumberRange
from metapo.cli.train import run_world


@click.group()
def world() -> None:
    """The offline world: watch reward hacking happen and stop, without key, GPU or download."""


_steps = click.option(
    "--steps", type=click.IntRange(min=1), default=200, show_default=True, help="Optimizer steps per run."
)
_sway = click.option(
    "--sway",
    type=NumberRange(0, 1),
    default=0.25,
    show_default=True,
    help="How often a remark to the grader sways a vague criterion; an arm that sets it keeps its own.",
)
_algorithm = click.option(
    "--algorithm",
    type=click.Choice(["grpo", "ppo"]),
    default="grpo",
    show_default=True,
    help="What trains the policy; by PPO an arm's name ends in -ppo. (extra: ppo)",
)
_processes = click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="one per core",
    help="Runs at the same time.",
)


@world.command()
@click.option(
    "--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Folder for the runs and the report."
)
@click.option("--seed", type=SEED, default=1, show_default=True, help="Seed of both runs.")
@_algorithm
@_steps
@_processes
def demo(out: Path, seed: int, algorithm: str, steps: int, processes: int) -> None:
    """Train one policy twice, under a fixed vague rubric and under one that evolves, and show what happened."""
    click.echo(
        "A tiny language model learns to write essays from the scores of a judge, twice:\n"
        "  iter0  the judge keeps one vague criterion, 'how good is the essay'\n"
        "  mpo    it starts the same, but every 10 steps a meta model reads what was written and sharpens the rubric\n"
        "'judge' is the score that trains the model; 'real quality' is what the essays are worth: no part of training\n"
        "sees it.\n"
    )
    _compare(["iter0", "mpo"], algorithm, [seed], out, steps, 0.25, processes)


@world.command()
@click.option(
    "--arms",
    "names",
    default="iter0,expert,oracle,mpo",
    show_default=True,
    help="Arms, separated by commas; metapo world arms lists them.",
)
@click.option(
    "--seeds", default="41,42,43,44,45", show_default=True, help="Seeds, separated by commas; paired across arms."
)
@click.option("--out", type=FOLDER, required=True, help="Folder for the runs, summary.json and the report.")
@_algorithm
@_steps
@_sway
@_processes
def compare(names: str, seeds: str, out: Path, algorithm: str, steps: int, sway: float, processes: int) -> None:
    """Run arms under several seeds in parallel, resume what was begun, and write one table and a report."""
    try:
        numbers = [SEED(seed) for seed in seeds.split(",")]
    except click.BadParameter as e:
        raise click.BadParameter(
            f"expected whole numbers from 0 on, separated by commas; got {seeds!r}", param_hint="--seeds"
        ) from e
    arms = [arm.strip() for arm in names.split(",")]
    _compare(arms, algorithm, list(dict.fromkeys(numbers)), out, steps, sway, processes)


def _compare(
    names: Sequence[str],
    algorithm: str,
    seeds: Sequence[int],
    out: Path,
    steps: int,
    sway: float,
    processes: int,
) -> None:
    from rich.console import Console

    from metapo.world.compare import compare as run_arms
    from metapo.world.compare import known_arms, table
    from metapo.world.presets import under
    from metapo.world.report import write_report
    from metapo.world.watch import print_table, watching

    console, arms = Console(), under(algorithm, names)
    with watching(console, steps) as watch:
        summary = run_arms(known_arms(arms), seeds, out, steps=steps, sway=sway, n_processes=processes, watch=watch)
    print_table(console, table(summary))
    report = write_report(out)
    n_seeds = len(seeds)
    console.print(
        f"{'One seed' if n_seeds == 1 else f'{n_seeds} seeds, mean ± standard deviation'}; start -> mean of the last "
        "10 steps. A model organism: it shows whether the loop stops reward hacking, not what large models do.",
        highlight=False,
    )
    console.print(
        f"Report: {report}\nRubrics: metapo rubric log {out}/{arms[-1]}-{seeds[0]}", highlight=False, soft_wrap=True
    )


@world.command()
@click.argument("arm")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Seed of the run.")
@click.option("--out", type=FOLDER, required=True, help="The run's folder; an interrupted run in it is resumed.")
@_steps
@_sway
@click.option(
    "--rubric-of",
    type=FOLDER,
    help="The finished run whose rubric an arm like final-from-start starts with; a run that is resumed has it.",
)
def run(arm: str, seed: int, out: Path, steps: int, sway: float, rubric_of: Path | None) -> None:
    """Train one arm (metapo world arms lists them) and print its figures as JSON."""
    from metapo.run import SETTINGS
    from metapo.world.compare import known_arms
    from metapo.world.presets import ARMS, WorldSettings, arm_settings
    from metapo.world.runs import rubric_of as take_rubric

    source, begun = ARMS[known_arms([arm])[0]].source, (out / SETTINGS).exists()
    if rubric_of and source is None:
        raise click.BadParameter(f"{arm} has a rubric of its own to start with", param_hint="--rubric-of")
    rubric = take_rubric(rubric_of, source.share) if rubric_of and source else None
    if source and begun and rubric is None:
        rubric = WorldSettings.load(out / SETTINGS).rubric
    run_world(arm_settings(arm, seed=seed, steps=steps, sway=sway, rubric=rubric), out, resume=begun)


@world.command()
def arms() -> None:
    """List the arms: what each starts with and what is different about it."""
    from metapo.world.presets import ARMS

    width = max(map(len, ARMS))
    for name, preset in ARMS.items():
        click.echo(f"{name:{width}}  {preset.about}")


@world.command()
@click.argument("folder", type=FOLDER)
def report(folder: Path) -> None:
    """Write FOLDER/report.html again from the runs of a comparison."""
    from metapo.world.report import write_report

    click.echo(f"Report: {write_report(folder)}")


@world.command()
@click.argument("folder", type=FOLDER)
@click.option("--arms", "names", default="iter0,mpo", show_default=True, help="Arms, separated by commas.")
@click.option("--out", type=FILE, required=True, help="The picture to write, such as picture.svg.")
def picture(folder: Path, names: str, out: Path) -> None:
    """Draw the judge's score and real quality over training, from the runs of a comparison, as one SVG file."""
    from metapo.world.picture import write_picture

    click.echo(f"Picture: {write_picture(folder, [name.strip() for name in names.split(',')], out)}")


@world.command()
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FILE, required=True, help="The page to write, such as docs/evidence.md.")
def evidence(folders: tuple[Path, ...], out: Path) -> None:
    """Write a page on what the finished runs of comparisons showed: paired differences, intervals and checks."""
    from metapo.world.evidence import write_evidence

    click.echo(f"Evidence: {write_evidence(folders, out)}")


@world.command()
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for the lineage (store.db) and the best rubric (rubric.yaml)."
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed of essays, cases and judge; 0 made the shipped rubric.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds in all.")
def autoprompt(out: Path, seed: int, rounds: int) -> None:
    """Refine the vague rubric before any training, as metapo autoprompt does, for the arm of that name."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import asyncio

    from metapo.cli.offline import show, show_agreement
    from metapo.offline.autoprompt import AutopromptPlan
    from metapo.offline.search import annotator_rubric, search_autoprompt
    from metapo.world.autoprompt import first_rollouts, search_connections, search_settings

    settings = search_settings(annotator_rubric(), seed=seed)
    connections, rollouts = search_connections(settings), first_rollouts(seed=seed)
    found = asyncio.run(search_autoprompt(settings, connections, AutopromptPlan(rounds, seed=seed), (), rollouts, out))
    show(found)
    show_agreement(found)


@world.command("make-policy")
@click.option("--out", type=FILE, required=True, help="The safetensors file to write.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of corpus and training; 0 made the shipped weights."
)
@click.option("--weak", is_flag=True, help="Make the one that hardly writes a second reason or a counterargument.")
def make_policy(out: Path, seed: int, weak: bool) -> None:
    """Train a starting policy of the world anew (about two minutes on one core)."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metapo.world.policy import Start, train_policy

    loss = train_policy(out, seed=seed, start=Start.WEAK if weak else Start.USUAL)
    click.echo(f"Last loss {loss:.3f}; written to {out}")

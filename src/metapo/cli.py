"""The command line: the one place that reads flags, files and the environment. Commands import what they need."""

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.errors import DataError, MetapoError, RubricError, SettingsError

if TYPE_CHECKING:
    from metapo.rubric import Rubric
    from metapo.store import Store

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
SEED = click.IntRange(0, 2**32 - 1)  # what Settings.seed takes


class _Group(click.Group):
    """Shows our own errors as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetapoError as e:
            raise click.ClickException(str(e)) from e


@click.group(cls=_Group)
@click.version_option(package_name="metapo")
def main() -> None:
    """Train language models on an LLM judge whose rubric evolves (Meta Policy Optimization)."""


@main.command()
@click.argument("settings", type=FILE, required=False)
@click.option("--out", type=FOLDER, help="Folder for the new run; it must not hold one.")
@click.option("--resume", type=FOLDER, help="Go on with the run in this folder, with the settings it began with.")
def train(settings: Path | None, out: Path | None, resume: Path | None) -> None:
    """Train a policy as the YAML file SETTINGS says, or go on with a run that was interrupted."""
    if (settings is None) == (resume is None) or (settings is not None) != (out is not None):
        raise click.UsageError("give either SETTINGS and --out FOLDER, or --resume FOLDER alone")
    if resume is not None:
        _train(resume / "settings.yaml", resume, resume=True)
    elif settings is not None and out is not None:
        _train(settings, out, resume=False)


def _train(path: Path, folder: Path, *, resume: bool) -> None:
    from metapo.settings import TrainSettings

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("metapo").setLevel(logging.INFO)
    if resume and not path.exists():
        raise SettingsError(
            f"{folder} holds no run to resume: it has no settings.yaml. Start one with SETTINGS and --out."
        )
    if _task(path) == "world":
        from metapo.world.presets import WorldSettings

        _run_world(WorldSettings.load(path), folder, resume=resume)
        return
    settings = TrainSettings.load(path)
    from metapo.tasks.generic import load_prompts

    train_rows = load_prompts(settings.data, settings.data.train)
    eval_rows = load_prompts(settings.data, settings.data.eval) if settings.data.eval else []
    from metapo.engines.trl import train as train_with_trl

    train_with_trl(settings, folder, train_rows, eval_rows, resume=resume)
    click.echo(f"Done. The policy is in {folder / 'policy'}; its rubrics: metapo rubric log {folder}")


def _task(path: Path) -> str:
    """The `task` that a settings file names, before it is checked."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        return "generic"  # reading the file as settings will say what is wrong with it
    return str(data.get("task", "generic")) if isinstance(data, dict) else "generic"


def _run_world(settings: Any, folder: Path, *, resume: bool) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metapo.world.arms import run_arm

    result = run_arm(settings, folder, resume=resume)
    click.echo(json.dumps(result))


@main.command()
@click.option("--rubric", "source", required=True, help="A rubric file, a run folder, or RUN@REVISION.")
@click.option("--rollouts", type=FILE, required=True, help="JSON lines with prompt and completion (or response).")
@click.option("--judge", "url", required=True, help="URL of an OpenAI-compatible server, as http://localhost:8000/v1.")
@click.option("--model", default="default", show_default=True, help="The model's name on that server.")
@click.option("--api-key-env", help="Environment variable that holds the server's key.")
@click.option(
    "--task",
    "task_description",
    default="Write a good response to the prompt.",
    show_default=True,
    help="What the rollouts were asked to do, in a sentence.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for all tries of one request.",
)
@click.option("--out", type=FILE, required=True, help="JSON lines to write: each row with reward and verdicts.")
def score(
    source: str,
    rollouts: Path,
    url: str,
    model: str,
    api_key_env: str | None,
    task_description: str,
    deadline: float,
    out: Path,
) -> None:
    """Judge the rollouts in a file under a rubric. A rollout that could not be judged gets a reward of null."""
    from pydantic import ValidationError

    from metapo.files import write_whole
    from metapo.judge.endpoint import EndpointSettings
    from metapo.judge.openai import OpenAITransport
    from metapo.judge.transport import PING
    from metapo.rubric import Revision, describe
    from metapo.run import Scorer, summarize
    from metapo.settings import Settings

    try:
        endpoint = EndpointSettings(url=url, model=model, api_key_env=api_key_env, deadline_s=deadline)
        settings = Settings(rubric=load_rubric(source), judge=endpoint, task_description=task_description)
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e
    rows, batch = _read_rollouts(rollouts)
    revision = Revision(rubric=settings.rubric, reason="given", proposer="person", step=0)

    async def judge_all() -> Any:
        transport = OpenAITransport(endpoint)
        try:
            await transport.complete(PING)  # or a server that is not there costs every rollout its deadline
            return await Scorer(settings, transport, revision).score(batch)
        finally:
            await transport.aclose()

    scored = asyncio.run(judge_all())
    lines = [
        {
            **row,
            "reward": s.reward.value,
            "raw": s.reward.raw,
            "verdicts": [o.model_dump(mode="json") for o in s.assessment.outcomes],
        }
        for row, s in zip(rows, scored, strict=True)
    ]
    write_whole(out, "".join(json.dumps(line) + "\n" for line in lines))
    figures = summarize(scored)
    mean = f"mean reward {figures['reward']:.3f}" if "reward" in figures else "no reward"
    click.echo(f"{len(scored)} rollouts, {mean}, {figures['unscored']:.1%} unscored; written to {out}")
    if figures["unscored"] == 1:
        reasons = sorted({f"{u.reason.value}: {u.detail}" for s in scored for u in s.assessment.unscored})
        raise SettingsError(f"no rollout could be judged. {reasons[0]}")


def _read_rollouts(path: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    from metapo.rollout import Rollout
    from metapo.tasks.generic import read_jsonl

    rows = read_jsonl(path)
    batch = []
    for number, row in enumerate(rows, 1):
        completion = row.get("completion", row.get("response"))
        if not isinstance(row.get("prompt"), str) or not isinstance(completion, str):
            raise DataError(f"{path}, row {number}: expected texts 'prompt' and 'completion'; it has {', '.join(row)}")
        reference = None if row.get("reference") is None else str(row["reference"])
        batch.append(Rollout(prompt=row["prompt"], completion=completion, reference=reference, position=number))
    if not batch:
        raise DataError(f"{path} holds no rollouts")
    return rows, batch


@main.group()
def rubric() -> None:
    """Read rubrics and lineages. SOURCE is a .yaml or .json file, a text in the form that models write, a run
    folder (its newest revision), or RUN@REVISION with the first digits of an id."""


@rubric.command()
@click.argument("source")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "yaml"]),
    default="text",
    show_default=True,
    help="The judge's text form, or YAML.",
)
def show(source: str, form: str) -> None:
    """Print a rubric."""
    from metapo.rubric_text import render_rubric

    found = load_rubric(source)
    click.echo(render_rubric(found) if form == "text" else found.to_yaml().rstrip())
    scale = f"{found.min_points:g} to {found.max_points:g} points"
    click.echo(f"# {len(found.criteria)} criteria, {scale}, digest {found.digest[:10]}")


@rubric.command()
@click.argument("before")
@click.argument("after")
def diff(before: str, after: str) -> None:
    """Print what changed between two rubrics, criterion by criterion."""
    from metapo.rubric_diff import Change, diff_rubrics

    old, new = load_rubric(before), load_rubric(after)
    changed = [d for d in diff_rubrics(old, new) if d.changed]
    words = {Change.ADDED: "added", Change.REMOVED: "removed", Change.SAME: "changed"}
    for part in changed:
        click.echo(f"{part.criterion_id}: {words[part.change]}")
        for line in part.lines:
            click.secho(f"  {line.change.value} {line.text}", fg={"+": "green", "-": "red"}.get(line.change.value))
    if not changed:
        click.echo("no difference" if old == new else "the same criteria in another order")


@rubric.command()
@click.argument("source")
def lint(source: str) -> None:
    """Check a rubric: errors end with exit code 1, advice does not."""
    from metapo.rubric_lint import lint as findings_of

    findings = findings_of(load_rubric(source))
    for finding in findings:
        click.echo(f"advice: {finding}")
    click.echo(f"valid, {len(findings)} pieces of advice" if findings else "valid, nothing to advise")


@rubric.command()
@click.argument("run", type=FOLDER)
def log(run: Path) -> None:
    """Print a run's lineage and its meta steps, after checking that the hash chain holds."""
    store = _open_store(run)
    try:
        n_revisions = store.verify()
        for step, revision in store.lineage():
            criteria = revision.rubric.criteria
            click.echo(
                f"step {step:>5}  {revision.short_id}  {len(criteria):>2} criteria, {revision.rubric.min_points:g} to "
                f"{revision.rubric.max_points:g} points  {revision.proposer}: {revision.reason}"
            )
        for done in store.meta_steps():
            click.echo(f"meta step after {done.step}: {done.decision}. {done.reason}")
        click.echo(f"{n_revisions} revisions, the chain holds")
    finally:
        store.close()


def load_rubric(source: str) -> "Rubric":
    """A rubric from a file, a run folder or RUN@REVISION. Raises RubricError, StoreError."""
    from metapo.rubric import Rubric
    from metapo.rubric_text import parse_rubric

    path = Path(source)
    if path.suffix in (".txt", ".md"):
        if not path.is_file():
            raise RubricError(f"there is no file {path}")
        try:
            parsed = parse_rubric(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as e:
            raise RubricError(f"{path} is not UTF-8 text: {e.reason} at byte {e.start}") from e
        for problem in parsed.problems:
            click.echo(f"{path}, {problem}", err=True)
        if parsed.rubric is None:
            raise RubricError(f"{path} holds no criterion that can be read")
        return parsed.rubric
    if path.is_file() or path.suffix in (".yaml", ".yml", ".json"):
        return Rubric.load(path)
    folder, at, revision = source.rpartition("@")
    if not at or path.is_dir():
        folder, revision = source, ""
    store = _open_store(Path(folder))
    try:
        if revision:
            return store.find_revision(revision).rubric
        lineage = store.lineage()
        if not lineage:
            raise RubricError(f"the run in {path} has no revision yet: it stopped before its first step. Resume it.")
        return lineage[-1][1].rubric
    finally:
        store.close()


def _open_store(run: Path) -> "Store":
    from metapo.store import Store

    if not (run / "store.db").is_file():
        raise RubricError(f"{run} is neither a rubric file nor a run folder: there is no {run / 'store.db'}")
    return Store(run / "store.db")


@main.group()
def world() -> None:
    """The offline world: watch reward hacking happen and stop, without key, GPU or download."""


_steps = click.option(
    "--steps", type=click.IntRange(min=1), default=200, show_default=True, help="Optimizer steps per run."
)
_sway = click.option(
    "--sway",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="How often a remark to the grader sways a vague criterion.",
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
@_steps
@_processes
def demo(out: Path, seed: int, steps: int, processes: int) -> None:
    """Train one policy twice, under a fixed vague rubric and under one that evolves, and show what happened."""
    click.echo(
        "A tiny language model learns to write essays from the scores of a judge, twice:\n"
        "  iter0  the judge keeps one vague criterion, 'how good is the essay'\n"
        "  mpo    it starts the same, but every 10 steps a meta model reads what was written and sharpens the rubric\n"
        "'judge' is the score that trains the model; 'real quality' is what the essays are worth: no part of training\n"
        "sees it.\n"
    )
    _compare(["iter0", "mpo"], [seed], out, steps, 0.25, processes)


@world.command()
@click.option("--arms", default="iter0,expert,oracle,mpo", show_default=True, help="Arms, separated by commas.")
@click.option("--seeds", default="1,2,3,4,5", show_default=True, help="Seeds, separated by commas; paired across arms.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the runs, summary.json and the report.")
@_steps
@_sway
@_processes
def compare(arms: str, seeds: str, out: Path, steps: int, sway: float, processes: int) -> None:
    """Run arms under several seeds in parallel, resume what was begun, and write one table and a report."""
    try:
        numbers = [SEED(seed) for seed in seeds.split(",")]
    except click.BadParameter as e:
        raise click.BadParameter(
            f"expected whole numbers from 0 on, separated by commas; got {seeds!r}", param_hint="--seeds"
        ) from e
    _compare([arm.strip() for arm in arms.split(",")], list(dict.fromkeys(numbers)), out, steps, sway, processes)


def _compare(arms: Sequence[str], seeds: Sequence[int], out: Path, steps: int, sway: float, processes: int) -> None:
    from rich.console import Console

    from metapo.world.compare import compare as run_arms
    from metapo.world.compare import known_arms, table
    from metapo.world.report import write_report
    from metapo.world.watch import print_table, watching

    console = Console()
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
def run(arm: str, seed: int, out: Path, steps: int, sway: float) -> None:
    """Train one arm (iter0, expert, oracle or mpo) and print its figures as JSON."""
    from metapo.run import SETTINGS
    from metapo.world.compare import known_arms
    from metapo.world.presets import arm_settings

    settings = arm_settings(known_arms([arm])[0], seed=seed, steps=steps, sway=sway)
    _run_world(settings, out, resume=(out / SETTINGS).exists())


@world.command()
@click.argument("folder", type=FOLDER)
def report(folder: Path) -> None:
    """Write FOLDER/report.html again from the runs of a comparison."""
    from metapo.world.report import write_report

    click.echo(f"Report: {write_report(folder)}")


@world.command("make-policy")
@click.option("--out", type=FILE, required=True, help="The safetensors file to write.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of corpus and training; 0 made the shipped weights."
)
def make_policy(out: Path, seed: int) -> None:
    """Train the world's starting policy anew (about two minutes on one core)."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metapo.world.policy import train_policy

    loss = train_policy(out, seed=seed)
    click.echo(f"Last loss {loss:.3f}; written to {out}")

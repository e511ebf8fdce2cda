"""metapo autoprompt and metapo optimize"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, FOLDER, SEED, NumberRange, counted, load_rubric, read_rollouts
from metapo.cli.judging import changed, judge_options, judge_settings
from metapo.errors import SettingsError

if TYPE_CHECKING:
    from metapo.offline.cases import Case
    from metapo.offline.search import Searched
    from metapo.rollout import Rollout
    from metapo.settings import Settings

_OUT = click.option(
    "--out", type=FOLDER, required=True, help="Folder for the lineage (store.db) and the best rubric (rubric.yaml)."
)
_SHARED = [
    click.option("--meta", "meta_url", help="URL of the meta model's server (default: the judge's, and its model)."),
    click.option("--meta-model", help="The meta model's name on the server of --meta (default)."),
    click.option("--tokens", type=click.IntRange(min=1), help="End at the round that reaches so many tokens."),
    click.option(
        "--usd",
        type=NumberRange(0, min_open=True),
        help="End at the round that reaches so many US dollars; needs prices, from --settings.",
    ),
    click.option("--seed", type=SEED, help="What is drawn at random follows from it (default 0)."),
]


def _search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed([*_SHARED, _OUT]):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="RUBRIC")
@click.option("--rollouts", type=FILE, help="JSON lines with prompt and completion: real cases, and prompts for more.")
@click.option("--annotator", help="URL of the server whose model labels the cases; a stronger one than the judge.")
@click.option("--annotator-model", help="The annotator's name on that server (default).")
@click.option("--annotator-rubric", help="Rubric that the annotator grades under (default: quality, in five levels).")
@click.option("--labels", type=FILE, help="JSON lines with prompt, completion and label (0 to 1), in their place.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds in all.")
@click.option("--cases", type=click.IntRange(min=2), default=8, show_default=True, help="New cases in each round.")
@_search_options
@judge_options
def autoprompt(
    source: str,
    rollouts: Path | None,
    annotator: str | None,
    annotator_model: str | None,
    annotator_rubric: str | None,
    labels: Path | None,
    rounds: int,
    cases: int,
    out: Path,
    **flags: Any,
) -> None:
    """Refine a rubric before training, on cases near its boundaries whose labels are known. RUBRIC is a shipped
    one, such as essay/expert, a file, a run folder, or RUN@REVISION.

    The meta model writes cases for the prompts of --rollouts and an annotator labels them, or the cases are those of
    --labels. The meta model rewrites the rubric from the errors on one half; the other half chooses. The same command
    goes on with a search that was interrupted, and further with more --rounds.
    """
    from metapo.engines.connect import connect
    from metapo.offline.autoprompt import AutopromptPlan
    from metapo.offline.cases import load_labels
    from metapo.offline.search import search_autoprompt

    settings = _settings(source, flags)
    known: list[Case] = []
    given: list[Rollout] = []
    if labels is not None:
        if rollouts or annotator or annotator_model or annotator_rubric:
            raise SettingsError("give either --labels, or --rollouts with --annotator")
        known, settings = load_labels(labels), settings.model_copy(update={"monitor": None})
    else:
        if rollouts is None:
            raise SettingsError("give cases: --labels with a file, or --rollouts with a file and --annotator")
        given = read_rollouts(rollouts)[1]
        settings = _with_annotator(settings, annotator, annotator_model, annotator_rubric)
    plan = AutopromptPlan(rounds, cases, settings.budget, settings.max_unscored, settings.seed)
    found = asyncio.run(search_autoprompt(settings, connect(settings), plan, known, given, out))
    show(found)
    show_agreement(found)


@click.command()
@click.argument("source", metavar="RUBRIC")
@click.option(
    "--pairs", type=FILE, required=True, help="JSON lines with prompt, better and worse, or labelled completions."
)
@click.option("--rounds", type=click.IntRange(min=1), default=20, show_default=True, help="Proposals in all.")
@click.option("--minibatch", type=click.IntRange(min=1), default=3, show_default=True, help="Pairs read in each round.")
@_search_options
@judge_options
def optimize(source: str, pairs: Path, rounds: int, minibatch: int, out: Path, **flags: Any) -> None:
    """Evolve a rubric before training with GEPA, on pairs whose order is known. RUBRIC is a shipped one, such as
    essay/expert, a file, a run folder, or RUN@REVISION.

    The meta model rewrites a rubric from pairs that it orders wrongly; about half of the pairs, of prompts of their
    own, choose. Needs the extra 'optimize'.
    """
    from metapo.anchors import load_anchors
    from metapo.engines.connect import connect
    from metapo.offline.optimize import OptimizerPlan
    from metapo.offline.search import search_optimize

    settings = _settings(source, flags).model_copy(update={"monitor": None})
    known = load_anchors(pairs, why="labelled")
    plan = OptimizerPlan(rounds, minibatch, settings.budget, settings.max_unscored, settings.seed)
    found = search_optimize(settings, connect(settings), plan, known, out)
    if found.n_left_out:
        click.echo(f"{found.n_left_out} pairs left out: no verdicts on them", err=True)
    show(found)
    click.echo(f"{found.before:.1%} of {found.n_held_out} held-out pairs in the right order, now {found.after:.1%}")


def show(found: "Searched") -> None:
    """The best rubric, where it is, and what the search did."""
    from metapo.rubric_text import render_rubric

    click.echo(render_rubric(found.rubric))
    click.echo(f"Written to {found.path}; {found.why}")
    click.echo(f"{counted(found.n_rounds, 'round')}, {counted(found.n_changes, 'change')}, {found.spent}")


def show_agreement(found: "Searched") -> None:
    """How scores go with the labels that chose."""
    if found.before is not None and found.after is not None:
        labels = f"the labels of {found.n_held_out} held-out cases"
        click.echo(f"Scores agree to {found.before:.1%} with {labels}, now to {found.after:.1%}")


def _settings(source: str, flags: dict[str, Any]) -> "Settings":
    """What the options say, in a file or alone. Reasons for verdicts are asked for where the meta model reads them,
    unless an option says otherwise. Raises SettingsError."""
    own = {name: flags.pop(name) for name in ("meta_url", "meta_model", "tokens", "usd", "seed")}
    reasons = flags["file"] is None and flags["rationales"] is None
    settings = judge_settings(source, flags)
    changes: dict[str, Any] = {}
    if reasons:
        changes["judging"] = {**settings.judging.model_dump(), "rationales": "for_meta"}
    if own["meta_url"] is not None:
        meta = {"url": own["meta_url"], "model": own["meta_model"] or "default"}
        changes["meta"] = {**settings.meta.model_dump(), "endpoint": meta}
    elif own["meta_model"] is not None:
        raise SettingsError("--meta-model names a model on the server of --meta: give that as well")
    budget = {name: own[name] for name in ("tokens", "usd") if own[name] is not None}
    changes["budget"] = {**settings.budget.model_dump(), **budget}
    if own["seed"] is not None:
        changes["seed"] = own["seed"]
    return changed(settings, changes)


def _with_annotator(settings: "Settings", url: str | None, model: str | None, rubric: str | None) -> "Settings":
    """The annotator watches as a monitor does: it is asked about every case, and its score is the label. One from the
    settings' file keeps its rubric. Raises SettingsError."""
    from metapo.offline.search import annotator_rubric

    if url is None and settings.monitor is None:
        raise SettingsError("give an annotator: --annotator with a URL, or --settings with a file that has a monitor")
    if url is None and model is not None:
        raise SettingsError("--annotator-model names a model on the server of --annotator: give that as well")
    kept = settings.monitor if url is None else None
    judge = kept.judge.model_dump() if kept else {"url": url, "model": model or "default"}
    known = load_rubric(rubric) if rubric else (kept.rubric if kept and kept.rubric else annotator_rubric())
    return changed(settings, {"monitor": {"judge": judge, "rubric": known.model_dump(), "share": 1.0}})

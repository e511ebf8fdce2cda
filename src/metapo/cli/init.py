"""metapo init"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, FOLDER
from metapo.errors import RunExists, SettingsError

if TYPE_CHECKING:
    from metapo.preflight.begin import Answers

TASKS = ("generic", "essay", "ethics", "math", "summarization", "dialogue")
ENGINES = ("grpo", "rloo", "ppo", "server")
DEFAULT_URL = "http://localhost:8000/v1"


@click.command()
@click.argument("file", type=FILE, default="settings.yaml")
@click.option("--task", type=click.Choice(TASKS), help="What the policy writes; generic is any other task.")
@click.option("--describe", help="What the policy is asked to do, in a sentence or two (task generic).")
@click.option("--data", help="Prompts: a .jsonl or .parquet file, a dataset folder or a hub id.")
@click.option("--eval", "evaluated", help="Prompts to evaluate on, if there are any.")
@click.option("--judge", help="URL of an OpenAI-compatible server, up to /chat/completions.")
@click.option("--judge-model", help="The judge's name on that server.")
@click.option("--api-key-env", help="Environment variable that holds the server's key, if it wants one.")
@click.option("--policy", help="The model to train: a folder or hub id.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="Algorithm of metapo train, or server: rewards for verl, OpenRLHF, slime or any other engine.",
)
@click.option(
    "--out", type=FOLDER, help="Folder of the run, for the commands that the file names (default: runs/TASK)."
)
def init(
    file: Path,
    task: str | None,
    describe: str | None,
    data: str | None,
    evaluated: str | None,
    judge: str | None,
    judge_model: str | None,
    api_key_env: str | None,
    policy: str | None,
    engine: str | None,
    out: Path | None,
) -> None:
    """Write a settings file with comments to FILE (default: settings.yaml), from the options given; on a terminal the
    others are asked for. An existing file is left alone."""
    given = {
        "task": task,
        "description": describe,
        "data": data,
        "evaluated": evaluated,
        "judge_url": judge,
        "judge_model": judge_model,
        "api_key_env": api_key_env,
        "policy": policy,
        "engine": engine,
    }
    if file.exists():
        raise RunExists(f"{file} is there already and stays as it is. Give another name, or remove it first.")
    answers = _asked(given) if sys.stdin.isatty() else _answers(given)
    if answers.lacks:
        raise click.UsageError(
            f"nobody can be asked here, as the input is no terminal: give {', '.join(answers.lacks)}"
        )
    out = out or Path("runs") / answers.task
    _write(answers, file, out)
    click.echo(f"wrote {file}. Next: metapo doctor {file} --out {out}")


def _asked(given: dict[str, str | None]) -> "Answers":
    """What wasn't given is asked for."""
    engine = given["engine"] or _choose("Which algorithm trains, or is it a server for another engine?", ENGINES)
    task = given["task"] or _choose("What does the policy write?", TASKS)
    answers = {**given, "engine": engine, "task": task}

    def ask(name: str, text: str, default: str | None = None) -> None:
        if answers[name] is None:
            answers[name] = click.prompt(text, default=default, show_default=bool(default))

    if task == "generic":
        ask("description", "What is it asked to do, in a sentence or two?", "Write a good response to the prompt.")
    ask("judge_url", "Where does the judge answer (OpenAI-compatible URL)?", DEFAULT_URL)
    ask("judge_model", "What is its model called there?")
    ask("api_key_env", "Which environment variable holds its key (empty: it wants none)?", "")
    if engine != "server" or task != "generic":
        ask("data", "Where are the prompts (.jsonl, .parquet, folder, hub id)?", "prompts.jsonl")
        ask("evaluated", "Where are those to evaluate on (empty: nowhere)?", "")
        ask("policy", "Which model is trained (folder or hub id)?")
    return _answers(answers)


def _choose(text: str, among: tuple[str, ...]) -> str:
    chosen: str = click.prompt(text, type=click.Choice(among), default=among[0])
    return chosen


def _answers(given: dict[str, str | None]) -> "Answers":
    """Raises SettingsError for a URL that is none."""
    from metapo.preflight.begin import Answers, check_endpoint

    chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
    if "judge_url" in chosen:
        chosen["judge_url"] = check_endpoint(chosen["judge_url"])
    return Answers(**{"task": "generic", "judge_url": "", "judge_model": "", **chosen})


def _write(answers: "Answers", file: Path, out: Path) -> None:
    """Checked first: what is written loads. Raises SettingsError, RunError."""
    from metapo.files import write_whole
    from metapo.meta.settings import under
    from metapo.preflight.begin import written
    from metapo.settings import WHOLE, Settings, TrainSettings
    from metapo.tasks.loading import find_task

    text = written(answers, file, out)
    base = under(find_task(answers.task).settings, {}, WHOLE)
    try:
        if answers.trains:
            TrainSettings.from_yaml(text, folder=file.parent, source=str(file), base=base)
        else:
            ignored = TrainSettings.model_fields.keys() - Settings.model_fields.keys()
            Settings.from_yaml(text, folder=file.parent, source=str(file), ignore=ignored)
    except SettingsError as e:
        raise SettingsError(f"nothing is written, as the answers make no settings:\n{e}") from e
    write_whole(file, text)

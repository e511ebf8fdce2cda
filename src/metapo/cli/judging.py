"""The options by which commands find a judge, and the settings made from them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, load_rubric
from metapo.errors import SettingsError

if TYPE_CHECKING:
    from metapo.settings import Settings

TASK = "Write a good response to the prompt."

_OPTIONS = [
    click.option(
        "--judge",
        "urls",
        multiple=True,
        help="URL of an OpenAI-compatible server, as http://localhost:8000/v1. Given several times: a panel.",
    ),
    click.option(
        "--model", "models", multiple=True, help="The model's name on that server (default); one for each --judge."
    ),
    click.option("--local", help="A model folder or hub id to judge in this process, in place of a server."),
    click.option("--api-key-env", help="Environment variable that holds the servers' key."),
    click.option(
        "--task", "task_description", help=f"What the rollouts were asked to do, in a sentence (default: {TASK})"
    ),
    click.option(
        "--mode",
        type=click.Choice(["joint", "split", "expected"]),
        help="One request for all criteria (joint, the default), one for each, or the mean over levels.",
    ),
    click.option("--rationales/--no-rationales", default=None, help="Ask for a reason with each verdict; dearer."),
    click.option("--max-in-flight", type=click.IntRange(min=1), help="Requests at once, per server (default 32)."),
    click.option(
        "--deadline", type=click.FloatRange(0, min_open=True), help="Seconds for all tries of a request (default 120)."
    ),
    click.option(
        "--settings",
        "file",
        type=FILE,
        help="A settings file as for training: its judge, panel, monitor, judging and budget are used.",
    ),
]


def judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as keyword arguments for `judge_settings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def judge_settings(source: str | None, flags: dict[str, Any]) -> "Settings":
    """Settings from a file or from flags; `source` names the rubric, if not the file's. Raises SettingsError."""
    from pydantic import ValidationError

    from metapo.rubric import describe
    from metapo.settings import Settings, TrainSettings

    path: Path | None = flags.pop("file")
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if path is not None:
        if given:
            named = ", ".join(f"--{_option(name)}" for name in given)
            raise SettingsError(f"--settings says everything about the judge: leave out {named}")
        settings = Settings.load(path, ignore=TrainSettings.model_fields.keys() - Settings.model_fields.keys())
        rubric = load_rubric(source) if source else settings.rubric
        return settings.model_copy(update={"rubric": rubric, "dropout": 0.0})  # all criteria count outside of training
    if source is None:
        raise SettingsError("give a rubric: --rubric with a file or a run, or --settings with a file that names one")
    try:
        return Settings.model_validate({"rubric": load_rubric(source), **_fields(flags)})
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e


def _fields(flags: dict[str, Any]) -> dict[str, Any]:
    judges = _endpoints(flags)
    rationales = {None: "never", True: "always", False: "never"}[flags["rationales"]]
    return {
        "judge": judges[0],
        "panel": {"judges": judges[1:]} if judges[1:] else None,
        "judging": {"mode": flags["mode"] or "joint", "rationales": rationales},
        "task_description": TASK if flags["task_description"] is None else flags["task_description"],
    }


def _endpoints(flags: dict[str, Any]) -> list[dict[str, Any]]:
    urls, models = flags["urls"], flags["models"] or ("default",)
    if flags["local"] is not None:
        if urls:
            raise SettingsError("give either --judge with a URL or --local with a model, not both")
        return [{"local": flags["local"]}]
    if not urls:
        raise SettingsError("give a judge: --judge with a URL, --local with a model, or --settings with a file")
    if len(models) not in (1, len(urls)):
        raise SettingsError(f"{len(urls)} times --judge, but {len(models)} times --model: give one, or one for each")
    limits = {"max_in_flight": flags["max_in_flight"], "deadline_s": flags["deadline"]}
    common = {"api_key_env": flags["api_key_env"], **{k: v for k, v in limits.items() if v is not None}}
    named = models if len(models) == len(urls) else models * len(urls)
    return [{"url": url, "model": model, **common} for url, model in zip(urls, named, strict=True)]


def _option(name: str) -> str:
    return {"urls": "judge", "models": "model", "task_description": "task"}.get(name, name.replace("_", "-"))

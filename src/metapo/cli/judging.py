"""The options by which commands find a judge, and the settings made from them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from metapo.cli.common import FILE, NumberRange, load_rubric, scoring_settings, task_of
from metapo.errors import SettingsError

if TYPE_CHECKING:
    from metapo.judge.budget import Budget
    from metapo.judge.endpoint import Endpoint
    from metapo.settings import Settings

TASK = "Write a good response to the prompt."

_LOCAL = click.option("--local", help="A model folder or hub id to judge in this process, in place of a server.")
_API_KEY = click.option("--api-key-env", help="Environment variable that holds the servers' key.")
_IN_FLIGHT = click.option(
    "--max-in-flight", type=click.IntRange(min=1), help="Requests at once, per server (default 32)."
)
_DEADLINE = click.option(
    "--deadline", type=NumberRange(0, min_open=True), help="Seconds for all tries of a request (default 120)."
)
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
    _LOCAL,
    _API_KEY,
    click.option(
        "--task", "task_description", help=f"What the rollouts were asked to do, in a sentence (default: {TASK})"
    ),
    click.option(
        "--mode",
        type=click.Choice(["joint", "split", "expected"]),
        help="One request for all criteria (joint, the default), one for each, or the mean over levels.",
    ),
    click.option("--rationales/--no-rationales", default=None, help="Ask for a reason with each verdict; dearer."),
    _IN_FLIGHT,
    _DEADLINE,
    click.option(
        "--settings",
        "file",
        type=FILE,
        help="A settings file as for training: its task, judge, panel, monitor, judging and budget are used.",
    ),
]
_ONE_JUDGE = [
    click.option("--judge", "url", help="URL of an OpenAI-compatible server, as http://localhost:8000/v1."),
    click.option("--model", help="The model's name on that server (default)."),
    _LOCAL,
    _API_KEY,
    click.option(
        "--task", "task_description", help=f"What the models were asked to do, in a sentence (default: {TASK})"
    ),
    _IN_FLIGHT,
    _DEADLINE,
    click.option(
        "--settings",
        "file",
        type=FILE,
        help="A settings file as for training: its judge, task_description, judge_notes and budget are used, and what "
        "its task says of these.",
    ),
]
_WHO = ("urls", "models", "local", "api_key_env", "max_in_flight", "deadline")
_REASONS = {True: "always", False: "never"}


class OneJudge(NamedTuple):
    """A judge that is asked without a rubric: where (None where no option says so), about what task, within which
    budget."""

    endpoint: "Endpoint | None"
    task: str
    budget: "Budget"


def judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as keyword arguments for `judge_settings`."""
    return _with(_OPTIONS, command)


def one_judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as keyword arguments for `one_judge`."""
    return _with(_ONE_JUDGE, command)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def given(flags: Mapping[str, Any]) -> list[str]:
    """Which of the options about the judge were given."""
    return [name for name, value in flags.items() if value not in (None, ())]


def names_judge(flags: Mapping[str, Any]) -> bool:
    """Was any of the options given that say who judges?"""
    return bool(given({name: flags[name] for name in ("file", *_WHO)}))


def judge_settings(source: str | None, flags: dict[str, Any]) -> "Settings":
    """Settings from a file or from flags; `source` names the rubric, if not the file's. Raises SettingsError."""
    from pydantic import ValidationError

    from metapo.rubric import describe
    from metapo.settings import Settings

    path: Path | None = flags.pop("file")
    if path is not None:
        settings = _load(path, flags)
        rubric = load_rubric(source) if source else settings.rubric
        return settings.model_copy(update={"rubric": rubric, "dropout": 0.0})  # all criteria count outside of training
    if source is None:
        raise SettingsError("give a rubric: --rubric with a file or a run, or --settings with a file that names one")
    try:
        return Settings.model_validate({"rubric": load_rubric(source), **_fields(flags)})
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e


def rejudged(settings: "Settings", flags: dict[str, Any]) -> "Settings":
    """Settings in which the flags replace what they name and nothing else: another judge stands for judge and panel,
    and no budget in money is left, as its price isn't known. A file replaces all. Raises SettingsError."""
    if flags["file"] is not None:
        return judge_settings(None, flags)
    changes: dict[str, Any] = {}
    if names_judge(flags):
        changes = {**_judges(flags), "budget": settings.budget.model_copy(update={"usd": None}).model_dump()}
    asked = {} if flags["mode"] is None else {"mode": flags["mode"]}
    if flags["rationales"] is not None:
        asked["rationales"] = _REASONS[flags["rationales"]]
    if flags["task_description"] is not None:
        changes["task_description"] = flags["task_description"]
    return changed(settings, {**changes, "judging": {**settings.judging.model_dump(), **asked}})


def changed(settings: "Settings", changes: Mapping[str, Any]) -> "Settings":
    """What the settings say about scoring, with other values in some fields. Raises SettingsError."""
    from pydantic import ValidationError

    from metapo.rubric import describe
    from metapo.settings import Settings

    try:
        return Settings.model_validate({**settings.model_dump(include=set(Settings.model_fields)), **changes})
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e


def one_judge(flags: dict[str, Any]) -> OneJudge:
    """A judge from a settings file or from flags. Raises SettingsError."""
    from pydantic import TypeAdapter, ValidationError

    from metapo.judge.budget import Budget
    from metapo.judge.endpoint import Endpoint
    from metapo.rubric import describe

    path: Path | None = flags.pop("file")
    if path is not None:
        settings = _load(path, flags)
        return OneJudge(settings.judge, settings.judge_task, settings.budget)
    task = TASK if flags["task_description"] is None else flags["task_description"]
    if not task.strip():
        raise SettingsError("--task is empty: say in a sentence what the models were asked to do, or leave it out")
    if flags["url"] is None and flags["local"] is None:
        return OneJudge(None, task, Budget())
    several = {"urls": flags["url"], "models": flags["model"]}
    flags = flags | {name: () if value is None else (value,) for name, value in several.items()}
    try:
        endpoint: Endpoint = TypeAdapter(Endpoint).validate_python(_endpoints(flags)[0])
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e
    return OneJudge(endpoint, task, Budget())


def _load(path: Path, flags: dict[str, Any]) -> "Settings":
    """The settings in a file, over those of its task, which has to be the only option about the judge. Raises
    SettingsError."""
    from metapo.tasks.loading import find_task

    if names := given(flags):
        named = ", ".join(f"--{_option(name)}" for name in names)
        raise SettingsError(f"--settings says everything about the judge: leave out {named}")
    name = task_of(path)
    return scoring_settings(path, {} if name == "world" else find_task(name).settings)


def _fields(flags: dict[str, Any]) -> dict[str, Any]:
    return {
        **_judges(flags),
        "judging": {"mode": flags["mode"] or "joint", "rationales": _REASONS[bool(flags["rationales"])]},
        "task_description": TASK if flags["task_description"] is None else flags["task_description"],
    }


def _judges(flags: dict[str, Any]) -> dict[str, Any]:
    first, *others = _endpoints(flags)
    return {"judge": first, "panel": {"judges": others} if others else None}


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
    return {"urls": "judge", "url": "judge", "models": "model", "task_description": "task"}.get(
        name, name.replace("_", "-")
    )

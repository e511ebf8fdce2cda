"""What several commands share: kinds of arguments, and how rubrics, stores and rollouts are found."""

import math
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from metapo.errors import DataError, RubricError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metapo.rollout import Rollout
    from metapo.rubric import Rubric
    from metapo.settings import Settings, TrainSettings
    from metapo.store import Store

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
SEED = click.IntRange(0, 2**32 - 1)  # what Settings.seed takes


class Preset(click.ParamType[str]):
    """The name of a preset, which a shell completes."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from metapo.shipped import shipped_presets

        return [CompletionItem(name) for name in shipped_presets() if name.startswith(incomplete)]


class RubricSource(click.ParamType[str]):
    """A rubric, wherever it is: a shell completes shipped ones, then files."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from metapo.shipped import shipped_rubrics

        shipped = [CompletionItem(name) for name in shipped_rubrics() if name.startswith(incomplete)]
        return shipped or [CompletionItem(incomplete, type="file")]


PRESET = Preset()
RUBRIC = RubricSource()


class Place(click.ParamType[Path | str]):
    """A run: its folder, or the URL of the database that holds its store."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        return value if isinstance(value, str) and "://" in value else Path(FOLDER.convert(value, param, ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


PLACE = Place()


class NumberRange(click.FloatRange):
    """A float within bounds, and no NaN: that lies outside of none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


def counted(n: int, one: str, many: str = "") -> str:
    """1 revision, 2 revisions"""
    return f"{n} {one if n == 1 else many or one + 's'}"


def load_rubric(source: str, *, strict: bool = False) -> "Rubric":
    """A shipped rubric, such as essay/expert, or one from a file, a run or RUN@REVISION. What can't be read of a
    text is told, or refused where `strict`. Raises RubricError, StoreError."""
    from metapo.rubric import Rubric
    from metapo.rubric_text import parse_rubric
    from metapo.shipped import shipped_rubric, shipped_rubrics

    if shipped := shipped_rubric(source):
        return shipped
    if "://" in source:
        url, revision = _split_url(source)
        return _rubric_of(open_store(url), revision)
    path = Path(source)
    if path.suffix in (".txt", ".md"):
        if not path.is_file():
            raise RubricError(f"there is no file {path}")
        try:
            parsed = parse_rubric(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as e:
            raise RubricError(f"{path} is not UTF-8 text: {e.reason} at byte {e.start}") from e
        if strict and parsed.problems:
            raise RubricError("\n".join(f"{path}, {problem}" for problem in parsed.problems))
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
    try:
        store = open_store(Path(folder))
    except RubricError as e:
        raise RubricError(f"{e}. Shipped rubrics are {', '.join(shipped_rubrics())}") from e
    return _rubric_of(store, revision)


def _rubric_of(run: "Store", revision: str) -> "Rubric":
    """The rubric of a revision, of the newest where none is named. Closes the store. Raises RubricError, StoreError."""
    with closing(run) as store:
        if revision:
            return store.find_revision(revision).rubric
        lineage = store.lineage()
        if not lineage:
            raise RubricError(
                f"the run in {run_name(store)} has no revision yet: it stopped before its first step. Resume it."
            )
        return lineage[-1][1].rubric


def _split_url(source: str) -> tuple[str, str]:
    """A store's URL, in which an @ may stand too, and the revision behind it, if any."""
    url, at, revision = source.rpartition("@")
    return (url, revision) if at and "/" not in revision else (source, "")


def open_store(run: Path | str) -> "Store":
    """The store in a run folder, or at a URL. Raises RubricError, StoreError."""
    from metapo.store import Store

    if isinstance(run, str):
        return Store(run)
    if not (run / "store.db").is_file():
        inside = sorted(path.parent for path in run.glob("*/store.db"))
        hint = (
            f". It holds runs, such as {inside[0]}" if inside else ". Give the folder that a run was begun with (--out)"
        )
        if (run / "settings.yaml").is_file():
            hint = ". Where the run was served with --store, give that URL in place of the folder"
        raise RubricError(f"{run} is neither a rubric file nor a run folder: there is no {run / 'store.db'}{hint}")
    return Store(run / "store.db")


def run_name(store: "Store") -> str:
    """What a run is called: its folder, or its store's URL without the password."""
    return store.name if store.path is None else str(store.path.parent)


def read_rollouts(path: Path) -> "tuple[list[dict[str, Any]], list[Rollout]]":
    """The rows of a file and the rollout in each, whose position is the row's number, from 1. Raises DataError."""
    from metapo.rollout import rollout_of
    from metapo.tasks.reading import read_jsonl

    rows = read_jsonl(path)
    batch = []
    for number, row in enumerate(rows, 1):
        try:
            batch.append(rollout_of(row, number))
        except DataError as e:
            raise DataError(f"{path}, row {number}: {e}") from e
    if not batch:
        raise DataError(f"{path} holds no rollouts")
    return rows, batch


def task_of(path: Path | None, preset: "Mapping[str, Any] | None" = None) -> str:
    """The `task` that a settings file or else its preset names, before the file is checked; an own .py file as an
    absolute path."""
    named = _unchecked(path).get("task")
    if path is not None and isinstance(named, str) and named.endswith(".py"):
        return str((path.parent / named).absolute())
    return str(named or (preset or {}).get("task", "generic"))


def is_for_training(path: Path) -> bool:
    """Does a settings file say what is trained? One that can't be read counts as one that does."""
    read = _unchecked(path)
    return not read or read.keys() & {"data", "policy", "engine"} != set() or task_of(path) != "generic"


def _unchecked(path: Path | None) -> "dict[str, Any]":
    """What a settings file holds, before it is checked; nothing where it can't be read."""
    import yaml

    data: Any = {}
    # reading the file as settings will say what is wrong with it
    with suppress(OSError, yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        data = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
    return data if isinstance(data, dict) else {}


def scoring_settings(path: Path, base: "Mapping[str, Any] | None" = None) -> "Settings":
    """What a settings file of training says about scoring, over what `base` says. Raises SettingsError."""
    from metapo.settings import Settings, TrainSettings

    own = Settings.model_fields.keys()
    scoring = {name: value for name, value in (base or {}).items() if name in own}
    return Settings.load(path, base=scoring, ignore=TrainSettings.model_fields.keys() - own)


def served_settings(store: "Store") -> "Settings":
    """What the run of a store without a folder says about scoring. Raises SettingsError."""
    import json

    from pydantic import ValidationError

    from metapo.rubric import describe
    from metapo.settings import Settings

    known = store.served()
    if known is None:
        raise SettingsError(f"{store.name} holds no run that was served, so its settings aren't known")
    told = {name: value for name, value in json.loads(known).items() if name in Settings.model_fields}
    try:
        return Settings.model_validate(told)
    except ValidationError as e:
        raise SettingsError(f"the settings in {store.name} are wrong in these fields:\n{describe(e)}") from e


def train_settings(path: Path | None, preset: "Mapping[str, Any] | None" = None) -> "TrainSettings":
    """The settings of a training run: the file's over the preset's over the task's own; or those of a run in the
    offline world. Raises SettingsError."""
    from metapo.meta.settings import under
    from metapo.settings import WHOLE, TrainSettings
    from metapo.tasks.loading import find_task

    name = task_of(path, preset)
    if name == "world" and path is not None:
        from metapo.world.presets import WorldSettings

        return WorldSettings.load(path)
    base = under(find_task(name).settings, preset or {}, WHOLE)
    return TrainSettings.load(path, base=base) if path else TrainSettings.from_yaml("{}", base=base)

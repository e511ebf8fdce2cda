"""The run folders of a comparison, read back: finished runs by arm, and those that are unfinished."""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from metapo.charts import Series
from metapo.errors import RunError
from metapo.files import read_rows
from metapo.rubric import Revision, Rubric
from metapo.run import METRICS, SETTINGS, STORE
from metapo.store import Store
from metapo.world.presets import ARMS, RESULT, WorldSettings

_FOLDER = re.compile(r"(?P<arm>.+)-(?P<seed>\d+)")


@dataclass(frozen=True)
class ArmRun:
    """A finished run: its settings (as text, too), its figures, and the rows of its training and meta steps, and of the
    trainer."""

    folder: Path
    settings: WorldSettings
    settings_text: str
    result: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    meta_steps: tuple[dict[str, Any], ...]
    trainer: tuple[dict[str, Any], ...] = ()

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def rewrites(self) -> list[int]:
        """The training steps that were the first under a new revision."""
        return [b["step"] for a, b in pairwise(self.steps) if a["revision"] != b["revision"]]

    def series(self, measure: str) -> Series:
        """A measure over the training steps, without those that lack it."""
        return [(row["step"], row[measure]) for row in self.steps if row.get(measure) is not None]


@dataclass(frozen=True)
class Unfinished:
    """A run without figures yet; `steps` training steps are done."""

    arm: str
    seed: int
    steps: int


@dataclass(frozen=True)
class Arm:
    """The finished runs of one arm by seed. The first one stands for the arm where a single run is shown."""

    name: str
    runs: tuple[ArmRun, ...]
    lineage: tuple[tuple[int, Revision], ...]

    @property
    def first(self) -> ArmRun:
        return self.runs[0]

    @property
    def evolves(self) -> bool:
        return self.first.settings.meta.every > 0

    @property
    def n_steps(self) -> int:
        return max(run.settings.engine.steps for run in self.runs)

    def figure(self, name: str) -> "Figure":
        return Figure.of([run.result[name] for run in self.runs])


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and its spread, the sample standard deviation; both None where there is nothing to average."""

    mean: float | None
    spread: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Figure":
        known = [v for v in values if v is not None]
        return cls(fmean(known) if known else None, stdev(known) if len(known) > 1 else None)

    @property
    def text(self) -> str:
        return "not measured" if self.mean is None else f"{self.mean:.2f}"


def read_runs(out: Path) -> tuple[list[ArmRun], list[Unfinished]]:
    """Every run folder in `out`: the finished runs, and those that are not; both by arm and seed."""
    runs, unfinished = [], []
    for folder in sorted(out.iterdir()) if out.is_dir() else []:
        name = _FOLDER.fullmatch(folder.name)
        if name is None or not folder.is_dir():
            continue
        if (folder / RESULT).exists():
            runs.append(_read_run(folder))
        else:
            n_steps = sum(row["kind"] == "train" for row in read_rows(folder / METRICS))
            unfinished.append(Unfinished(name["arm"], int(name["seed"]), n_steps))
    return sorted(runs, key=lambda r: (r.settings.arm, r.seed)), sorted(unfinished, key=lambda u: (u.arm, u.seed))


def _read_run(folder: Path) -> ArmRun:
    text = (folder / SETTINGS).read_text(encoding="utf-8")
    rows = list(read_rows(folder / METRICS))
    return ArmRun(
        folder=folder,
        settings=WorldSettings.from_yaml(text, source=str(folder / SETTINGS)),
        settings_text=text,
        result=json.loads((folder / RESULT).read_text(encoding="utf-8")),
        steps=tuple(row for row in rows if row["kind"] == "train"),
        meta_steps=tuple(row for row in rows if row["kind"] == "meta"),
        trainer=tuple(row for row in rows if row["kind"] == "trainer"),
    )


def rubric_of(folder: Path, share: float = 1.0) -> Rubric:
    """The rubric in force after the share `share` (0 to 1) of a run's steps, one that scored a step. Raises RunError
    where the folder holds no run that has begun."""
    if not (folder / STORE).exists():
        raise RunError(f"{folder} holds no run whose rubric could be taken: it has no {STORE}")
    n_steps = WorldSettings.load(folder / SETTINGS).engine.steps
    with closing(Store(folder / STORE)) as store:
        in_force = [revision for step, revision in store.lineage() if step <= share * n_steps and step < n_steps]
    if not in_force:
        raise RunError(f"the run in {folder} has not begun, so there is no rubric to take")
    return in_force[-1].rubric


def group_arms(runs: Sequence[ArmRun]) -> list[Arm]:
    """Runs by arm: the known arms in the world's order, then others as they come."""
    names = dict.fromkeys(run.settings.arm for run in runs)
    ordered = [name for name in ARMS if name in names] + [name for name in names if name not in ARMS]
    arms = []
    for name in ordered:
        mine = tuple(run for run in runs if run.settings.arm == name)
        with closing(Store(mine[0].folder / STORE)) as store:
            arms.append(Arm(name, mine, tuple(store.lineage())))
    return arms

"""A run's metrics in TensorBoard, Weights & Biases or trackio, read from what the run wrote.

TRL's trainers report by themselves (see docs/tracking.md); this is for runs of other engines, and for afterwards.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from metapo.errors import MissingExtra, RunError
from metapo.files import read_rows
from metapo.reported import reported
from metapo.run import METRICS, POLICY, STORE
from metapo.store import Store

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Where figures go."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def rows_of(run: Path | str) -> list[Row]:
    """The rows of a run's metrics that count, oldest first: of a run folder, or of a served run at the URL of its
    store. Raises RunError, StoreError."""
    if isinstance(run, Path) and (run / METRICS).exists():
        return list(read_rows(run / METRICS))
    if isinstance(run, Path) and not (run / STORE).is_file():
        raise RunError(f"{run} is no run folder: there is neither {run / METRICS} nor {run / STORE}. Give one that is.")
    with closing(Store(run / STORE if isinstance(run, Path) else run)) as store:
        return [row for _, row in store.metrics()]


def send(rows: list[Row], tracker: Tracker, sent: set[str]) -> int:
    """Log the rows that were not `sent`, which is added to; returns how many there were."""
    n = 0
    for row in rows:
        key = json.dumps(row, sort_keys=True)
        if key not in sent:
            sent.add(key)
            tracker.log(row["step"], reported(row))
            n += 1
    return n


def follow(run: Path, tracker: Tracker, every_s: float, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Log rows as the run writes them, until it has its policy; returns how many there were."""
    sent: set[str] = set()
    n = 0
    while True:
        is_over = (run / POLICY).exists()
        n += send(rows_of(run), tracker, sent)
        if is_over:
            return n
        sleep(every_s)


def tensorboard(folder: Path) -> Tracker:
    """Event files in a folder. Raises MissingExtra."""
    try:
        from tensorboard.summary import Writer
    except ImportError as e:
        raise MissingExtra("tensorboard", "writing for TensorBoard") from e
    writer = Writer(str(folder))

    class Board:
        def log(self, step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)
            writer.flush()

        def close(self) -> None:
            writer.close()

    return Board()


def wandb(project: str, name: str) -> Tracker:
    """A new run on Weights & Biases, where the environment says (WANDB_MODE=offline: in a folder). Raises
    MissingExtra."""
    try:
        import wandb as library
    except ImportError as e:
        raise MissingExtra("wandb", "logging to Weights & Biases") from e
    run = library.init(project=project, name=name)
    run.define_metric("*", step_metric="step")  # rows of one step may come at different times

    class Board:
        def log(self, step: int, figures: Mapping[str, float]) -> None:
            run.log({"step": step, **figures})

        def close(self) -> None:
            run.finish()

    return Board()


def trackio(project: str, name: str) -> Tracker:
    """A new run in trackio's local database (TRACKIO_DIR). Raises MissingExtra."""
    try:
        import trackio as library
    except ImportError as e:
        raise MissingExtra("trackio", "logging to trackio") from e
    run = library.init(project=project, name=name, auto_log_gpu=False, auto_log_cpu=False)

    class Board:
        def log(self, step: int, figures: Mapping[str, float]) -> None:
            run.log(dict(figures), step=step)

        def close(self) -> None:
            run.finish()

    return Board()

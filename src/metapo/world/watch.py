"""Live progress of a comparison in a terminal; a plain log line now and then where there is none."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from metapo.world.compare import Job, Watch

LOG_EVERY_S = 15.0


@contextmanager
def watching(console: Console, steps: int) -> Iterator[Watch]:
    """A function to call with all jobs as they go on."""
    if not console.is_terminal:
        yield _logger(console, steps)
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield lambda jobs: live.update(_progress(jobs, steps))


def print_table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """The final figures, header first."""
    header, *body = rows
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, *cells in zip(header, *body, strict=True):
        # in a narrow terminal headers wrap between words, figures don't
        shown.add_column(name, min_width=max(map(len, [*cells, *name.split()])))
    for row in body:
        shown.add_row(*row)
    console.print()
    console.print(shown)


def _progress(jobs: Sequence[Job], steps: int) -> Table:
    shown = Table("arm", "seed", "step", "", "judge", "real quality", "gives no reasons", box=None, pad_edge=False)
    for job in jobs:
        row = job.progress()
        done = row["step"] + 1 if row else 0
        figures = [f"{row[name]:.2f}" for name in ("normalized", "gold", "hack/no reasons")] if row else ["", "", ""]
        bar = ProgressBar(total=steps, completed=done, width=24)
        shown.add_row(job.arm, str(job.seed), f"{done}/{steps}", bar, *figures)
    return shown


def _logger(console: Console, steps: int) -> Callable[[Sequence[Job]], None]:
    last = time.monotonic()

    def log(jobs: Sequence[Job]) -> None:
        nonlocal last
        if time.monotonic() - last < LOG_EVERY_S:
            return
        last = time.monotonic()
        for job in jobs:
            row = job.progress()
            if row and job.result is None:
                judge, gold, bare = row.get("normalized", 0.0), row["gold"], row["hack/no reasons"]
                text = f"judge {judge:.2f}, real quality {gold:.2f}, no reasons {bare:.0%}"
                console.print(f"{job.arm}, seed {job.seed}: step {row['step'] + 1}/{steps}, {text}", highlight=False)

    return log

"""How far judging has come: a bar in a terminal, a line every ten seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from metapo.reward import Scored

LINE_EVERY_S = 10.0


class Tally:
    """Counts rollouts, or `what` else is worked on: how many per second, `failed` ones, known already, and what they
    cost. `show` is called after each."""

    def __init__(self, total: int, what: str = "rollouts", failed: str = "unscored") -> None:
        self.total = total
        self.what = what
        self.failed = failed
        self.n = self.n_unscored = self.n_reused = 0
        self.cost_usd: float | None = None
        self.show: Callable[[], None] = lambda: None
        self._started = time.monotonic()

    def count(self, scored: "Scored") -> None:
        self.n += 1
        self.n_unscored += scored.reward.value is None
        self.n_reused += scored.assessment.n_reused > 0
        for call in scored.assessment.calls:
            if call.reply is not None and call.reply.cost_usd is not None:
                self.cost_usd = (self.cost_usd or 0.0) + call.reply.cost_usd
        self.show()

    def __str__(self) -> str:
        rate = self.n / max(time.monotonic() - self._started, 1e-9)
        cost = "" if self.cost_usd is None else f", {self.cost_usd:.4f} USD"
        known = f", {self.n_reused} known already" if self.n_reused else ""
        return f"{rate:.1f} per second, {self.n_unscored} {self.failed}{known}{cost}"


@contextmanager
def counting(total: int, what: str = "rollouts", failed: str = "unscored") -> Iterator[Tally]:
    """A tally, shown on stderr while the context is open."""
    console = Console(stderr=True)
    tally = Tally(total, what, failed)
    if not console.is_terminal:
        tally.show = _lines(tally, console)
        yield tally
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        tally.show = lambda: bar.update(task, completed=tally.n, description=str(tally))
        yield tally


def _lines(tally: Tally, console: Console) -> Callable[[], None]:
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(f"{tally.n} of {tally.total} {tally.what}, {tally}", highlight=False)

    return show

"""A run's metrics, row by row as they come, and as columns under the names that the API documents."""

import json
import math
import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Protocol
from uuid import uuid4

from metapo.course import Row
from metapo.errors import RunError
from metapo.meta.onset import Watched, onset
from metapo.rollout import Split
from metapo.store import Store
from metapo.viewing.answers import Series

KINDS = (Split.TRAIN.value, Split.EVAL.value, "trainer")
DIGITS = 6
Derive = Callable[["Known", str], list[float | None]]


class Table:
    """The rows of one kind, column by column, as they come; each column is as long as `steps`."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.steps: list[int] = []
        self.columns: dict[str, list[float | None]] = {}

    def append(self, number: int, row: Row) -> None:
        n = len(self.steps)
        self.numbers.append(number)
        self.steps.append(row["step"])
        for name, value in row.items():
            if name != "step" and (figure := _number(value)) is not None:
                self.columns.setdefault(name, [None] * n).append(figure)
        for column in self.columns.values():
            if len(column) == n:
                column.append(None)

    def copy(self) -> "Table":
        new = Table()
        new.numbers, new.steps = list(self.numbers), list(self.steps)
        new.columns = {name: list(column) for name, column in self.columns.items()}
        return new

    def column(self, name: str) -> list[float | None]:
        return self.columns.get(name) or [None] * len(self.steps)


@dataclass(frozen=True)
class Known:
    """The rows so far with their numbers, oldest first, and their figures by kind. In another generation the numbers
    mean other rows."""

    generation: str
    rows: Sequence[tuple[int, Row]] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        return self.rows[-1][0] if self.rows else 0

    def of(self, kind: str) -> list[Row]:
        return [row for _, row in self.rows if row["kind"] == kind]

    def table(self, kind: str) -> Table:
        return self.tables.get(kind) or Table()


class Rows(Protocol):
    """Where a run's metrics come from. `read` tells the generation, the rows that are new in it, and whether all that
    was told before no longer counts."""

    def read(self) -> tuple[str, list[tuple[int, Row]], bool]: ...


class FileRows:
    """A file of JSON lines, which is written anew where rows no longer count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: tuple[int, int] | None = None
        self._at = 0
        self._n = 0
        self._generation = ""

    def read(self) -> tuple[str, list[tuple[int, Row]], bool]:
        """Raises RunError for a file that is gone or damaged."""
        try:
            return self._read()
        except OSError as e:
            raise RunError(f"can't read {self._path}: {e.strerror or e}") from e
        except ValueError as e:
            raise RunError(f"{self._path} is damaged behind line {self._n}: {e}. Restore it from a backup.") from e

    def _read(self) -> tuple[str, list[tuple[int, Row]], bool]:
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            inode = found.st_dev, found.st_ino
            is_new = self._inode != inode or found.st_size < self._at
            if is_new:
                self._inode, self._at, self._n, self._generation = inode, 0, 0, uuid4().hex[:12]
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        rows = [(number, json.loads(line)) for number, line in enumerate(whole.splitlines(), self._n + 1)]
        self._at += len(whole) + 1 if whole else 0
        self._n += len(rows)
        return self._generation, rows, is_new


class StoreRows:
    """The live rows in a store. Where a later attempt begins, what counts is read anew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generation = ""
        self._newest = 0

    def read(self) -> tuple[str, list[tuple[int, Row]], bool]:
        generation = f"attempt-{self._store.standing().attempt}"
        is_new = generation != self._generation
        if is_new:
            self._generation, self._newest = generation, 0
        rows = self._store.metrics(self._newest)
        self._newest = rows[-1][0] if rows else self._newest
        return generation, rows, is_new


class RunRows:
    """A run folder's file, as soon as training has written one; what is in the store as long as there is none."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._in_file, self._in_store = FileRows(path), StoreRows(store)
        self._was_file = False

    def read(self) -> tuple[str, list[tuple[int, Row]], bool]:
        is_file = self._was_file or self._path.exists()
        generation, rows, is_new = (self._in_file if is_file else self._in_store).read()
        is_new, self._was_file = is_new or is_file != self._was_file, is_file
        return generation, rows, is_new


class Figures:
    """The metrics of one run, kept in memory; safe to ask from several threads."""

    def __init__(self, source: Rows) -> None:
        self._source = source
        self._known = Known("")
        self._lock = Lock()

    def read(self) -> Known:
        """All rows that count now. Raises StoreError, RunError."""
        with self._lock:
            generation, rows, is_new = self._source.read()
            if is_new or rows:
                before = Known(generation) if is_new else self._known
                self._known = Known(generation, [*before.rows, *rows], _grown(before.tables, rows))
            return self._known


def columns(known: Known, after: int, names: Sequence[str] | None) -> list[Series]:
    """The rows after a number, by kind, under these names; under the documented ones where None are given. A documented
    column that no row has is left out."""
    series = []
    for kind in KINDS:
        table = known.table(kind)
        begin = bisect_right(table.numbers, after)
        if begin == len(table.numbers):
            continue
        wanted = names if names is not None else (*DOCUMENTED, *(_TRAINER if kind == "trainer" else ()))
        found = {name: tuple(_column(known, kind, name)[begin:]) for name in dict.fromkeys(wanted)}
        has = {n: column for n, column in found.items() if names is not None or any(v is not None for v in column)}
        series.append(Series(kind=kind, step=tuple(table.steps[begin:]), columns=has))
    return series


def names_of(known: Known) -> dict[str, tuple[str, ...]]:
    """Every column that can be asked for, by kind."""
    names = {}
    for kind in KINDS:
        if known.table(kind).steps:
            derived = [name for name in _DERIVED if any(v is not None for v in _column(known, kind, name))]
            names[kind] = tuple(dict.fromkeys([*derived, *known.table(kind).columns]))
    return names


def onsets(known: Known) -> tuple[int | None, int | None]:
    """The step at which judge and monitor part, and the one at which judge and gold do."""
    train = known.table(Split.TRAIN.value)
    told = [int(step) for step in train.column("hacking/onset") if step is not None]
    both = zip(train.steps, train.column("normalized"), train.column("gold"), strict=True)
    gold = [Watched(step, judge, real) for step, judge, real in both if judge is not None and real is not None]
    return told[-1] if told else None, onset(gold)


def _grown(tables: Mapping[str, Table], rows: Sequence[tuple[int, Row]]) -> dict[str, Table]:
    """The tables with new rows. Those that somebody still reads stay as they are."""
    grown = {kind: table.copy() for kind, table in tables.items()}
    for number, row in rows:
        grown.setdefault(row["kind"], Table()).append(number, row)
    return grown


def _gap(known: Known, kind: str) -> list[float | None]:
    table = known.table(kind)
    gold = _each(lambda judge, real: judge - real, table.column("normalized"), table.column("gold"))
    return [gold if gap is None else gap for gap, gold in zip(table.column("monitor/gap"), gold, strict=True)]


def _kl(known: Known, kind: str) -> list[float | None]:
    """A step's training rollouts are those that bring the trainer from `step` to the next number of steps done."""
    if kind != Split.TRAIN:
        return known.table(kind).column("kl")
    trainer = known.table("trainer")
    by_step = dict(zip(trainer.steps, trainer.column("kl"), strict=True))
    return [by_step.get(step + 1) for step in known.table(kind).steps]


def _tokens(known: Known, kind: str) -> list[float | None]:
    table = known.table(kind)
    return _each(lambda a, b: a + b, table.column("judge/prompt_tokens"), table.column("judge/completion_tokens"))


def _each(of: Callable[[float, float], float], a: Sequence[float | None], b: Sequence[float | None]) -> list[Any]:
    return [None if x is None or y is None else _number(of(x, y)) for x, y in zip(a, b, strict=True)]


def _as(name: str) -> Derive:
    return lambda known, kind: known.table(kind).column(name)


_DERIVED: Mapping[str, Derive] = {
    "monitor": _as("monitor/normalized"),
    "gap": _gap,
    "widening": _as("hacking/gap"),
    "kl": _kl,
    "calls": _as("judge/calls"),
    "tokens": _tokens,
    "cost_usd": _as("judge/cost_usd"),
}
DOCUMENTED = (
    *("reward", "normalized", "raw", "monitor", "gold", "gap", "widening", "kl", "words", "flagged", "unscored"),
    *("saturated", "uncertainty", "calls", "tokens", "cost_usd"),
)
_TRAINER = ("loss", "entropy", "grad_norm", "learning_rate", "reward_std", "step_time")


def _column(known: Known, kind: str, name: str) -> list[float | None]:
    derive = _DERIVED.get(name)
    return derive(known, kind) if derive else known.table(kind).column(name)


def _number(value: Any) -> float | None:
    """A figure with the digits that a chart can show; None for what is none, such as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")

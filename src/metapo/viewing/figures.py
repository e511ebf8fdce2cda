"""A run's metrics, row by row as they come, and as columns under the names that the API documents."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from metapo.course import Row
from metapo.meta.onset import Watched, onset
from metapo.rollout import Split
from metapo.store import Store
from metapo.viewing.answers import Series

KINDS = (Split.TRAIN.value, Split.EVAL.value, "trainer")
DIGITS = 6
Derive = Callable[[Mapping[str, Any], Mapping[int, Row]], Any]


class Known(NamedTuple):
    """The rows so far with their numbers, oldest first. In another generation the numbers mean other rows."""

    generation: str
    rows: Sequence[tuple[int, Row]]

    @property
    def newest(self) -> int:
        return self.rows[-1][0] if self.rows else 0

    def of(self, kind: str) -> list[Row]:
        return [row for _, row in self.rows if row["kind"] == kind]


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
        with self._path.open("rb") as file:
            stat = _stat(file.fileno())
            is_new = self._inode != stat[:2] or stat[2] < self._at
            if is_new:
                self._inode, self._at, self._n, self._generation = stat[:2], 0, 0, uuid4().hex[:12]
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        lines = whole.splitlines() if whole else []
        self._at += len(whole) + 1 if whole else 0
        rows = [(number, json.loads(line)) for number, line in enumerate(lines, self._n + 1)]
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


class Figures:
    """The metrics of one run, kept in memory; safe to ask from several threads."""

    def __init__(self, source: Rows) -> None:
        self._source = source
        self._rows: list[tuple[int, Row]] = []
        self._lock = Lock()

    def read(self) -> Known:
        """All rows that count now. Raises StoreError, OSError."""
        with self._lock:
            generation, rows, is_new = self._source.read()
            self._rows = rows if is_new else [*self._rows, *rows] if rows else self._rows
            return Known(generation, self._rows)


def columns(known: Known, after: int, names: Sequence[str] | None) -> list[Series]:
    """The rows after a number, by kind, under these names; under the documented ones where None are given. A documented
    column that no row has is left out."""
    by_step = {row["step"]: row for row in known.of("trainer")}
    series = []
    for kind in KINDS:
        rows = [row for number, row in known.rows if row["kind"] == kind and number > after]
        if rows:
            wanted = names if names is not None else [*DOCUMENTED, *(() if kind != "trainer" else _TRAINER)]
            found = {name: tuple(_number(_value(name, row, by_step)) for row in rows) for name in wanted}
            has = {n: column for n, column in found.items() if names is not None or any(v is not None for v in column)}
            series.append(Series(kind=kind, step=tuple(row["step"] for row in rows), columns=has))
    return series


def names_of(known: Known) -> dict[str, tuple[str, ...]]:
    """Every column that can be asked for, by kind."""
    by_step = {row["step"]: row for row in known.of("trainer")}
    names = {}
    for kind in KINDS:
        rows = known.of(kind)
        raw = dict.fromkeys(name for row in rows for name, value in row.items() if _number(value) is not None)
        derived = [n for n in _DERIVED if any(_number(_value(n, row, by_step)) is not None for row in rows)]
        if rows:
            names[kind] = tuple(dict.fromkeys([*derived, *(n for n in raw if n != "step")]))
    return names


def onsets(known: Known) -> tuple[int | None, int | None]:
    """The step at which judge and monitor part, and the one at which judge and gold do."""
    train = known.of(Split.TRAIN.value)
    told = next((row["hacking/onset"] for row in reversed(train) if "hacking/onset" in row), None)
    gold = [Watched(r["step"], r["normalized"], r["gold"]) for r in train if "gold" in r and "normalized" in r]
    return told, onset(gold)


def _gap(row: Mapping[str, Any], _: Mapping[int, Row]) -> Any:
    if "monitor/gap" in row:
        return row["monitor/gap"]
    return row["normalized"] - row["gold"] if "gold" in row and "normalized" in row else None


def _kl(row: Mapping[str, Any], trainer: Mapping[int, Row]) -> Any:
    """A step's training rollouts are those that bring the trainer from `step` to the next number of steps done."""
    return trainer.get(row["step"] + 1, {}).get("kl") if row["kind"] == Split.TRAIN else row.get("kl")


def _tokens(row: Mapping[str, Any], _: Mapping[int, Row]) -> Any:
    named = ("judge/prompt_tokens", "judge/completion_tokens")
    return sum(row[name] for name in named) if all(name in row for name in named) else None


def _as(name: str) -> Derive:
    return lambda row, _: row.get(name)


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


def _value(name: str, row: Row, trainer: Mapping[int, Row]) -> Any:
    derive = _DERIVED.get(name)
    return derive(row, trainer) if derive else row.get(name)


def _number(value: Any) -> float | None:
    """A figure with the digits that a chart can show; None for what is none, such as NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def _stat(descriptor: int) -> tuple[int, int, int]:
    import os

    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size


def mean(values: Iterable[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return sum(present) / len(present) if present else None

"""Pinned anchors from a file: pairs whose order people know, or completions that they labelled."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from metapo.errors import DataError
from metapo.meta.pairs import Pair, Source
from metapo.tasks.reading import read_jsonl

SHAPES = "'prompt', 'better' and 'worse', or 'prompt', 'completion' and a number 'score'"


def load_anchors(path: Path, why: str = "pinned") -> list[Pair]:
    """Pairs from JSON lines. A row is a pair, {prompt, better, worse}, or a labelled completion, {prompt, completion,
    score}: any two of one prompt with different scores make a pair. `why` and `reference` may stand in either; a row
    without a `why` has the one that is given.

    Raises DataError that names the row (counted from 1) for another shape, for equal completions, for a labelled
    completion that makes no pair, and for a file without rows.
    """
    rows = read_jsonl(path)
    if not rows:
        raise DataError(f"{path} holds no rows; expected {SHAPES}")
    pairs: list[Pair] = []
    labelled: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for number, row in enumerate(rows, 1):
        if _texts(row, "prompt", "better", "worse"):
            pairs.append(_pair(path, number, row, row["better"], row["worse"], why))
        elif _texts(row, "prompt", "completion") and _is_number(row.get("score")):
            labelled.setdefault(row["prompt"], []).append((number, row))
        else:
            raise DataError(f"{path}, row {number}: expected {SHAPES}; it has {', '.join(map(repr, row)) or 'nothing'}")
    for of_prompt in labelled.values():
        pairs += _ordered(path, of_prompt, why)
    return list({pair.key: pair for pair in pairs}.values())


def _ordered(path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]], why: str) -> list[Pair]:
    ranked = sorted(rows, key=lambda item: -item[1]["score"])
    pairs = [
        _pair(path, number, high, high["completion"], low["completion"], why)
        for (number, high), (_, low) in combinations(ranked, 2)
        if high["score"] > low["score"]
    ]
    if not pairs:
        raise DataError(
            f"{path}, row {rows[0][0]}: its prompt has no two completions with different scores, so nothing is ordered"
        )
    return pairs


def _pair(path: Path, number: int, row: Mapping[str, Any], better: str, worse: str, why: str) -> Pair:
    if better == worse:
        raise DataError(f"{path}, row {number}: both completions are the same: {better[:80]!r}")
    reference = row.get("reference")
    return Pair(
        prompt=row["prompt"],
        better=better,
        worse=worse,
        source=Source.ANCHOR,
        why=str(row.get("why") or why),
        reference=None if reference is None else str(reference),
    )


def _texts(row: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(row.get(name), str) and row[name].strip() for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""Pinned anchors from a file: pairs whose order people know, or completions that they labelled."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from metapo.errors import DataError
from metapo.meta.pairs import Pair, Source
from metapo.rollout import Rollout, rollout_of
from metapo.tasks.reading import read_jsonl

SHAPES = "'prompt', 'better' and 'worse', or 'prompt', 'completion' and a number 'score'"


class _Labelled(NamedTuple):
    number: int
    row: Mapping[str, Any]
    rollout: Rollout


def load_anchors(path: Path, why: str = "pinned") -> list[Pair]:
    """Pairs from JSON lines. A row is a pair, {prompt, better, worse}, or a labelled completion, {prompt, completion,
    score}: any two of one prompt with different scores make a pair. Prompts and completions are texts or lists of chat
    messages. `why` and `reference` may stand in either; a row without a `why` has the one that is given.

    Raises DataError that names the row (counted from 1) for another shape, for equal completions, for a labelled
    completion that makes no pair, and for a file without rows.
    """
    rows = read_jsonl(path)
    if not rows:
        raise DataError(f"{path} holds no rows; expected {SHAPES}")
    pairs: list[Pair] = []
    labelled: dict[str, list[_Labelled]] = {}
    for number, row in enumerate(rows, 1):
        try:
            if _has(row, "prompt", "better", "worse"):
                pairs.append(pair_of(row, row["better"], row["worse"], why))
            elif _has(row, "prompt", "completion") and _is_number(row.get("score")):
                one = _Labelled(number, row, rollout_of(row))
                labelled.setdefault(one.rollout.prompt, []).append(one)
            else:
                raise DataError(f"expected {SHAPES}; it has {', '.join(map(repr, row)) or 'nothing'}")
        except DataError as e:
            raise DataError(f"{path}, row {number}: {e}") from e
    for of_prompt in labelled.values():
        pairs += _ordered(path, of_prompt, why)
    return list({pair.key: pair for pair in pairs}.values())


def pair_of(row: Mapping[str, Any], better: Any, worse: Any, why: str) -> Pair:
    """Two completions of a row's prompt, texts or lists of chat messages, with its `why` and `reference`, if it has
    any. Raises DataError."""
    good, bad = (rollout_of({**row, "completion": completion}) for completion in (better, worse))
    if good.completion == bad.completion:
        raise DataError(f"both completions are the same: {good.completion[:80]!r}")
    return Pair(
        prompt=good.prompt,
        better=good.completion,
        worse=bad.completion,
        source=Source.ANCHOR,
        why=str(row.get("why") or why),
        reference=good.reference,
    )


def _ordered(path: Path, labelled: Sequence[_Labelled], why: str) -> list[Pair]:
    ranked = sorted(labelled, key=lambda one: -one.row["score"])
    pairs = []
    for high, low in combinations(ranked, 2):
        if high.row["score"] > low.row["score"]:
            try:
                pairs.append(pair_of(high.row, high.row["completion"], low.row["completion"], why))
            except DataError as e:
                raise DataError(f"{path}, row {high.number}: {e}") from e
    if not pairs:
        raise DataError(
            f"{path}, row {labelled[0].number}: its prompt has no two completions with different scores, so nothing is "
            "ordered"
        )
    return pairs


def _has(row: Mapping[str, Any], *names: str) -> bool:
    """Has it texts that aren't blank, or lists of messages, under these names?"""
    values = [row.get(name) for name in names]
    return all(value.strip() if isinstance(value, str) else value and isinstance(value, list) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""Matches between two models, as they stand in a file of JSON lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metapo.errors import DataError
from metapo.tasks.reading import numbered_jsonl

DRAWS = ("draw", "tie")


@dataclass(frozen=True)
class Match:
    """Two models on one prompt. `points_a` is what the first one gets: 1 for a win, 0.5 for a draw, 0 for a loss; the
    second one gets the rest."""

    model_a: str
    model_b: str
    points_a: float
    prompt: str = ""


@dataclass(frozen=True)
class Matches:
    """The matches that have a result, in the file's order, and the number of those that have none."""

    decided: tuple[Match, ...]
    n_undecided: int = 0


def read_matches(path: Path) -> Matches:
    """Rows with `model_a`, `model_b` and `winner`: one of the two names, "draw" or "tie", or null for no result.

    `prompt`, where it is given, says which matches belong together. Of rows with an equal `id` the last one with a
    result counts. Raises DataError that names the line.
    """
    decided: dict[object, Match] = {}
    undecided: set[object] = set()
    for number, row in numbered_jsonl(path):
        key = ("id", row["id"]) if isinstance(row.get("id"), str) else number
        match = _match(row, f"{path}, line {number}")
        if match is None:
            undecided.add(key)
        else:
            decided[key] = match
    if not decided and not undecided:
        raise DataError(f"{path} holds no matches. Give a file of JSON lines with model_a, model_b and winner.")
    if not decided:
        raise DataError(f"{path}: none of the {len(undecided)} matches has a winner or is a draw, so nothing is rated")
    return Matches(tuple(decided.values()), len(undecided - decided.keys()))


def check_name(name: object, where: str) -> str:
    """A name that a model may have in a file of matches. Raises DataError."""
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise DataError(f"{where}: expected a model's name, in printable characters; got {name!r}. Name the model.")
    if name in DRAWS:
        raise DataError(f"{where}: no model can be named {name!r}, as that stands for a match without a winner")
    return name


def _match(row: dict[str, Any], where: str) -> Match | None:
    if missing := [name for name in ("model_a", "model_b", "winner") if name not in row]:
        raise DataError(
            f"{where}: a match has model_a, model_b and winner; {', '.join(missing)} is missing, it has "
            f"{', '.join(map(repr, row)) or 'nothing'}. Rename the columns, or leave the line out."
        )
    a, b = (check_name(row[name], f"{where}, {name}") for name in ("model_a", "model_b"))
    if a == b:
        raise DataError(f"{where}: {a!r} plays against itself. A match has two models: mend the line or leave it out.")
    winner, prompt = row["winner"], row.get("prompt")
    if winner is None:
        return None
    if winner not in (a, b, *DRAWS):
        raise DataError(
            f"{where}: winner is {winner!r}; allowed are its models {a!r} and {b!r}, 'draw' or 'tie', and null where "
            "there is no result. Mend the line."
        )
    points = 1.0 if winner == a else 0.0 if winner == b else 0.5
    return Match(a, b, points, prompt if isinstance(prompt, str) else "")

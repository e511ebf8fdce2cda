"""What a row must hold. Every refusal names the row, what came and what was allowed."""

import math
from collections.abc import Mapping
from typing import Any

from metapo.answers import gold
from metapo.errors import DataError

Row = Mapping[str, Any]


def text(source: object, number: int, row: Row, *names: str) -> str:
    """The text in the first of these columns that the row has. Raises DataError."""
    name = next((name for name in names if name in row), None)
    if name is None:
        wanted = " or ".join(map(repr, names))
        raise DataError(f"{source}, row {number}: no column {wanted}; it has {', '.join(map(repr, row)) or 'none'}")
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{source}, row {number}: {name!r} must be a text; got {_shown(value)}")
    return value


def answer_in(source: object, number: int, row: Row, name: str) -> str:
    """The answer in a row's reference, as `gold` finds it. Raises DataError."""
    reference = text(source, number, row, name)
    try:
        return gold(reference, name)
    except DataError as e:
        raise DataError(f"{source}, row {number}: {e}") from e


def number_or_none(source: object, number: int, row: Row, name: str) -> float | None:
    """A finite number, true and false as 1 and 0; None where the column is null or not there. Raises DataError."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{source}, row {number}: {name!r} must be a finite number or null; got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    return repr(value)[:80]

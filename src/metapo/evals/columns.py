"""What a row must hold. Every refusal names the row, what came and what was allowed."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from metapo.answers import gold
from metapo.errors import DataError
from metapo.tasks.reading import column

Row = Mapping[str, Any]


@contextmanager
def at_row(source: object, number: int) -> Iterator[None]:
    """Puts the place before what a DataError says."""
    try:
        yield
    except DataError as e:
        raise DataError(f"{source}, row {number}: {e}") from e


def text(source: object, number: int, row: Row, *names: str) -> str:
    """The text in the first of these columns that the row has. Raises DataError."""
    with at_row(source, number):
        value = column(row, *names)
        if not isinstance(value, str):
            name = next(name for name in names if name in row)
            raise DataError(f"{name!r} must be a text; got {_shown(value)}")
    return value


def answer_in(source: object, number: int, row: Row, name: str) -> str:
    """The answer in a row's reference, as `gold` finds it. Raises DataError."""
    reference = text(source, number, row, name)
    with at_row(source, number):
        return gold(reference, name)


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

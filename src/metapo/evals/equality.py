"""Pairs of mathematical answers from a file."""

from collections.abc import Sequence

from metapo.answers import Comparer, Equality
from metapo.errors import DataError
from metapo.evals.columns import Row, text


def compare_rows(source: object, rows: Sequence[Row]) -> list[Equality]:
    """Whether `predicted` equals `reference`, row by row. Raises MissingExtra, and DataError before it compares."""
    pairs = [(text(source, n, row, "predicted"), text(source, n, row, "reference")) for n, row in enumerate(rows, 1)]
    for number, (_, reference) in enumerate(pairs, 1):
        if not reference.strip():
            raise DataError(f"{source}, row {number}: 'reference' is empty; there is nothing to be equal to")
    with Comparer() as comparer:
        return [comparer.compare(*pair) for pair in pairs]

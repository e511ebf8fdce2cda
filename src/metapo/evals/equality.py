"""Pairs of mathematical answers from a file."""

from collections.abc import Sequence

from metapo.answers import Comparer, Equality
from metapo.evals.columns import Row, answer_in, text


def compare_rows(source: object, rows: Sequence[Row]) -> list[Equality]:
    """Whether `predicted` equals `reference`, row by row. Raises MissingExtra, and DataError before it compares."""
    pairs = [
        (text(source, n, row, "predicted"), answer_in(source, n, row, "reference")) for n, row in enumerate(rows, 1)
    ]
    with Comparer() as comparer:
        return [comparer.compare(*pair) for pair in pairs]

"""The static audit of many responses: which detectors fired, and on which rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, ValidationError

from metapo.audit.detectors import MIN_WORDS, Detector, detect
from metapo.errors import DataError
from metapo.rubric import Frozen, Rubric, Text, describe


class AuditRow(Frozen):
    """One response to audit; other columns of a row are left aside."""

    model_config = ConfigDict(extra="ignore")

    prompt: Text
    response: Text


class FlaggedRow(Frozen):
    """The detectors that fired on one row, in the order of `Detector`; empty for a row without a finding."""

    index: int
    flags: tuple[Detector, ...]


class StaticReport(Frozen):
    """What the detectors found in `n` rows.

    `flagged` counts the rows with any flag, `detectors` the rows per detector, zeros included. `rows` has one entry
    for every row, in order, `index` counted from 0.
    """

    n: int
    flagged: int
    detectors: dict[Detector, int]
    rows: tuple[FlaggedRow, ...]


def audit_rows(
    rows: Iterable[Mapping[str, Any]], *, rubric: Rubric | None = None, min_words: int = MIN_WORDS
) -> StaticReport:
    """Run every detector on rows of {prompt, response}. Raises DataError that names the row, counted from 1."""
    flagged_rows = []
    for index, raw in enumerate(rows):
        row = _row(index, raw)
        flags = detect(row.prompt, row.response, rubric=rubric, min_words=min_words)
        flagged_rows.append(FlaggedRow(index=index, flags=tuple(flag.detector for flag in flags)))
    counts = Counter(detector for row in flagged_rows for detector in row.flags)
    return StaticReport(
        n=len(flagged_rows),
        flagged=sum(bool(row.flags) for row in flagged_rows),
        detectors={detector: counts[detector] for detector in Detector},
        rows=tuple(flagged_rows),
    )


def _row(index: int, raw: Mapping[str, Any]) -> AuditRow:
    try:
        return AuditRow.model_validate(dict(raw))
    except ValidationError as e:
        raise DataError(
            f"row {index + 1}: a row needs a prompt and a response, both text ({describe(e).strip()})"
        ) from e

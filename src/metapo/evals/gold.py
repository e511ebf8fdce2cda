"""The answer in a reference. One that no completion can come to is refused: every completion would look wrong."""

import re

from metapo.answers import boxed_answer, excess_of, holds_box
from metapo.errors import DataError
from metapo.evals.columns import Row, text

MAX_WORDS = 5
_TEXT = re.compile(r"\\(?:text|textbf|mbox|mathrm)\s*\{[^{}]*\}")
_WORD = re.compile(r"(?<![\\\w])[A-Za-z]{2,}")
_TELLS = {"answer", "are", "equals", "hence", "is", "therefore", "thus"}


def gold(source: object, number: int, row: Row, name: str) -> str:
    """The answer in a row's reference: what its last box holds, or all of it where there is no box. Raises DataError
    where there is none, where it reads like a solution without a box, and where it is too large to be compared."""
    where, reference = f"{source}, row {number}", text(source, number, row, name)
    answer = boxed_answer(reference) if holds_box(reference) else reference.strip()
    if not answer:
        raise DataError(f"{where}: {name!r} holds no answer; got {reference[:80]!r}. Box it, or give it alone.")
    if not holds_box(reference) and _is_prose(answer):
        raise DataError(
            f"{where}: {name!r} reads like a solution without a \\boxed{{...}} answer; got {reference[:80]!r}. Box the "
            "answer, or give it alone."
        )
    if excess := excess_of(answer):
        raise DataError(f"{where}: the answer in {name!r} is {excess.value} to be compared; got {answer[:80]!r}")
    return answer


def _is_prose(answer: str) -> bool:
    words = _WORD.findall(_TEXT.sub("", answer))
    return "\n" in answer or len(words) > MAX_WORDS or not _TELLS.isdisjoint(word.lower() for word in words)

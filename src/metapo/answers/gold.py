"""The answer in a reference. One that no completion can come to is refused: every completion would look wrong."""

import re

from metapo.answers.boxed import boxed_answer, holds_box
from metapo.answers.equality import excess_of
from metapo.errors import DataError

MAX_WORDS = 5
_TEXT = re.compile(r"\\(?:text|textbf|mbox|mathrm)\s*\{[^{}]*\}")
_WORD = re.compile(r"(?<![\\\w])[A-Za-z]{2,}")
_TELLS = {"answer", "are", "equals", "hence", "is", "therefore", "thus"}


def gold(reference: str, column: str) -> str:
    """What a reference's last box holds, or all of it where there is no box. Raises DataError, naming the `column`,
    where it holds no answer, reads like a solution without a box, or is too large to be compared."""
    answer = boxed_answer(reference) if holds_box(reference) else reference.strip()
    if not answer:
        raise DataError(f"{column!r} holds no answer; got {reference[:80]!r}. Box it, or give it alone.")
    if not holds_box(reference) and _is_prose(answer):
        raise DataError(
            f"{column!r} reads like a solution without a \\boxed{{...}} answer; got {reference[:80]!r}. Box the "
            "answer, or give it alone."
        )
    if excess := excess_of(answer):
        raise DataError(f"the answer in {column!r} is {excess.value} to be compared; got {answer[:80]!r}")
    return answer


def _is_prose(answer: str) -> bool:
    words = _WORD.findall(_TEXT.sub("", answer))
    return "\n" in answer or len(words) > MAX_WORDS or not _TELLS.isdisjoint(word.lower() for word in words)

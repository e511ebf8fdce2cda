"""Questions and replies, made in a line."""

import json
import os
from collections.abc import Sequence
from typing import Any

from metapo.judge.question import Question, Sheet, Style
from metapo.judge.transport import Token
from metapo.rubric import Criterion, Outcome, Reason, Rubric, Verdict


def question(*criteria: Criterion, style: Style = Style.LEVELS) -> Question:
    """Asks for all of these criteria at once; for a letter, for the first."""
    sheet = Sheet.of(Rubric(criteria=criteria))
    keys = tuple(sheet.keys)
    return Question(sheet, style, keys[:1] if style is Style.LETTER else keys)


def reply(**value_by_key: Any) -> str:
    return json.dumps(value_by_key)


def points(outcomes: tuple[Outcome, ...]) -> list[int | Reason]:
    """The points of each verdict, the reason where there is none."""
    return [o.points if isinstance(o, Verdict) else o.reason for o in outcomes]


def token(text: str, *top: tuple[str, float]) -> Token:
    """A token with the log-probabilities of what could stand in its place."""
    return Token(text=text, top=top)


def shared_prefix(texts: Sequence[str]) -> str:
    """The letters that all of the texts begin with."""
    return os.path.commonprefix(texts)

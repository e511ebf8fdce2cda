"""What a check found out."""

from dataclasses import dataclass
from enum import StrEnum

from metapo.judge.check import Mark


class Level(StrEnum):
    """All is well; it works, but costs or surprises; a run would stop or be worth nothing."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


LEVEL_OF = {Mark.GOOD: Level.OK, Mark.ADVICE: Level.WARNING, Mark.BAD: Level.PROBLEM}


@dataclass(frozen=True)
class Found:
    """One thing found out about a part of the run (`about`), and where it isn't well what to do."""

    level: Level
    about: str
    text: str


def ok(about: str, text: str) -> Found:
    return Found(Level.OK, about, text)


def warning(about: str, text: str) -> Found:
    return Found(Level.WARNING, about, text)


def problem(about: str, text: object) -> Found:
    return Found(Level.PROBLEM, about, str(text))

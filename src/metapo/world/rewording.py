"""A meta model that changes no meaning: every meta step it says the rubric in use in other words and another order.

What the judge reads exactly stays what it is: a phrase of `phrases.py` is replaced by one that it reads alike, and
vague words by vague ones. A wording that would read differently is not used.
"""

import re
from collections.abc import Sequence
from random import Random

from metapo.rubric import Criterion, Level, digest
from metapo.world.meta import WorldMeta, rubric_in_use
from metapo.world.phrases import requirements

# Each row says one thing. Longer wordings come first where one holds another.
_ALIKE = (
    ("how good the essay is", "the quality of the essay", "the merit of the essay"),
    ("rate", "grade", "assess"),
    ("very", "really", "truly"),
    ("bad", "poor"),
    ("mediocre", "middling", "so-so"),
    ("fair", "passable", "tolerable"),
    ("good", "sound", "strong"),
    ("no clear", "no plain", "no definite"),
    ("not one reason that counts", "no reason that counts", "nothing that counts as a reason"),
    ("takes no side", "sides with nobody", "comes down on no side"),
    ("no other view", "no opposing view", "no view but its own"),
    ("has no ending", "no ending", "stops without an ending"),
    ("wanders", "drifts", "strays"),
    ("says the same again", "says it all again", "goes over the same ground"),
    ("speaks to the grader", "turns to the grader", "talks to the grader"),
    ("breaks off", "stops short", "is cut off"),
    ("no remarks to the grader", "no remark to the grader"),
    ("at least 1 distinct reason", "1 distinct reason", "1 or more distinct reasons"),
    *(
        (f"at least {n} distinct reasons", f"{n} distinct reasons", f"{n} or more distinct reasons")
        for n in range(2, 10)
    ),
)


class RewordingMeta(WorldMeta):
    """The offline world's meta model, but whatever its analyses say, the rubric in use only changes its words and its
    order. Both are drawn from the digest of the conversation's first prompt and `seed`."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed

    async def identify(self) -> str:
        return f"rewording world-meta seed={self._seed}"

    def rewrite(self, stage: str, prompt: str) -> tuple[Criterion, ...]:
        return reword(rubric_in_use(prompt), Random(digest(["reword", self._seed, prompt])))


def reword(criteria: Sequence[Criterion], rng: Random) -> tuple[Criterion, ...]:
    """The same criteria in another order, with other words in instructions and levels where there are any; ids, names
    and points stay."""
    return tuple(_reworded(c, rng) for c in rng.sample(criteria, len(criteria)))


def _reworded(criterion: Criterion, rng: Random) -> Criterion:
    levels = tuple(_level(level, rng) for level in criterion.levels)
    return criterion.model_copy(update={"instruction": _text(criterion.instruction, rng), "levels": levels})


def _level(level: Level, rng: Random) -> Level:
    description = _text(level.description, rng)
    reads_alike = requirements(description) == requirements(level.description)
    return level.model_copy(update={"description": description}) if reads_alike else level


_ROW = {wording: row for row in reversed(_ALIKE) for wording in row}
_WORDING = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, _ROW), key=len, reverse=True))})\b", re.IGNORECASE)


def _text(text: str, rng: Random) -> str:
    return _WORDING.sub(lambda found: _other(found[0], rng), text)


def _other(wording: str, rng: Random) -> str:
    """Another wording of the same row, with a capital where this one has it."""
    other = rng.choice([w for w in _ROW[wording.lower()] if w != wording.lower()])
    return other[0].upper() + other[1:] if wording[0].isupper() else other

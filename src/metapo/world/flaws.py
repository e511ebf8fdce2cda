"""A meta model some of whose rubrics are bad, as a model's are now and then, and what is bad about which."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from random import Random

from metapo.rubric import Criterion, Level, Rubric, digest
from metapo.world.meta import WorldMeta, rubric_in_use


class Flaw(StrEnum):
    """What is wrong with a rubric: one vague criterion is all there is, vague criteria that nearly every essay meets
    come on top of the rubric in use, or half of the criteria are missing."""

    VACUOUS = "vacuous"
    PADDED = "padded"
    DROPPED = "dropped"


class FlawedMeta(WorldMeta):
    """The offline world's meta model, but each rubric that is to replace the one in use is flawed with probability
    `flaw`. Which ones, and how, is drawn from the digest of the conversation's first prompt and `seed`."""

    def __init__(
        self, *, flaw: float = 0.3, seed: int = 0, strict: bool = False, max_sentences: int | None = None
    ) -> None:
        super().__init__(strict=strict, max_sentences=max_sentences)
        self._flaw = flaw
        self._seed = seed

    async def identify(self) -> str:
        return f"flawed world-meta flaw={self._flaw:g} seed={self._seed}"

    def rewrite(self, stage: str, prompt: str) -> tuple[Criterion, ...]:
        honest = super().rewrite(stage, prompt)
        flaw = flaw_of(prompt, flaw=self._flaw, seed=self._seed)
        if flaw is None:
            return honest
        return spoiled(flaw, rubric_in_use(prompt), honest, Random(digest(["dropped", self._seed, prompt])))


def spoiled(flaw: Flaw, in_use: Sequence[Criterion], honest: Sequence[Criterion], rng: Random) -> tuple[Criterion, ...]:
    """What a flawed meta model writes where an honest one writes `honest` to replace the criteria `in_use`."""
    match flaw:
        case Flaw.VACUOUS:
            return (_VACUOUS,)
        case Flaw.PADDED:
            return _padded(in_use)
        case Flaw.DROPPED:
            return _halved(honest, rng)


def flaw_of(prompt: str, *, flaw: float, seed: int) -> Flaw | None:
    """What is wrong with the rubric that answers a conversation whose first prompt this is; None for an honest one."""
    rng = Random(digest(["flaw", seed, prompt]))
    return rng.choice(list(Flaw)) if rng.random() < flaw else None


def flaws_in(prompts: Iterable[str], *, flaw: float, seed: int) -> list[Flaw | None]:
    """What is wrong with each rubric that a meta step's merges and repairs wrote, from the prompts of its exchanges, in
    order."""
    return [flaw_of(prompt, flaw=flaw, seed=seed) for prompt in prompts if begins_rubric(prompt)]


def begins_rubric(prompt: str) -> bool:
    """Does a merge or a repair begin with this prompt?"""
    return _BEGINS.search(prompt) is not None


def is_padded(rubric: Rubric) -> bool:
    """Is any of the padding in it?"""
    return bool({c.id for c in rubric.criteria} & {c.id for c in _FILLERS})


_BEGINS = re.compile(r"^Stage: (?:merging|repair), number of criteria$", re.MULTILINE)


def _vague(name: str, instruction: str, *levels: str) -> Criterion:
    worded = tuple(Level(points=points, description=text) for points, text in enumerate(levels))
    return Criterion.model_validate({"name": name, "instruction": instruction, "levels": worded})


_VACUOUS = _vague(
    "Overall impression", "Say how well the essay works as a whole.", "weak", "uneven", "decent", "strong", "excellent"
)
_FILLERS = (
    _vague("Readability", "The essay can be read.", "unreadable", "readable"),
    _vague("Effort", "The writer took trouble.", "careless", "some care was taken"),
    _vague("Tone", "The tone suits an essay.", "out of place", "suitable"),
    _vague("Language", "The words are those of an essay.", "wrong for an essay", "right for an essay"),
)


def _padded(criteria: Sequence[Criterion]) -> tuple[Criterion, ...]:
    ids = {c.id for c in criteria}
    return *criteria, *(c for c in _FILLERS if c.id not in ids)


def _halved(criteria: Sequence[Criterion], rng: Random) -> tuple[Criterion, ...]:
    """Half of the criteria, rounded down but at least one, in their order."""
    kept = sorted(rng.sample(range(len(criteria)), max(1, len(criteria) // 2)))
    return tuple(criteria[i] for i in kept)

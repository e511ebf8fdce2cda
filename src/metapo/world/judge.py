"""The offline world's judge: a program behind the chat seam that reads a rendered prompt and answers as a server would.

It reads the rubric's text and nothing else. A criterion whose levels hold phrases from `phrases.py` is checked
exactly; any other is judged by impression, the mean over the sentences that are present. Nothing in an impression
asks for coverage, so each further sentence of an imperfect writer can only lower it: that is the loophole which
policies find.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from random import Random

from metapo.errors import ChatRejected
from metapo.judge.question import letters
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest, ChoiceForm, Token
from metapo.rubric import Criterion, Rubric, digest
from metapo.rubric_text import parse_rubric
from metapo.world.essay import Essay, Role, essay_of
from metapo.world.phrases import requirements

IMPRESSION = {
    Role.TITLE: 1.0,
    Role.THESIS: 0.95,
    Role.CONCLUSION: 0.85,
    Role.REMARK: 0.85,
    Role.EVIDENCE: 0.75,
    Role.COUNTER: 0.7,
    Role.REBUTTAL: 0.7,
    Role.RUN_ON: 0.5,
    Role.UNFINISHED: 0.3,
    Role.BROKEN: 0.2,
}
OFF_TOPIC = 0.5
NOISE = 0.10
_FENCE = re.compile(r"^~{8,} ", re.MULTILINE)
_KEY = re.compile(r'"([a-z]+)" for ([a-z0-9][a-z0-9_-]*)')
_ONE = re.compile(r"^Judge this criterion now: ([a-z0-9][a-z0-9_-]*)\.", re.MULTILINE)


class WorldJudge:
    """A chat transport. `sway` is the probability that a remark to the grader wins a vague criterion's top level.
    With `tires_after` it takes an essay of more sentences for thorough, and gives it every criterion's top level, as
    long as the rubric says nothing about length: one that does makes it count, and read on.

    Its noise (10 % of verdicts one level off) is drawn from the prompt's digest and `seed`, so the same request
    always gets the same reply. Asked for one criterion's letter, it reports how likely each level was, noise included.
    """

    def __init__(self, *, sway: float = 0.25, seed: int = 0, tires_after: int | None = None) -> None:
        self._sway = sway
        self._seed = seed
        self._tires_after = tires_after

    async def complete(self, request: ChatRequest) -> ChatReply:
        prompt, completion = unfence("prompt", request.last), unfence("completion", request.last)
        is_plan = prompt is not None and completion is None and request.form is None
        if "<rubric>" not in request.last or is_plan:
            return ChatReply(text="yes", model="world-judge")
        rubric = _read_rubric(_rubric_block(_instructions(request.last)))
        if prompt is None or completion is None or rubric is None:
            raise ChatRejected("the offline world's judge needs a rubric, a fenced prompt and a fenced completion")
        try:
            essay = essay_of(prompt, completion)
        except ValueError as e:
            raise ChatRejected(str(e)) from e
        is_tired = self._is_tired(rubric, essay)
        if isinstance(request.form, ChoiceForm):
            criterion = rubric.criterion(_ONE.findall(request.last)[-1])
            assert criterion is not None
            rng = Random(digest([self._seed, prompt, completion, rubric.digest, criterion.id]))
            return _lettered(criterion, self._chances(criterion, essay, is_tired), rng)
        rng = Random(digest([self._seed, prompt, completion, rubric.digest]))
        verdicts = {c.id: self._verdict(c, essay, rng, is_tired) for c in rubric.criteria}
        return ChatReply(text=_written(verdicts, _instructions(request.last)), model="world-judge")

    async def identify(self) -> str:
        tires = "" if self._tires_after is None else f" tires_after={self._tires_after}"
        return f"world-judge sway={self._sway:g} seed={self._seed}{tires}"

    async def aclose(self) -> None:
        pass

    def _verdict(self, criterion: Criterion, essay: Essay, rng: Random, is_tired: bool) -> tuple[int, str]:
        """The points of a level, and why."""
        top = len(criterion.levels) - 1, "The essay goes into everything."
        level, rationale = top if is_tired else self._level(criterion, essay, rng)
        if rng.random() < NOISE:
            level += rng.choice((-1, 1))
        level = min(max(level, 0), len(criterion.levels) - 1)
        return criterion.levels[level].points, rationale

    def _level(self, criterion: Criterion, essay: Essay, rng: Random) -> tuple[int, str]:
        """The index of the level that fits before noise, and why."""
        if (best := checked_level(criterion, essay)) is not None:
            return best, f"The essay fits: {criterion.levels[best].description}"
        if essay.of(Role.REMARK) and rng.random() < self._sway:
            return len(criterion.levels) - 1, "The essay assures that it deserves this."
        exact = impression(essay) * (len(criterion.levels) - 1)
        return int(exact + rng.random()), "By the overall impression of what is there."

    def _chances(self, criterion: Criterion, essay: Essay, is_tired: bool) -> list[float]:
        """How likely each level is, worst to best; they sum up to 1. What `_verdict` draws from."""
        n = len(criterion.levels)
        best = n - 1 if is_tired else checked_level(criterion, essay)
        if best is not None:
            exact = [float(i == best) for i in range(n)]
        else:
            sway = self._sway if essay.of(Role.REMARK) else 0.0
            low, rest = divmod(impression(essay) * (n - 1), 1.0)
            exact = [(1 - sway) * ((i == low) * (1 - rest) + (i == low + 1) * rest) for i in range(n)]
            exact[-1] += sway
        chances = [(1 - NOISE) * p for p in exact]
        for i, p in enumerate(exact):
            for near in (max(i - 1, 0), min(i + 1, n - 1)):
                chances[near] += NOISE / 2 * p
        return chances

    def _is_tired(self, rubric: Rubric, essay: Essay) -> bool:
        if self._tires_after is None or len(essay.sentences) <= self._tires_after:
            return False
        texts = [level.description for criterion in rubric.criteria for level in criterion.levels]
        return not any(r.phrase.kind == "length" for text in texts for r in requirements(text))


def checked_level(criterion: Criterion, essay: Essay) -> int | None:
    """The index of the highest level whose phrases all hold, 0 where none does; None for a criterion without phrases,
    which is judged by impression."""
    wanted = [requirements(level.description) for level in criterion.levels]
    if not any(wanted):
        return None
    return max((i for i, rs in enumerate(wanted) if rs and all(r.holds(essay) for r in rs)), default=0)


def impression(essay: Essay) -> float:
    """How the sentences that are present come across on average, in [0, 1]; 0 for an empty essay."""
    scores = [
        IMPRESSION[s.role] if essay.fits(s) or s.role not in (Role.EVIDENCE, Role.COUNTER, Role.REBUTTAL) else OFF_TOPIC
        for s in essay.sentences
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _instructions(prompt: str) -> str:
    """What stands before the first fence: the words of the template and the rubric, none of the policy's."""
    return _FENCE.split(prompt, maxsplit=1)[0]


def _rubric_block(instructions: str) -> str:
    start = instructions.find("<rubric>")
    return instructions[start : instructions.find("</rubric>", start) + len("</rubric>")] if start >= 0 else ""


@lru_cache(maxsize=64)
def _read_rubric(block: str) -> Rubric | None:
    return parse_rubric(block).rubric


def _lettered(criterion: Criterion, chances: list[float], rng: Random) -> ChatReply:
    """One level's letter, drawn, with the log-probability of each."""
    names = letters(criterion)
    top = tuple((name, math.log(p)) for name, p in zip(names, chances, strict=True) if p > 0)
    [drawn] = rng.choices(names, chances)
    return ChatReply(text=drawn, model="world-judge", tokens=(Token(text=drawn, top=top),))


def _written(verdicts: Mapping[str, tuple[int, str]], instructions: str) -> str:
    """The JSON that the instructions ask for: under each criterion's key its points, with a rationale if wanted."""
    form = instructions.rpartition("</rubric>")[2]
    with_rationale = '"rationale"' in form
    return json.dumps(
        {
            key: {"rationale": why, "points": points} if with_rationale else points
            for key, criterion_id in _KEY.findall(form)
            for points, why in [verdicts[criterion_id]]
        }
    )

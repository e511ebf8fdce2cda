"""The offline world's meta model: a program behind the chat seam that reads the meta step's prompts and writes replies.

It never sees gold. Per completion it names symptoms, says whether the score is inflated, and refines the rubric by
the criteria that would have caught them; a merge adds what enough refinements ask for. What the current rubric
already covers it reads back from its text. A ladder grows by one level beyond what the essays reach, and a criterion
whose symptom most essays still show gets twice the points, so a rubric follows the policy. It has no symptom for the
title, broken or run-on sentences and too many sentences.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metapo.errors import ChatRejected
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rubric import Criterion, Level, Polarity
from metapo.rubric_text import parse_rubric, render_criterion
from metapo.world.essay import Essay, Role, essay_of
from metapo.world.phrases import requirements

MAX_REASONS = 4
INFLATED_BY = 0.15
QUORUM = 0.15
MAX_SHARP_POINTS = 6


@dataclass(frozen=True)
class Symptom:
    """Something that a good essay wouldn't show: the kind of criterion that catches it, how it reads, what it costs.

    `severity` is the share of full marks that the meta model would take off for it.
    """

    kind: str
    text: str
    severity: float


class WorldMeta:
    """A chat transport; each stage is told from the "Stage:" line of the newest message. Deterministic."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        stage = re.search(r"^Stage: (.+)$", request.last, re.MULTILINE)
        if stage is None:
            raise ChatRejected("the offline world's meta model answers the meta step's prompts only")
        return ChatReply(text=_answer(stage[1], request), model="world-meta")

    async def identify(self) -> str:
        return "world-meta"

    async def aclose(self) -> None:
        pass


def _answer(stage: str, request: ChatRequest) -> str:
    first = request.messages[0].content
    if stage == "analysis":
        return _analysis(_Case.read(first))
    criteria = _merge(first) if stage.startswith("merging") else _refine(_Case.read(first))
    if stage.endswith("number of criteria"):
        return str(len(criteria))
    number = int(re.findall(r"criterion (\d+) of", stage)[0])
    return render_criterion(criteria[number - 1])


@dataclass(frozen=True)
class _Case:
    """One analysed completion: the essay, the rubric in use, and the judge's score as a share of its range."""

    essay: Essay
    rubric: tuple[Criterion, ...]
    score: float

    @classmethod
    def read(cls, prompt: str) -> "_Case":
        asked, completion = unfence("prompt", prompt), unfence("completion", prompt)
        # The last one: a completion, which stands above, may hold such a line of its own.
        scores = re.findall(r"^Score: .* That is ([\d.]+) of its range\.$", prompt, re.MULTILINE)
        if asked is None or completion is None or not scores:
            raise ChatRejected("an analysis needs a fenced prompt, a fenced completion and a score")
        try:
            return cls(essay_of(asked, completion), _rubric_in(prompt), float(scores[-1]))
        except ValueError as e:
            raise ChatRejected(str(e)) from e

    @property
    def symptoms(self) -> list[Symptom]:
        return _symptoms(self.essay)

    @property
    def inflated(self) -> bool:
        """Is the judge's score clearly above what the meta model would give?"""
        return self.score - max(0.0, 1 - sum(s.severity for s in self.symptoms)) > INFLATED_BY


def _symptoms(essay: Essay) -> list[Symptom]:
    n_reasons, n_wrong, n_repeats = len(set(essay.right_nouns)), essay.n_wrong_claims, essay.n_repeats
    takes_side = any(essay.fits(s) for s in essay.of(Role.THESIS))
    concludes = bool(essay.sentences) and essay.sentences[-1].role is Role.CONCLUSION
    checks = (
        ("reasons", 0.15 * max(0, 3 - n_reasons), f"gives only {n_reasons} distinct reasons on the assigned side"),
        ("position", 0.15 * (not takes_side), "never states the assigned position"),
        ("counterargument", 0.2 * (not essay.answered_counterargument), "answers no counterargument"),
        ("conclusion", 0.15 * (not concludes), "does not conclude"),
        ("focus", 0.2 * n_wrong, f"makes {n_wrong} claims off the topic or on the wrong side"),
        ("repeats", 0.1 * n_repeats, f"repeats {n_repeats} reasons"),
        ("grader", 0.5 * bool(essay.of(Role.REMARK)), "speaks to the grader"),
        ("finished", 0.3 * (not essay.finished or not essay.sentences), "breaks off in the middle"),
    )
    return [Symptom(kind, text, severity) for kind, severity, text in checks if severity]


def _analysis(case: _Case) -> str:
    verdict = "inflated" if case.inflated else "deserved"
    seen = "; ".join(s.text for s in case.symptoms) or "nothing that a good essay would not show"
    return f"The score is {verdict}. The essay {seen}. Criteria to look at: {', '.join(c.name for c in case.rubric)}."


def _level(points: int, description: str) -> Level:
    return Level(points=points, description=description)


def _criterion(kind: str, name: str, levels: Iterable[Level], polarity: Polarity = Polarity.POSITIVE) -> Criterion:
    return Criterion(id=kind, name=name, levels=tuple(levels), polarity=polarity)


def _reasons(top: int) -> Criterion:
    steps = [
        _level(3 * n, f"at least {n} distinct reason{'s' * (n > 1)} about the assigned topic for the assigned side")
        for n in range(1, top + 1)
    ]
    return _criterion("reasons", "Distinct reasons", [_level(0, "not one reason that counts"), *steps])


LADDERS = {
    "reasons": _reasons(2),
    "position": _criterion(
        "position", "Position", [_level(0, "no clear position"), _level(2, "states the assigned position")]
    ),
    "counterargument": _criterion(
        "counterargument",
        "Counterargument",
        [
            _level(0, "no other view"),
            _level(1, "mentions a counterargument about the assigned topic"),
            _level(3, "answers the counterargument"),
        ],
    ),
    "conclusion": _criterion(
        "conclusion",
        "Conclusion",
        [
            _level(0, "no ending"),
            _level(1, "has a conclusion"),
            _level(2, "ends with a conclusion for the assigned position"),
        ],
    ),
    "focus": _criterion(
        "focus",
        "Focus",
        [
            _level(-4, "wanders"),
            _level(-2, "at most 1 claim off the topic or on the wrong side"),
            _level(0, "no claim off the topic or on the wrong side"),
        ],
        Polarity.NEGATIVE,
    ),
    "repeats": _criterion(
        "repeats",
        "Repetition",
        [
            _level(-6, "says the same again"),
            _level(-3, "at most 1 reason is repeated"),
            _level(0, "no reason is repeated"),
        ],
        Polarity.NEGATIVE,
    ),
    "grader": _criterion(
        "grader",
        "Remarks to the grader",
        [_level(-5, "speaks to the grader"), _level(0, "no remarks to the grader")],
        Polarity.NEGATIVE,
    ),
    "finished": _criterion(
        "finished",
        "Finished sentences",
        [_level(-2, "breaks off"), _level(0, "every sentence is finished")],
        Polarity.NEGATIVE,
    ),
}


def _kind(criterion: Criterion) -> str | None:
    """What a criterion checks, read from its text; None for one that only leaves an impression."""
    kinds = [r.phrase.kind for level in criterion.levels for r in requirements(level.description)]
    return max(kinds, key=kinds.count) if kinds else None


def _top(criterion: Criterion) -> int:
    """The largest number that any level of a criterion asks for."""
    return max((r.n for level in criterion.levels for r in requirements(level.description)), default=0)


def _refine(case: _Case) -> tuple[Criterion, ...]:
    """The rubric in use, sharpened by what would have caught this completion."""
    kept = {_kind(c) or c.id: c for c in case.rubric if _kind(c) or not case.inflated}
    for symptom in case.symptoms:
        if symptom.kind in kept:
            kept[symptom.kind] = _sharper(kept[symptom.kind])
        elif case.inflated:
            kept[symptom.kind] = LADDERS[symptom.kind]
    reached = len(set(case.essay.right_nouns))
    if "reasons" in kept and _top(kept["reasons"]) <= reached:
        kept["reasons"] = _reasons(min(reached + 1, MAX_REASONS))
    return tuple(kept.values()) or case.rubric


def _sharper(criterion: Criterion) -> Criterion:
    """The same levels with twice the points, as long as none exceeds the limit."""
    if _reach(criterion) * 2 > MAX_SHARP_POINTS:
        return criterion
    levels = tuple(level.model_copy(update={"points": 2 * level.points}) for level in criterion.levels)
    return criterion.model_copy(update={"levels": levels})


def _reach(criterion: Criterion) -> int:
    return max(abs(level.points) for level in criterion.levels)


def _merge(prompt: str) -> tuple[Criterion, ...]:
    """What a quorum of proposals wants, in the order of first mention.

    Ladders get as long as a quorum wants them, points as many as most proposals want.
    """
    proposals = list(_proposals(prompt))
    quorum = max(2, round(QUORUM * len(proposals)))
    votes: dict[str, list[Criterion]] = {}
    for criterion in (c for proposal in proposals for c in proposal):
        votes.setdefault(_kind(criterion) or criterion.id, []).append(criterion)
    merged = [
        _agreed(wanted, quorum, len(proposals))
        for wanted in votes.values()
        if len(wanted) >= quorum and (_kind(wanted[0]) or len(wanted) > len(proposals) / 2)
    ]
    return tuple(merged) or _rubric_in(prompt)


def _agreed(wanted: Sequence[Criterion], quorum: int, n_proposals: int) -> Criterion:
    longest = sorted(map(_length, wanted), reverse=True)[min(quorum, len(wanted)) - 1]
    as_long = [c for c in wanted if _length(c) == longest]
    sharpest = max(map(_reach, as_long))
    sharp = [c for c in as_long if _reach(c) == sharpest]
    return sharp[0] if len(sharp) > n_proposals / 2 else min(as_long, key=_reach)


def _length(criterion: Criterion) -> tuple[int, int]:
    return _top(criterion), len(criterion.levels)


def _proposals(prompt: str) -> Iterable[tuple[Criterion, ...]]:
    number = 1
    while (text := unfence(f"proposal {number}", prompt)) is not None:
        yield parse_rubric(text).criteria
        number += 1


def _rubric_in(prompt: str) -> tuple[Criterion, ...]:
    """The first rubric in a prompt: the one in use."""
    end = prompt.find("</rubric>")
    return parse_rubric(prompt[prompt.find("<rubric>") : end + len("</rubric>")]).criteria

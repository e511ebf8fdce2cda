"""The offline world's meta model: a program behind the chat seam that reads the meta step's prompts and writes replies.

It never sees gold. Per completion it names symptoms, says whether the score is inflated, and refines the rubric by
the criteria that would have caught them; a merge adds what enough refinements ask for. What the current rubric
already covers it reads back from its text. A ladder grows by one level beyond what the essays reach, and a criterion
whose symptom most essays still show gets twice the points, so a rubric follows the policy.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metapo.errors import ChatRejected
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rubric import Criterion
from metapo.rubric_text import parse_rubric, render_criterion
from metapo.world.essay import Essay, essay_of
from metapo.world.examples import attack, compare, exemplar
from metapo.world.ladders import LADDERS, MAX_REASONS, kind_of, length_limit, pass_or_fail, reasons, top_of
from metapo.world.phrases import requirements
from metapo.world.symptoms import Symptom, symptoms

INFLATED_BY = 0.15
QUORUM = 0.15
MAX_SHARP_POINTS = 6


class WorldMeta:
    """A chat transport; each stage is told from the "Stage:" line of the newest message. Deterministic.

    With `strict` its criteria are passed or failed: each asks for one thing, and for the next step once essays pass.
    With `max_sentences` it knows that longer essays are no better.
    """

    def __init__(self, *, strict: bool = False, max_sentences: int | None = None) -> None:
        self._strict = strict
        self._max_sentences = max_sentences

    async def complete(self, request: ChatRequest) -> ChatReply:
        stage = re.search(r"^Stage: (.+)$", request.last, re.MULTILINE)
        if stage is None:
            raise ChatRejected("the offline world's meta model answers the meta step's prompts only")
        return ChatReply(text=self._answer(stage[1], request), model="world-meta")

    async def identify(self) -> str:
        return "world-meta"

    async def aclose(self) -> None:
        pass

    def rewrite(self, stage: str, prompt: str) -> tuple[Criterion, ...]:
        """The rubric to put in place of the one in use. `stage` is "merging" or "repair", `prompt` the first message of
        that conversation."""
        return merge(prompt) if stage == "merging" else repair(prompt)

    def _answer(self, stage: str, request: ChatRequest) -> str:
        name, first = stage.partition(",")[0], request.messages[0].content
        match name:
            case "analysis":
                return _analysis(self._case(first))
            case "comparison":
                return compare(first)
            case "exemplar":
                return exemplar(first)
            case "attack":
                return attack(first)
        criteria = self._criteria(name, first)
        if stage.endswith("number of criteria"):
            return str(len(criteria))
        number = int(re.findall(r"criterion (\d+) of", stage)[0])
        return render_criterion(criteria[number - 1])

    def _criteria(self, stage: str, prompt: str) -> tuple[Criterion, ...]:
        match stage:
            case "refinement":
                refine = _refine_strictly if self._strict else _refine
                return refine(self._case(prompt))
            case "merging" | "repair":
                return self.rewrite(stage, prompt)
            case "splitting":
                return split(prompt)
        raise ChatRejected(f"the offline world's meta model knows no stage {stage!r}")

    def _case(self, prompt: str) -> "_Case":
        return _Case.read(prompt, self._max_sentences)


@dataclass(frozen=True)
class _Case:
    """One analysed completion: the essay, the rubric in use, and the judge's score as a share of its range."""

    essay: Essay
    rubric: tuple[Criterion, ...]
    score: float
    max_sentences: int | None

    @classmethod
    def read(cls, prompt: str, max_sentences: int | None) -> "_Case":
        asked, completion = unfence("prompt", prompt), unfence("completion", prompt)
        # The last one: a completion, which stands above, may hold such a line of its own.
        scores = re.findall(r"^Score: .* That is ([\d.]+) of its range\.$", prompt, re.MULTILINE)
        if asked is None or completion is None or not scores:
            raise ChatRejected("an analysis needs a fenced prompt, a fenced completion and a score")
        try:
            return cls(essay_of(asked, completion), rubric_in_use(prompt), float(scores[-1]), max_sentences)
        except ValueError as e:
            raise ChatRejected(str(e)) from e

    @property
    def symptoms(self) -> list[Symptom]:
        return symptoms(self.essay, self.max_sentences)

    @property
    def inflated(self) -> bool:
        """Is the judge's score clearly above what the meta model would give?"""
        return self.score - max(0.0, 1 - sum(s.severity for s in self.symptoms)) > INFLATED_BY

    @property
    def kept(self) -> dict[str, Criterion]:
        """The criteria in use by what they check; one that leaves an impression only stays where it did no harm."""
        return {kind_of(c) or c.id: c for c in self.rubric if kind_of(c) or not self.inflated}

    def ladder(self, kind: str) -> Criterion:
        return length_limit(self.max_sentences) if kind == "length" and self.max_sentences else LADDERS[kind]


def _analysis(case: _Case) -> str:
    verdict = "inflated" if case.inflated else "deserved"
    seen = "; ".join(s.text for s in case.symptoms) or "nothing that a good essay would not show"
    return f"The score is {verdict}. The essay {seen}. Criteria to look at: {', '.join(c.name for c in case.rubric)}."


def _refine(case: _Case) -> tuple[Criterion, ...]:
    """The rubric in use, sharpened by what would have caught this completion."""
    kept = case.kept
    for symptom in case.symptoms:
        if symptom.kind in kept:
            kept[symptom.kind] = _sharper(kept[symptom.kind])
        elif case.inflated:
            kept[symptom.kind] = case.ladder(symptom.kind)
    reached = len(set(case.essay.right_nouns))
    if "reasons" in kept and top_of(kept["reasons"]) <= reached:
        kept["reasons"] = reasons(min(reached + 1, MAX_REASONS))
    return tuple(kept.values()) or case.rubric


def _refine_strictly(case: _Case) -> tuple[Criterion, ...]:
    """The rubric in use, each criterion that this completion passes one step harder, and the easiest step of those
    that would have caught it."""
    kept = {kind: _harder(kind, criterion, case.essay) for kind, criterion in case.kept.items()}
    for symptom in case.symptoms:
        if symptom.kind not in kept and case.inflated:
            limit = symptom.kind == "length"
            kept[symptom.kind] = case.ladder("length") if limit else pass_or_fail(symptom.kind)[0]
    return tuple(kept.values()) or case.rubric


def _harder(kind: str, criterion: Criterion, essay: Essay) -> Criterion:
    """The step after `criterion` where the essay passes it; `criterion` itself elsewhere, and where it is the last."""
    best = criterion.levels[-1].description
    if kind not in LADDERS or not all(r.holds(essay) for r in requirements(best)):
        return criterion
    steps = pass_or_fail(kind)
    after = [i for i, step in enumerate(steps, 1) if step.levels[-1].description == best and i < len(steps)]
    return steps[after[0]] if after else criterion


def _sharper(criterion: Criterion) -> Criterion:
    """The same levels with twice the points, as long as none exceeds the limit."""
    if _reach(criterion) * 2 > MAX_SHARP_POINTS:
        return criterion
    levels = tuple(level.model_copy(update={"points": 2 * level.points}) for level in criterion.levels)
    return criterion.model_copy(update={"levels": levels})


def _reach(criterion: Criterion) -> int:
    return max(abs(level.points) for level in criterion.levels)


def merge(prompt: str) -> tuple[Criterion, ...]:
    """What a quorum of proposals wants, in the order of first mention.

    Ladders get as long as a quorum wants them, points as many as most proposals want.
    """
    proposals = list(_proposals(prompt))
    quorum = max(2, round(QUORUM * len(proposals)))
    votes: dict[str, list[Criterion]] = {}
    for criterion in (c for proposal in proposals for c in proposal):
        votes.setdefault(kind_of(criterion) or criterion.id, []).append(criterion)
    merged = [
        _agreed(wanted, quorum, len(proposals))
        for wanted in votes.values()
        if len(wanted) >= quorum and (kind_of(wanted[0]) or len(wanted) > len(proposals) / 2)
    ]
    return tuple(merged) or rubric_in_use(prompt)


def _agreed(wanted: Sequence[Criterion], quorum: int, n_proposals: int) -> Criterion:
    longest = sorted(map(_length, wanted), reverse=True)[min(quorum, len(wanted)) - 1]
    as_long = [c for c in wanted if _length(c) == longest]
    sharpest = max(map(_reach, as_long))
    sharp = [c for c in as_long if _reach(c) == sharpest]
    return sharp[0] if len(sharp) > n_proposals / 2 else min(as_long, key=_reach)


def _length(criterion: Criterion) -> tuple[int, int]:
    return top_of(criterion), len(criterion.levels)


def _proposals(prompt: str) -> Iterable[tuple[Criterion, ...]]:
    number = 1
    while (text := unfence(f"proposal {number}", prompt)) is not None:
        yield parse_rubric(text).criteria
        number += 1


def repair(prompt: str) -> tuple[Criterion, ...]:
    """The merge of the proposals, with what the rubric in use checks and the rejected one forgot.

    Where the merge would be the rejected one again, criteria that are in use stay as they are and only new ones come.
    A criterion that leaves an impression only never comes back: the proposals dropped it where it did harm.
    """
    fenced = unfence("rejected proposal", prompt)
    if fenced is None:
        raise ChatRejected("a repair needs the fenced rejected proposal")
    rejected, merged = parse_rubric(fenced).criteria, merge(prompt)
    in_use = {kind: c for c in rubric_in_use(prompt) if (kind := kind_of(c))}
    if {c.levels for c in merged} == {c.levels for c in rejected}:
        merged = tuple(in_use.get(kind_of(c) or "", c) for c in merged)
    there = {kind_of(c) for c in (*merged, *rejected)}
    return *merged, *(c for kind, c in in_use.items() if kind not in there)


def split(prompt: str) -> tuple[Criterion, ...]:
    """The criterion to split, which stands after the rubric, as it is: in this world none asks for two things at
    once. Raises ChatRejected where there is none."""
    found = re.search(r"<item\b.*?</item>", prompt.partition("</rubric>")[2], re.DOTALL)
    criteria = parse_rubric(found[0]).criteria if found else ()
    if not criteria:
        raise ChatRejected("splitting needs a criterion after the rubric")
    return criteria


def rubric_in_use(prompt: str) -> tuple[Criterion, ...]:
    """The criteria of the first rubric in a prompt: the one in use."""
    end = prompt.find("</rubric>")
    return parse_rubric(prompt[prompt.find("<rubric>") : end + len("</rubric>")]).criteria

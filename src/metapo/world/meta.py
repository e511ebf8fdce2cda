"""The offline world's meta model: a program behind the chat seam that reads the prompts of meta steps, and of searches
for a rubric before training, and writes replies.

It never sees gold, only the labels that a search shows it. Per completion it names symptoms, says whether the score is
inflated, and refines the rubric by the criteria that would have caught them; a merge adds what enough refinements ask
for. What the current rubric already covers it reads back from its text. A ladder grows by one level beyond what the
essays reach, and a criterion whose symptom most essays still show gets twice the points: a rubric follows the policy.
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
from metapo.world.examples import attack, boundary, compare, exemplar
from metapo.world.ladders import LADDERS, MAX_REASONS, kind_of, length_limit, pass_or_fail, reasons, top_of
from metapo.world.phrases import requirements
from metapo.world.symptoms import Symptom, symptoms

INFLATED_BY = 0.15
QUORUM = 0.15
MAX_SHARP_POINTS = 6
# No completion holds such a line: the world's vocabulary has no digits.
_LABELLED = re.compile(r"^Case \d+: the score is ([\d.]+), the label ([\d.]+)\.$", re.MULTILINE)


class WorldMeta:
    """A chat transport; each stage is told from the "Stage:" line of the newest message. Deterministic.

    With `strict` its criteria are passed or failed: each asks for one thing, and for the next step once essays pass.
    With `max_sentences` it knows that longer essays are no better.
    """

    def __init__(self, *, strict: bool = False, max_sentences: int | None = None) -> None:
        self._strict = strict
        self._max_sentences = max_sentences

    async def complete(self, request: ChatRequest) -> ChatReply:
        stage = _stage(request.last)
        if stage is None:
            raise ChatRejected("the offline world's meta model answers the prompts of meta steps and searches only")
        return ChatReply(text=self._answer(stage, request), model="world-meta")

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
            case "diagnosis":
                return "\n".join(f"Case {i}. {_analysis(case)}" for i, case in enumerate(self._cases(first), 1))
            case "boundary case":
                return boundary(first)
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
            case "rewriting" | "refinement" if _stage(prompt) == "diagnosis":  # its criteria come as refinements
                return agree([self._refined(case) for case in self._cases(prompt)]) or rubric_in_use(prompt)
            case "refinement":
                return self._refined(self._case(prompt))
            case "merging" | "repair":
                return self.rewrite(stage, prompt)
            case "splitting":
                return split(prompt)
        raise ChatRejected(f"the offline world's meta model knows no stage {stage!r}")

    def _refined(self, case: "_Case") -> tuple[Criterion, ...]:
        """The rubric that one completion asks for: the one in use where the label says that nothing slipped through."""
        if case.label is not None and not case.inflated:
            return case.rubric
        return _refine_strictly(case) if self._strict else _refine(case)

    def _case(self, prompt: str) -> "_Case":
        # The last one: a completion, which stands above, may hold such a line of its own.
        scores = re.findall(r"^Score: .* That is ([\d.]+) of its range\.$", prompt, re.MULTILINE)
        if not scores:
            raise ChatRejected("an analysis needs a fenced prompt, a fenced completion and a score")
        return _Case.read(prompt, rubric_in_use(prompt), float(scores[-1]), self._max_sentences)

    def _cases(self, prompt: str) -> "list[_Case]":
        """The cases of a diagnosis, with their labels."""
        told = _LABELLED.split(prompt)[1:]
        if not told:
            raise ChatRejected("a diagnosis needs cases with a score and a label")
        in_use = rubric_in_use(prompt)
        return [
            _Case.read(shown, in_use, float(score), self._max_sentences, float(label))
            for score, label, shown in zip(told[::3], told[1::3], told[2::3], strict=True)
        ]


def _stage(prompt: str) -> str | None:
    found = re.search(r"^Stage: (.+)$", prompt, re.MULTILINE)
    return found[1] if found else None


@dataclass(frozen=True)
class _Case:
    """One analysed completion: the essay, the rubric in use, and the judge's score as a share of its range; `label` is
    the share that it deserves, where that is known."""

    essay: Essay
    rubric: tuple[Criterion, ...]
    score: float
    max_sentences: int | None
    label: float | None = None

    @classmethod
    def read(
        cls,
        shown: str,
        rubric: tuple[Criterion, ...],
        score: float,
        max_sentences: int | None,
        label: float | None = None,
    ) -> "_Case":
        """The case whose prompt and completion are `shown` in fences. Raises ChatRejected."""
        asked, completion = unfence("prompt", shown), unfence("completion", shown)
        if asked is None or completion is None:
            raise ChatRejected("an analysed case needs a fenced prompt and a fenced completion")
        try:
            return cls(essay_of(asked, completion), rubric, score, max_sentences, label)
        except ValueError as e:
            raise ChatRejected(str(e)) from e

    @property
    def symptoms(self) -> list[Symptom]:
        return symptoms(self.essay, self.max_sentences)

    @property
    def inflated(self) -> bool:
        """Is the judge's score clearly above the label or, without one, above what the meta model would give?"""
        own = max(0.0, 1 - sum(s.severity for s in self.symptoms))
        return self.score - (own if self.label is None else self.label) > INFLATED_BY

    @property
    def too_low(self) -> bool:
        """Is the judge's score clearly below the label?"""
        return self.label is not None and self.label - self.score > INFLATED_BY

    @property
    def kept(self) -> dict[str, Criterion]:
        """The criteria in use by what they check; one that leaves an impression only stays where it did no harm."""
        return {kind_of(c) or c.id: c for c in self.rubric if kind_of(c) or not self.inflated}

    def ladder(self, kind: str) -> Criterion:
        return length_limit(self.max_sentences) if kind == "length" and self.max_sentences else LADDERS[kind]


def _analysis(case: _Case) -> str:
    verdict = "inflated" if case.inflated else "too low" if case.too_low else "deserved"
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
    """What the proposals in a prompt agree on, or else the rubric in use."""
    return agree(list(_proposals(prompt))) or rubric_in_use(prompt)


def agree(proposals: Sequence[tuple[Criterion, ...]]) -> tuple[Criterion, ...]:
    """What a quorum of proposals wants, in the order of first mention; nothing where there is none.

    Ladders get as long as a quorum wants them, points as many as most proposals want.
    """
    quorum = max(2, round(QUORUM * len(proposals)))
    votes: dict[str, list[Criterion]] = {}
    for criterion in (c for proposal in proposals for c in proposal):
        votes.setdefault(kind_of(criterion) or criterion.id, []).append(criterion)
    return tuple(
        _agreed(wanted, quorum, len(proposals))
        for wanted in votes.values()
        if len(wanted) >= quorum and (kind_of(wanted[0]) or len(wanted) > len(proposals) / 2)
    )


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

"""One meta step: select -> analyze -> refine -> merge -> accept (MPO paper, section 3).

With a gate (`meta.gate`) a part of the rollouts is kept from the proposals and examines them: the default is no change.
Without one every readable proposal is adopted, as published.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from math import ceil
from random import Random

from metapo.aio import each
from metapo.audit.detectors import detect
from metapo.judge.judge import Call
from metapo.meta.asking import write_attacks
from metapo.meta.attack import attackable, rule_attacks
from metapo.meta.conversation import Conversation, Exchange, MetaModel, Stage
from metapo.meta.exam import hold_out, make_exam
from metapo.meta.gate import Appraise, Gate, Report
from metapo.meta.hygiene import prune, tidy
from metapo.meta.pairs import Pair
from metapo.meta.propose import Merged, analyze, findings_text, merge, refine, repair
from metapo.meta.select import SELECTS, Evidence, Sample
from metapo.meta.settings import MetaSettings
from metapo.meta.split import split
from metapo.reward import Aggregate, Scored, normalized
from metapo.rubric import Criterion, Revision, Rubric
from metapo.rubric_lint import repeats

DRAFTS_PER_CANDIDATE = 2 / 3  # of the refinements, drawn for each candidate after the first, which sees all


class Decision(StrEnum):
    """How a meta step ended, or what became of a proposal."""

    ADOPTED = "adopted"
    WAITING = "waiting"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"

    @property
    def brings_child(self) -> bool:
        """Does a revision come into force by it?"""
        return self in (Decision.ADOPTED, Decision.ROLLED_BACK)

    @property
    def in_words(self) -> str:
        return _IN_WORDS.get(self, self.value)


_IN_WORDS = {Decision.ROLLED_BACK: "rolled back", Decision.WAITING: "accepted, for people to approve"}


@dataclass(frozen=True)
class Proposal:
    """One candidate revision and what the gate found (None without a gate); `repairs` is the number of the proposal
    that it stands in for."""

    revision: Revision
    report: Report | None = None
    repairs: int | None = None

    @property
    def accepted(self) -> bool:
        return self.report is None or self.report.accepted


@dataclass(frozen=True)
class MetaStep:
    """What one meta step did. `child` is the revision that it chose; None when there is none to choose. `exam` are
    the fresh pairs that examined the proposals, `evidence` those of them that an accepted child puts in the right order
    and its parent did not."""

    step: int
    parent_id: str
    child: Revision | None
    decision: Decision
    reason: str
    samples: tuple[Sample, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    exam: tuple[Pair, ...] = ()
    evidence: tuple[Pair, ...] = ()


Explain = Callable[[Rubric, Scored], Awaitable[Scored]]


async def as_it_is(rubric: Rubric, scored: Scored) -> Scored:
    """For rollouts whose verdicts come with reasons: nothing is asked."""
    return replace(scored, assessment=replace(scored.assessment, calls=()))


@dataclass(frozen=True)
class Senses:
    """What a meta step may ask the judge for: reasons for verdicts, and verdicts under rubrics not in force, of which
    `aggregate` makes rewards."""

    appraise: Appraise
    explain: Explain = as_it_is
    aggregate: Aggregate = normalized


class Reviser:
    """Revises a rubric from recent evidence. A step that yields no usable proposal keeps the parent and says why."""

    def __init__(self, model: MetaModel) -> None:
        self.model = model

    @property
    def settings(self) -> MetaSettings:
        return self.model.settings

    async def step(
        self,
        parent: Revision,
        evidence: Evidence,
        *,
        step: int,
        rng: Random,
        senses: Senses,
        known: Sequence[Pair] = (),
        former: Revision | None = None,
    ) -> MetaStep:
        """Propose a child of `parent` after `step` steps; or return to `former`, which it replaced, where that judges
        the newest rollouts better. Raises ChatMisconfigured; other failures are a reason."""
        log: list[Exchange] = []
        samples: list[Sample] = []
        proposals: list[Proposal] = []

        gate: Gate | None = None

        def end(decision: Decision, reason: str, child: Revision | None = None, won: Sequence[Pair] = ()) -> MetaStep:
            done = MetaStep(step, parent.id, child, decision, reason, tuple(samples), tuple(log), tuple(proposals))
            return replace(done, exam=gate.exam.fresh if gate else (), evidence=tuple(won))

        seen, unseen = hold_out(evidence, rng) if self.settings.gate else (evidence, evidence)
        if self.settings.gate and self.settings.rollback and former:
            gate = await self._gate(parent, unseen, known, senses, rng, log)
            if why := await gate.prefers(former.rubric):
                child = self._revision(former.rubric, parent, f"back to {former.short_id}: {why}", step)
                return end(Decision.ROLLED_BACK, child.reason, child)
        samples += await self._read(parent.rubric, seen, senses, rng, log)
        if not samples:
            return end(Decision.FAILED, "no scored training rollouts since the last meta step")
        drafts = await refine(self.model, await _analyses(self.model, parent.rubric, samples, log))
        if not drafts:
            return end(Decision.FAILED, f"none of {len(samples)} samples gave a readable refinement")
        candidates, problems = await self._candidates(parent, drafts, step, rng, log)
        if not candidates:
            unread = f"no merged rubric: {'; '.join(problems[:5]) or 'it is empty'}"
            equal = "the proposal equals the rubric in use"
            return end(Decision.FAILED, unread) if problems else end(Decision.UNCHANGED, equal)
        if self.settings.gate is None:
            best = Proposal(candidates[0])
            proposals.append(best)
            return end(Decision.ADOPTED, _told(best), best.revision)
        gate = gate or await self._gate(parent, unseen, known, senses, rng, log)
        proposals += await self._examined(gate, candidates, rng, log)
        if self.settings.repair and not any(p.accepted for p in proposals):
            proposals += await self._repaired(gate, parent, drafts, proposals, rng, log)
        best = max(proposals, key=_merit)
        if not best.accepted:
            return end(Decision.REJECTED, _told(best), best.revision)
        return end(Decision.ADOPTED, _told(best), best.revision, await gate.won(best.revision.rubric))

    async def _gate(
        self,
        parent: Revision,
        unseen: Evidence,
        known: Sequence[Pair],
        senses: Senses,
        rng: Random,
        log: list[Exchange],
    ) -> Gate:
        assert self.settings.gate is not None
        exam = await make_exam(
            self.model,
            unseen.recent,
            list(unseen.reference.values()),
            known,
            settings=self.settings.exam,
            limits=self.settings.gate,
            rng=rng,
            log=log,
        )
        return Gate(parent.rubric, exam, senses.appraise, self.settings.gate, senses.aggregate)

    async def _read(
        self, rubric: Rubric, evidence: Evidence, senses: Senses, rng: Random, log: list[Exchange]
    ) -> list[Sample]:
        """The samples with the judge's reasons."""
        select = SELECTS[self.settings.select]
        selected = select(replace(evidence, rubric=rubric), self.settings.samples, rng)
        explained = await each(lambda sample: senses.explain(rubric, sample.scored), selected)
        log += [_explanation(i, call) for i, scored in enumerate(explained) for call in scored.assessment.calls]
        return [replace(sample, scored=scored) for sample, scored in zip(selected, explained, strict=True)]

    async def _candidates(
        self, parent: Revision, drafts: Sequence[str], step: int, rng: Random, log: list[Exchange]
    ) -> tuple[list[Revision], list[str]]:
        """Revisions that differ from the parent and from one another, and what could not be read."""
        found: dict[str, Revision] = {}
        problems: list[str] = []
        n_more = self.settings.candidates - 1 if len(drafts) > 1 else 0
        parts = [drafts, *(_some(drafts, rng) for _ in range(n_more))]
        logs: list[list[Exchange]] = [[] for _ in parts]
        merges = await each(lambda i: merge(self.model, parent.rubric, parts[i], logs[i]), range(len(parts)))
        for part, own, merged in zip(parts, logs, merges, strict=True):
            log += own
            child = await self._child(parent, merged, f"merged from {len(part)} refinements", step, log)
            if child is None:
                problems += merged.problems or ["it is empty"]
            elif child.rubric.digest != parent.rubric.digest:
                found.setdefault(child.rubric.digest, child)
        return list(found.values()), problems

    async def _child(
        self, parent: Revision, merged: Merged, origin: str, step: int, log: list[Exchange]
    ) -> Revision | None:
        """A merged rubric after hygiene, as a revision."""
        if not merged.criteria:
            return None
        limits = self.settings
        rules = limits.hygiene
        rubric, notes = tidy(parent.rubric, merged.criteria, limits.max_criteria, limits.max_words, rules)
        if rules.split:
            parts, told = await split(self.model, rubric, log)
            rubric, more = tidy(parent.rubric, parts.criteria, limits.max_criteria, limits.max_words, rules)
            notes += [*told, *more]
        return self._revision(rubric, parent, "; ".join([origin, *merged.problems, *notes]), step)

    async def _examined(
        self,
        gate: Gate,
        candidates: Sequence[Revision],
        rng: Random,
        log: list[Exchange],
        repairs: int | None = None,
    ) -> list[Proposal]:
        """Each candidate with its report; one that holds criteria of no use stands there without them too."""
        proposals = []
        for candidate in candidates:
            proposals.append(await self._examine(gate, candidate, rng, log, repairs))
            report = proposals[-1].report
            if report and report.fresh and (leaner := self._leaner(gate.parent, candidate, report)):
                proposals.append(await self._examine(gate, leaner, rng, log, repairs))
        return proposals

    async def _examine(
        self,
        gate: Gate,
        candidate: Revision,
        rng: Random,
        log: list[Exchange],
        repairs: int | None,
    ) -> Proposal:
        rubric = candidate.rubric
        report = await gate.examine(rubric, self._problems(rubric), lambda: self._attacks(gate, rubric, rng, log))
        return Proposal(candidate, report, repairs)

    async def _attacks(self, gate: Gate, rubric: Rubric, rng: Random, log: list[Exchange]) -> list[Pair]:
        """Completions written against a rubric, by rules and by the meta model."""
        assert self.settings.gate is not None
        bases, written = attackable(gate.exam.good), self.settings.exam.written_attacks
        pairs = rule_attacks(rubric, bases, self.settings.gate.max_attacks - written, rng)
        return pairs + await write_attacks(self.model, rubric, rng.sample(bases, min(written, len(bases))), log)

    def _problems(self, rubric: Rubric) -> list[str]:
        """What is wrong with a rubric by its text alone."""
        limits = self.settings
        n_free = sum(not c.pinned for c in rubric.criteria)
        problems = [f"{c.id!r}: two levels read alike" for c in rubric.criteria if _reads_alike(c)]
        if n_free and len(rubric.criteria) > limits.max_criteria:
            problems.append(f"{len(rubric.criteria)} criteria, more than {limits.max_criteria}")
        if n_free and rubric.n_words > limits.max_words:
            problems.append(f"{rubric.n_words} words, more than {limits.max_words}")
        twins = [(a.id, b.id) for a, b in combinations(rubric.criteria, 2) if repeats(a, b)]
        return problems + [f"{b!r} repeats {a!r}" for a, b in twins]

    def _leaner(self, parent: Rubric, candidate: Revision, report: Report) -> Revision | None:
        """The candidate without the criteria that its own verdicts show to be of no use, if there are any."""
        assert report.fresh is not None
        ordered = report.fresh.ordered
        grades = [grade for pair in ordered for grade in pair]
        rubric, notes = prune(candidate.rubric, grades, ordered, parent=parent, settings=self.settings.hygiene)
        if not notes or rubric == candidate.rubric:
            return None
        return candidate.model_copy(update={"rubric": rubric, "reason": "; ".join([candidate.reason, *notes])})

    async def _repaired(
        self,
        gate: Gate,
        parent: Revision,
        drafts: Sequence[str],
        refused: Sequence[Proposal],
        rng: Random,
        log: list[Exchange],
    ) -> list[Proposal]:
        """The best of the refused proposals, written once more with the reason at hand."""
        number, worst = max(enumerate(refused), key=lambda item: _merit(item[1]))
        reason = worst.report.reason if worst.report else ""
        merged = await repair(self.model, parent.rubric, drafts, worst.revision.rubric, reason, log)
        origin = f"proposal {number} repaired"
        child = await self._child(parent, merged, origin, worst.revision.step, log)
        known = {parent.rubric.digest, *(p.revision.rubric.digest for p in refused)}
        if child is None or child.rubric.digest in known:
            return []
        return await self._examined(gate, [child], rng, log, repairs=number)

    def _revision(self, rubric: Rubric, parent: Revision, reason: str, step: int) -> Revision:
        return Revision(rubric=rubric, parents=(parent.id,), reason=reason, proposer=self.model.name, step=step)


async def _analyses(
    model: MetaModel, rubric: Rubric, samples: Sequence[Sample], log: list[Exchange]
) -> list[Conversation]:
    findings = [_findings(rubric, sample) for sample in samples]
    return await analyze(model, rubric, [sample.scored for sample in samples], log, findings)


def _findings(rubric: Rubric, sample: Sample) -> str:
    """What rules found in a sample, and what the policy wrote to its prompt before training moved it."""
    rollout = sample.scored.rollout
    flags = detect(rollout.prompt, rollout.spoken, rubric=rubric) if sample.flags else ()
    found = [(flag.detector.value, flag.detail) for flag in flags if flag.detector in sample.flags]
    against = sample.against.rollout if sample.against else None
    return findings_text(found, against, "The same prompt, answered before training moved the policy")


def _reads_alike(criterion: Criterion) -> bool:
    descriptions = [level.description.casefold() for level in criterion.levels]
    return len(set(descriptions)) < len(descriptions)


def _merit(proposal: Proposal) -> tuple[bool, float, int]:
    """Accepted before refused, then what gains most, to a hundredth of a nat, then what says it in fewer words."""
    gain = round(proposal.report.gain, 2) if proposal.report else 0.0
    return proposal.accepted, gain, -proposal.revision.rubric.n_words


def _told(proposal: Proposal) -> str:
    """Why a proposal was adopted or not, on one line."""
    found = f" ({proposal.report.reason})" if proposal.report else ""
    return f"{proposal.revision.reason}{found}"


def _some(drafts: Sequence[str], rng: Random) -> list[str]:
    n = max(1, ceil(DRAFTS_PER_CANDIDATE * len(drafts)))
    return [drafts[i] for i in sorted(rng.sample(range(len(drafts)), n))]


def _explanation(sample: int, call: Call) -> Exchange:
    """Its prompt is the judge's template, filled with the rubric in force and the sample, and so is not repeated."""
    return Exchange(Stage.EXPLAIN, sample, "", call, call.error)

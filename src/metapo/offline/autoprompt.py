"""A rubric refined before training on boundary cases, after Levi et al., "Intent-based Prompt Calibration" (2024, arXiv
2402.03099), which does it to prompts.

A round collects cases near the boundaries of the best rubric so far, has them labelled, lets the meta model analyze the
errors on a part of all cases and rewrite the rubric, and keeps whichever rubric of the history agrees best with the
labels of the other part. The meta model never sees that part.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from metapo.aio import each
from metapo.errors import DataError, JudgeFailureLimit
from metapo.judge.budget import Budget
from metapo.judge.template import fence
from metapo.meta.change import SCORED_SHARE
from metapo.meta.conversation import MetaModel
from metapo.meta.pairs import TIE
from metapo.meta.step import Decision
from metapo.offline.boundary import Source, Wanted
from metapo.offline.cases import Case, Graded, agreement, confusion, quoted, verdicts_text, worst_first
from metapo.offline.lineage import Lineage, Round
from metapo.offline.rewriting import rewrite
from metapo.records import rollout_record
from metapo.reward import Scored
from metapo.rollout import Rollout, Split
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.scorer import ByCluster, InForce, Scorer
from metapo.store import FindingRecord, ProposalRecord, RolloutRecord, SampleRecord

N_WORST = 6  # cases whose verdicts the analysis reads
N_EARLIER = 3  # rubrics of the history that it reads


@dataclass(frozen=True)
class AutopromptPlan:
    """How far a search goes: `rounds` in all, up to `cases` (at least 2) new cases in each, within the `budget`. More
    than the share `max_unscored` (0 to 1) of a round's cases, and more than one, without a score or a label end it."""

    rounds: int = 5
    cases: int = 8
    budget: Budget = field(default_factory=Budget)
    max_unscored: float = 0.1
    seed: int = 0


def check_prompts(rollouts: Sequence[Rollout]) -> None:
    """Raises DataError where all are of one prompt: cases of one prompt are either read or choose."""
    if len({rollout.prompt for rollout in rollouts}) < 2:
        raise DataError(
            "all cases are of one prompt; give cases of two or more, as one part of them is read and the other chooses"
        )


class Autoprompt:
    """The search: round after round until the plan or its budget ends."""

    def __init__(
        self, lineage: Lineage, scorer: Scorer, model: MetaModel, source: Source, plan: AutopromptPlan
    ) -> None:
        self._lineage = lineage
        self._scorer = scorer
        self._model = model
        self._source = source
        self._plan = plan
        self._cases = _known_cases(lineage)

    async def run(self) -> str:
        """Why it ended, in words. Raises ChatMisconfigured, JudgeFailureLimit."""
        while (number := self._lineage.n_rounds) < self._plan.rounds:
            if reached := self._lineage.reached(self._plan.budget):
                return f"the budget ended it: {reached}"
            work = Round(number)
            try:
                await self._round(work)
            except BaseException:
                self._lineage.record_calls(work)
                raise
        return "all rounds are done"

    async def agreement(self, rubric: Rubric) -> float | None:
        """With the labels of the held-out cases, in [0, 1]; None without a score."""
        work = Round(self._lineage.n_rounds)
        try:
            return agreement(await self._grade(rubric, self._held_out, work))
        finally:
            self._lineage.record_calls(work)

    @property
    def n_held_out(self) -> int:
        return len(self._held_out)

    @property
    def _read(self) -> list[Case]:
        return [case for case in self._cases if case.rollout.split is Split.TRAIN]

    @property
    def _held_out(self) -> list[Case]:
        return [case for case in self._cases if case.rollout.split is Split.EVAL]

    async def _round(self, work: Round) -> None:
        started = time.monotonic()
        best = self._lineage.best
        fresh = await self._collect(best, work)
        self._cases += fresh
        errors = await self._errors(best.rubric, work)
        proposed = await self._propose(best, errors, work)
        await self._choose(best, proposed, work)
        work.why = f"{len(fresh)} new cases"
        work.seconds = time.monotonic() - started
        self._lineage.record(work)

    async def _collect(self, best: Revision, work: Round) -> list[Case]:
        """New cases with their labels, about half of them held out. Raises JudgeFailureLimit."""
        rng = Random(f"{self._plan.seed}/cases/{work.number}")
        known = frozenset(case.key for case in self._cases)
        errors = worst_first(await self._grade(best.rubric, self._read, work))
        found = await self._source.boundary(Wanted(best.rubric, self._plan.cases, known, errors, rng), work)
        new = [
            r for r in {(r.prompt, r.completion): r for r in found}.values() if (r.prompt, r.completion) not in known
        ]
        rollouts = self._placed(rng.sample(new, len(new)), work.number)
        self._scorer.in_force = ByCluster(InForce(best), {"": InForce(best)})
        scored = await self._scorer.score(rollouts) if rollouts else []
        labels = [self._source.label(s) for s in scored]
        work.rollouts += [replace(rollout_record(s), monitor=label) for s, label in zip(scored, labels, strict=True)]
        self._check(scored, labels)
        return [Case(s.rollout, label) for s, label in zip(scored, labels, strict=True) if label is not None]

    def _placed(self, new: Sequence[Rollout], number: int) -> list[Rollout]:
        """New cases in their places in the store. What is held out counts as an evaluation after the round: those never
        reach a meta model, and one of a round that came to no end is superseded. Cases of one prompt stay together."""
        is_held_out = {case.rollout.prompt: case.rollout.split is Split.EVAL for case in self._cases}
        n_held_out, placed = len(self._held_out), []
        for i, rollout in enumerate(new):
            held_out = is_held_out.setdefault(rollout.prompt, n_held_out * 2 < len(self._cases) + i)
            n_held_out += held_out
            place = {"step": number + held_out, "position": i, "split": Split.EVAL if held_out else Split.TRAIN}
            placed.append(rollout.model_copy(update=place))
        return placed

    def _check(self, scored: Sequence[Scored], labels: Sequence[float | None]) -> None:
        n_failed = sum(s.reward.normalized is None or label is None for s, label in zip(scored, labels, strict=True))
        if n_failed and (n_failed == len(scored) or n_failed > max(1, self._plan.max_unscored * len(scored))):
            raise JudgeFailureLimit(
                f"{n_failed} of {len(scored)} new cases have no score or no label, more than max_unscored = "
                f"{self._plan.max_unscored:g} allows. Mend the judge or the annotator, and give the same command again."
            )

    async def _errors(self, rubric: Rubric, work: Round) -> list[Graded]:
        """The cases that the meta model may read, the worst first, these with the judge's reasons."""
        graded = worst_first(await self._grade(rubric, self._read, work))

        async def explain(one: Graded) -> Graded:
            explained = await self._scorer.explain(rubric, one.scored)
            work.judged.append(explained)
            return replace(one, scored=explained)

        worst = await each(explain, [g for g in graded[:N_WORST] if g.off > TIE])
        work.samples += [SampleRecord(g.case.rollout, g.told) for g in worst]
        return [*worst, *graded[len(worst) :]]

    async def _propose(self, best: Revision, errors: Sequence[Graded], work: Round) -> Revision | None:
        """A rubric written from the errors, as a child of the best; None, with the reason in `work`, for none."""
        if not errors:
            work.reason = f"none of {len(self._read)} cases that may be read has a score"
            return None
        if not any(g.off > TIE for g in errors):
            work.decision, work.reason = Decision.UNCHANGED, f"no error on {len(errors)} cases that may be read"
            return None
        evidence = f"{_evidence(errors)}\n\n{await self._history(best.rubric, work)}".strip()
        rubric, note = await rewrite(self._model, best.rubric, evidence, work.log)
        if rubric is None:
            work.reason = note
            return None
        reason = "; ".join(filter(None, [f"rewritten from {len(errors)} cases", note]))
        return Revision(rubric=rubric, parents=(best.id,), reason=reason, proposer=self._model.name, step=work.number)

    async def _history(self, best: Rubric, work: Round) -> str:
        """The best of the other rubrics, by the cases that may be read: what was tried, and how it did."""
        others = [r for r in self._lineage.tried if r.digest != best.digest]
        found = [(agreement(await self._grade(r, self._read, work)), r) for r in others]
        ranked = sorted([(share, r) for share, r in found if share is not None], key=lambda item: -item[0])
        return "\n\n".join(
            fence(f"rubric tried before, its scores agree with the labels to {share:.0%}", render_rubric(rubric))
            for share, rubric in ranked[:N_EARLIER]
        )

    async def _choose(self, best: Revision, proposed: Revision | None, work: Round) -> None:
        """Put in force which of all rubrics agrees best with the labels held out; a tie changes nothing."""
        before = await self._grade(best.rubric, self._held_out, work)
        rubrics = [r for r in self._lineage.tried if r.digest != best.rubric.digest]
        rubrics += [proposed.rubric] if proposed else []
        found = {r.digest: _finding(before, await self._grade(r, self._held_out, work)) for r in rubrics}
        chosen = max((r for r in rubrics if found[r.digest].passed), key=lambda r: _gain(found[r.digest]), default=None)
        accepted = proposed is not None and chosen == proposed.rubric
        if proposed:
            finding = found[proposed.rubric.digest]
            work.proposals.append(ProposalRecord(proposed, accepted, finding.detail, findings=(finding,)))
            work.decision = Decision.ADOPTED if accepted else Decision.REJECTED
            work.child, work.reason = proposed, f"{proposed.reason} ({finding.detail})"
        if chosen is not None and not accepted:
            work.decision, work.reason = Decision.ROLLED_BACK, f"an earlier rubric: {found[chosen.digest].detail}"
            work.child = Revision(
                rubric=chosen, parents=(best.id,), reason=work.reason, proposer="held-out cases", step=work.number
            )

    async def _grade(self, rubric: Rubric, cases: Sequence[Case], work: Round) -> list[Graded]:
        scored = await self._scorer.appraise(rubric, [case.rollout for case in cases]) if cases else []
        work.judged += scored
        return [Graded(case, s) for case, s in zip(cases, scored, strict=True)]


def _known_cases(lineage: Lineage) -> list[Case]:
    records: list[RolloutRecord] = [r for split in Split for r in lineage.store.rollouts(split=split)]
    return [Case(r.rollout, r.monitor) for r in records if r.monitor is not None]


def _evidence(errors: Sequence[Graded]) -> str:
    parts = ["Scores and labels lie between 0 (worst) and 1 (best); the labels are right.\n\n" + confusion(errors)]
    for number, one in enumerate((g for g in errors[:N_WORST] if g.off > TIE), 1):
        rollout = one.case.rollout
        parts.append(f"Case {number}: {one.told}.\n\n" + quoted("prompt", rollout.prompt))
        if rollout.reference is not None:
            parts.append(quoted("reference solution", rollout.reference))
        parts += [quoted("completion", rollout.completion), fence("verdicts", verdicts_text(one.scored))]
    return "\n\n".join(parts)


def _finding(before: Sequence[Graded], after: Sequence[Graded]) -> FindingRecord:
    """Does another rubric agree better with the labels of the same cases? One that leaves too many of them without a
    score is not measured on its own choice."""
    both = [(b, a) for b, a in zip(before, after, strict=True) if b.error is not None and a.error is not None]
    n_before = sum(g.error is not None for g in before)
    was, now = agreement([b for b, _ in both]), agreement([a for _, a in both])
    if was is None or now is None or len(both) < SCORED_SHARE * n_before:
        detail = f"only {len(both)} of {n_before} held-out cases have a score"
        return FindingRecord("held_out", False, detail, was, now, len(both))
    detail = f"agrees to {now:.1%} with the labels of {len(both)} held-out cases, {was:.1%} before"
    return FindingRecord("held_out", now > was + TIE, detail, was, now, len(both))


def _gain(finding: FindingRecord) -> float:
    return (finding.child or 0.0) - (finding.parent or 0.0)

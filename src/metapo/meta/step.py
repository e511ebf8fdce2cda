"""One meta step: select -> analyze -> refine -> merge -> accept (MPO paper, section 3)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from metapo.aio import each
from metapo.judge.judge import Call
from metapo.meta.conversation import Exchange, MetaModel, Stage
from metapo.meta.hygiene import tidy
from metapo.meta.propose import analyze, merge, refine
from metapo.reward import Scored
from metapo.rubric import Revision, Rubric


class Decision(StrEnum):
    """How a meta step ended."""

    ADOPTED = "adopted"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class MetaStep:
    """What one meta step did. `child` is the proposed revision, adopted or not; None when there is none to propose."""

    step: int
    parent_id: str
    child: Revision | None
    decision: Decision
    reason: str
    samples: tuple[Scored, ...]
    exchanges: tuple[Exchange, ...]


Select = Callable[[Sequence[Scored], int, Random], list[Scored]]
Accept = Callable[[Rubric, Rubric], bool]
Explain = Callable[[Scored], Awaitable[Scored]]


async def as_it_is(scored: Scored) -> Scored:
    """For rollouts whose verdicts come with reasons: nothing is asked."""
    return replace(scored, assessment=replace(scored.assessment, calls=()))


def random_sample(judged: Sequence[Scored], n: int, rng: Random) -> list[Scored]:
    """`n` rollouts drawn without replacement (the paper); all of them where there are fewer."""
    return rng.sample(list(judged), min(n, len(judged)))


def always(parent: Rubric, child: Rubric) -> bool:
    """Adopt every proposal (the paper)."""
    return True


def never(parent: Rubric, child: Rubric) -> bool:
    """Adopt none: proposals are recorded, and the first rubric judges to the end."""
    return False


SELECTS: dict[str, Select] = {"random": random_sample}
ACCEPTS: dict[str, Accept] = {"always": always, "never": never}


class Reviser:
    """Revises a rubric from recent evidence. A step that yields no usable proposal keeps the parent and says why."""

    def __init__(self, model: MetaModel, *, select: Select = random_sample, accept: Accept = always) -> None:
        self.model = model
        self._select = select
        self._accept = accept

    async def step(
        self, parent: Revision, recent: Sequence[Scored], *, step: int, rng: Random, explain: Explain = as_it_is
    ) -> MetaStep:
        """Propose a child of `parent` from `recent` rollouts, those selected with the judge's reasons from `explain`.
        Raises ChatMisconfigured; other failures are a reason."""
        log: list[Exchange] = []
        limits = self.model.settings
        selected = self._select([j for j in recent if j.reward.value is not None], limits.samples, rng)
        samples = await each(explain, selected)
        log += [_explanation(i, call) for i, sample in enumerate(samples) for call in sample.assessment.calls]

        def end(decision: Decision, reason: str, child: Revision | None = None) -> MetaStep:
            return MetaStep(step, parent.id, child, decision, reason, tuple(samples), tuple(log))

        if not samples:
            return end(Decision.FAILED, "no scored training rollouts since the last meta step")
        drafts = await refine(self.model, await analyze(self.model, parent.rubric, samples, log))
        if not drafts:
            return end(Decision.FAILED, f"none of {len(samples)} samples gave a readable refinement")
        merged = await merge(self.model, parent.rubric, drafts, log)
        if not merged.criteria:
            return end(Decision.FAILED, f"no merged rubric: {_listed(merged.problems)}")
        rubric, notes = tidy(parent.rubric, merged.criteria, limits.max_criteria, limits.max_words)
        if rubric == parent.rubric:
            return end(Decision.UNCHANGED, "the proposal equals the rubric in use")
        reason = "; ".join([f"merged from {len(drafts)} refinements", *merged.problems, *notes])
        child = Revision(rubric=rubric, parents=(parent.id,), reason=reason, proposer=self.model.name, step=step)
        accepted = self._accept(parent.rubric, rubric)
        return end(Decision.ADOPTED if accepted else Decision.REJECTED, reason, child)


def _explanation(sample: int, call: Call) -> Exchange:
    """Its prompt is the judge's template, filled with the rubric in force and the sample, and so is not repeated."""
    return Exchange(Stage.EXPLAIN, sample, "", call, call.error)


def _listed(problems: Sequence[str]) -> str:
    return "; ".join(problems[:5]) or "it is empty"

"""Where cases near a rubric's boundaries come from, and their labels: a meta model and an annotator, or a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from metapo.aio import each
from metapo.judge.neutral import neutralize
from metapo.judge.parse import without_reasoning
from metapo.judge.template import load_template
from metapo.meta.conversation import Exchange, MetaModel, Stage, attempt
from metapo.offline.cases import Case, Graded, quoted
from metapo.offline.lineage import Round
from metapo.reward import Scored
from metapo.rollout import Rollout, completion_text
from metapo.rubric import Rubric
from metapo.rubric_text import render_rubric
from metapo.scorer import Scorer

N_SHOWN = 6  # known cases that the meta model reads before it writes another
AT_ONCE = 16
DRAWN = 8  # labelled cases that are judged for each one that is wanted
AIMS = (
    "A careful person would find it poor, but by this rubric's words it scores high.",
    "A careful person would find it good, but by this rubric's words it scores low.",
    "It lies right between two levels of the criterion that is hardest to apply, so that two judges would differ.",
)


@dataclass(frozen=True)
class Wanted:
    """Which cases a round is after: up to `n` that are not among `known`, near the boundaries of `rubric`. `errors` are
    cases that the meta model may read, the worst first."""

    rubric: Rubric
    n: int
    known: frozenset[tuple[str, str]]
    errors: Sequence[Graded]
    rng: Random


class Source(Protocol):
    """Where cases and their labels come from."""

    async def boundary(self, wanted: Wanted, work: Round) -> list[Rollout]:
        """New rollouts near the boundaries. Raises ChatMisconfigured."""
        ...

    def label(self, scored: Scored) -> float | None:
        """The score that a rollout of `boundary` deserves, in [0, 1]; None where nobody says so."""
        ...


class Written:
    """Cases that the meta model writes for the prompts of `rollouts`, labelled by the scorer's monitor. The first round
    takes real rollouts, as far as it wants any."""

    def __init__(self, model: MetaModel, rollouts: Sequence[Rollout]) -> None:
        self._model = model
        self._rollouts = list({(r.prompt, r.completion): r for r in rollouts}.values())

    async def boundary(self, wanted: Wanted, work: Round) -> list[Rollout]:
        if not wanted.known:
            return wanted.rng.sample(self._rollouts, min(wanted.n, len(self._rollouts)))
        bases = [wanted.rng.choice(self._rollouts) for _ in range(wanted.n)]
        logs: list[list[Exchange]] = [[] for _ in bases]

        async def write(i: int) -> str | None:
            return await attempt(self._model.talk(Stage.BOUNDARY, logs[i], i).ask(self._prompt(wanted, bases[i], i)))

        try:
            replies = await each(write, range(len(bases)), AT_ONCE)
        finally:
            work.log += [exchange for log in logs for exchange in log]
        return [
            base.model_copy(update={"completion": completion_text(text)})
            for base, reply in zip(bases, replies, strict=True)
            if reply and (text := neutralize(without_reasoning(reply)).strip())
        ]

    def label(self, scored: Scored) -> float | None:
        return scored.monitored.reward.normalized if scored.monitored else None

    def _prompt(self, wanted: Wanted, base: Rollout, number: int) -> str:
        errors = [quoted(f"known case: {g.told}", g.case.rollout.completion) for g in wanted.errors[:N_SHOWN]]
        return load_template("metapo.offline", "boundary").render(
            task=self._model.task,
            rubric=render_rubric(wanted.rubric),
            material="\n\n".join([quoted("prompt", base.prompt), *errors]),
            aim=AIMS[number % len(AIMS)],
        )


class Labelled:
    """Cases from a file of labels: of some drawn at random, those that the rubric scores nearest to the middle of its
    range."""

    def __init__(self, scorer: Scorer, cases: Sequence[Case]) -> None:
        self._scorer = scorer
        self._cases = {case.key: case for case in cases}

    async def boundary(self, wanted: Wanted, work: Round) -> list[Rollout]:
        pool = [case.rollout for key, case in self._cases.items() if key not in wanted.known]
        places = wanted.rng.sample(range(len(pool)), min(DRAWN * wanted.n, len(pool)))
        drawn = [pool[place] for place in sorted(places)]
        scored = await self._scorer.appraise(wanted.rubric, drawn) if drawn else []
        work.judged += scored
        return [s.rollout for s in sorted(scored, key=_from_middle)[: wanted.n]]

    def label(self, scored: Scored) -> float | None:
        return self._cases[scored.rollout.prompt, scored.rollout.completion].label


def _from_middle(scored: Scored) -> float:
    """0 to 0.5. What has no score comes first: a judge that fails is not passed over."""
    score = scored.reward.normalized
    return 0.0 if score is None else abs(score - 0.5)

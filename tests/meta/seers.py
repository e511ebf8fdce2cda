"""A judge that sees the gold quality of the offline world's essays, and shows in each criterion what its id says; and a
meta model that merges what it is told."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

from metapo.judge.judge import Assessment
from metapo.meta.select import Evidence
from metapo.reward import Scored, normalized
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Level, Revision, Rubric, Verdict
from metapo.world.corpus import write_example
from metapo.world.essay import essay_of
from metapo.world.gold import gold
from metapo.world.meta import WorldMeta

TOP = 20
SEES: dict[str, Callable[[float], float]] = {
    "right": lambda quality: quality,
    "coarse": lambda quality: float(quality > 0.4),
    "blind": lambda quality: 0.5,
    "wrong": lambda quality: 1 - quality,
}


def sees(name: str, weight: float = 1.0) -> Criterion:
    levels = tuple(Level(points=points, description=f"{name} at {points} {name}") for points in range(TOP + 1))
    return Criterion(id=name, name=name, levels=levels, weight=weight)


def revision(*criteria: Criterion) -> Revision:
    return Revision(rubric=Rubric(criteria=criteria), reason="start", proposer="settings", step=0)


class Seer:
    """Counts the rollouts that it was asked to judge."""

    def __init__(self) -> None:
        self.n_judged = 0

    async def appraise(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
        self.n_judged += len(rollouts)
        return [self.score(rubric, rollout) for rollout in rollouts]

    def score(self, rubric: Rubric, rollout: Rollout) -> Scored:
        quality = gold(essay_of(rollout.prompt, rollout.completion))
        outcomes = tuple(
            Verdict(criterion_id=c.id, points=round(TOP * SEES[c.id](quality)), rationale="seen")
            for c in rubric.criteria
        )
        return Scored(rollout, "revision", Assessment(outcomes, ()), normalized(rubric, outcomes))

    def evidence(self, rubric: Rubric, n: int = 80, seed: int = 0) -> Evidence:
        rng = Random(f"evidence {seed}")
        written = [write_example(rng) for _ in range(n)]
        return Evidence(
            [
                self.score(rubric, Rollout(prompt=prompt, completion=text, position=i))
                for i, (prompt, text) in enumerate(written)
            ]
        )


class Merger(WorldMeta):
    """Merges and repairs as told, one rubric after the other, and the last one again; otherwise the world's meta
    model."""

    def __init__(self, *merges: Iterable[Criterion], repair: Iterable[Criterion] = ()) -> None:
        super().__init__()
        self._merges = [tuple(criteria) for criteria in merges]
        self._repair = tuple(repair)
        self._prompts: dict[str, int] = {}

    def rewrite(self, stage: str, prompt: str) -> tuple[Criterion, ...]:
        if stage == "repair":
            return self._repair
        number = self._prompts.setdefault(prompt, len(self._prompts))
        return self._merges[min(number, len(self._merges) - 1)]

"""A judge for the tests of the gate that orders pairs as it is told, and keeps what it was asked."""

from collections.abc import Mapping, Sequence

from metapo.judge.judge import Assessment
from metapo.meta.pairs import Pair, Source
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Rubric
from tests.meta.rollouts import reward

SCORES: dict[str, tuple[float | None, float | None]] = {
    "+": (0.8, 0.2),
    "=": (0.5, 0.5),
    "-": (0.2, 0.8),
    "?": (None, 0.5),
    "!": (0.5, None),
}


def pairs(name: str, n: int, *, source: Source = Source.DAMAGED) -> tuple[Pair, ...]:
    """`n` pairs of prompts of their own, named `<name> 0` and so on."""
    return tuple(
        Pair(prompt=f"{name} {i}", better="good", worse="bad", source=source, why="a test says so") for i in range(n)
    )


class Orders:
    """Judges each pair of `pairs(name, n)` as the sign at its place says: + right, = tied, - wrong, ? and ! without a
    verdict on the better or the worse one. `orders` holds the signs by rubric and name."""

    def __init__(self, orders: Mapping[Rubric, Mapping[str, str]]) -> None:
        self._orders = {rubric.digest: signs for rubric, signs in orders.items()}
        self.asked: list[tuple[str, str]] = []
        """Rubric's digest and pairs' name, one for each request to judge rollouts."""

    async def appraise(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
        name = rollouts[0].prompt.rpartition(" ")[0]
        self.asked.append((rubric.digest, name))
        return [self._scored(rubric, rollout) for rollout in rollouts]

    def _scored(self, rubric: Rubric, rollout: Rollout) -> Scored:
        name, _, place = rollout.prompt.rpartition(" ")
        sign = self._orders[rubric.digest][name][int(place)]
        score = SCORES[sign][rollout.completion == "bad"]
        return Scored(rollout, "", Assessment((), ()), reward(score))

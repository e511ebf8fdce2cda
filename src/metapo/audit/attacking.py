"""The attack set against a judge: which attacks raise the score of a bad response, by how much, on which criteria."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from metapo.audit.attacks import Attack, Family, attacks
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Frozen, Rubric

Score = Callable[[Sequence[Rollout]], Awaitable[list[Scored]]]
MARGIN = 0.02  # a rise in the normalised score that counts: less is the judge's rounding
BASE_WORDS = 40


class AttackResult(Frozen):
    """One attack on one weak response. Scores are normalised, in [0, 1], and None where the judge gave none; `criteria`
    holds the rise on each criterion as a share of its range."""

    attack: str
    family: Family
    base: int
    before: float | None
    after: float | None
    criteria: dict[str, float]

    @property
    def rise(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def is_raised(self) -> bool:
        return self.rise is not None and self.rise > MARGIN


class FamilyResult(Frozen):
    """The attacks of one family: how many were tried, raised the score, or left the judge without a verdict."""

    n: int
    raised: int
    unscored: int
    mean_rise: float | None
    max_rise: float | None


class AttackReport(Frozen):
    """All attacks on all weak responses. `criteria` is the mean rise on each criterion, as a share of its range; what
    raises a criterion most is where the judge is easiest to fool."""

    n: int
    raised: int
    unscored: int
    families: dict[Family, FamilyResult]
    criteria: dict[str, float]
    results: tuple[AttackResult, ...]


@dataclass(frozen=True)
class _Shot:
    base: int
    attack: Attack
    rollout: Rollout


def weaken(completion: str) -> str:
    """The first `BASE_WORDS` words at most, and no more than a fifth: a response that deserves little."""
    words = completion.split()
    return " ".join(words[: max(3, min(BASE_WORDS, len(words) // 5))])


async def attack_judge(rubric: Rubric, bases: Sequence[Rollout], score: Score) -> AttackReport:
    """Score each weak response as it is and under every attack; `score` is the judge. Raises ChatMisconfigured."""
    shots = [
        _Shot(i, attack, base.model_copy(update={"completion": attack.apply(base.prompt, base.completion, rubric)}))
        for i, base in enumerate(bases)
        for attack in attacks()
    ]
    before = await score(bases)
    after = await score([shot.rollout for shot in shots])
    results = [_result(shot, before[shot.base], scored) for shot, scored in zip(shots, after, strict=True)]
    return AttackReport(
        n=len(results),
        raised=sum(r.is_raised for r in results),
        unscored=sum(r.rise is None for r in results),
        families={family: _family([r for r in results if r.family is family]) for family in Family},
        criteria={
            c.id: fmean(rises)
            for c in rubric.criteria
            if (rises := [r.criteria[c.id] for r in results if c.id in r.criteria])
        },
        results=tuple(results),
    )


def _result(shot: _Shot, before: Scored, after: Scored) -> AttackResult:
    rises = {
        part.criterion_id: part.fraction - old.fraction
        for old, part in zip(before.reward.parts, after.reward.parts, strict=True)
        if old.fraction is not None and part.fraction is not None
    }
    return AttackResult(
        attack=shot.attack.name,
        family=shot.attack.family,
        base=shot.base,
        before=before.reward.normalized,
        after=after.reward.normalized,
        criteria=rises,
    )


def _family(results: Sequence[AttackResult]) -> FamilyResult:
    rises = [r.rise for r in results if r.rise is not None]
    return FamilyResult(
        n=len(results),
        raised=sum(r.is_raised for r in results),
        unscored=len(results) - len(rises),
        mean_rise=fmean(rises) if rises else None,
        max_rise=max(rises) if rises else None,
    )

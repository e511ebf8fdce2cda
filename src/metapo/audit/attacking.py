"""The attack set against a judge: which attacks raise the score of a bad response, by how much, on which criteria."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean

from metapo.audit.attacks import Attack, Family, attacks
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Frozen, Rubric

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
    """All attacks on all weak responses, as far as they were tried. `criteria` is the mean rise on each criterion, as a
    share of its range; what raises a criterion most is where the judge is easiest to fool."""

    n: int
    raised: int
    unscored: int
    untried: int
    families: dict[Family, FamilyResult]
    criteria: dict[str, float]
    results: tuple[AttackResult, ...]


def weaken(completion: str) -> str:
    """The first `BASE_WORDS` words at most, and no more than a fifth: a response that deserves little."""
    words = completion.split()
    return " ".join(words[: max(3, min(BASE_WORDS, len(words) // 5))])


def attack_set(rubric: Rubric, bases: Sequence[Rollout]) -> list[Rollout]:
    """What a judge has to score for `report_attacks`: each weak response as it is, then each under every attack."""
    attacked = (
        base.model_copy(update={"completion": attack.apply(base.prompt, base.completion, rubric)})
        for base, attack in product(bases, attacks())
    )
    return [*bases, *attacked]


def report_attacks(rubric: Rubric, n_bases: int, scored: Sequence[Scored]) -> AttackReport:
    """What the scores of an `attack_set` say, or of its first rollouts where the judge came no further."""
    shots = list(product(range(n_bases), attacks()))
    before, after = scored[:n_bases], scored[n_bases:]
    results = [_result(i, attack, before[i], s) for (i, attack), s in zip(shots, after, strict=False)]
    return AttackReport(
        n=len(results),
        raised=sum(r.is_raised for r in results),
        unscored=sum(r.rise is None for r in results),
        untried=len(shots) - len(results),
        families={family: _family([r for r in results if r.family is family]) for family in Family},
        criteria={
            c.id: fmean(rises)
            for c in rubric.criteria
            if (rises := [r.criteria[c.id] for r in results if c.id in r.criteria])
        },
        results=tuple(results),
    )


def _result(base: int, attack: Attack, before: Scored, after: Scored) -> AttackResult:
    rises = {
        part.criterion_id: part.fraction - old.fraction
        for old, part in zip(before.reward.parts, after.reward.parts, strict=True)
        if old.fraction is not None and part.fraction is not None
    }
    return AttackResult(
        attack=attack.name,
        family=attack.family,
        base=base,
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

"""Several judges in the place of one: their verdicts are combined, and how far they differ is kept."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, median, pstdev
from typing import Literal

from metapo.aio import each
from metapo.judge.judge import Assessment, Assessor, Call, Opinion
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Outcome, Reason, Rubric, Unscored, Verdict


class Panel:
    """Asks every judge. A criterion has a verdict where at least `quorum` of them give one: its expected points are
    their median or mean, its uncertainty their standard deviation in points."""

    def __init__(
        self,
        judges: Mapping[str, Assessor],
        *,
        combine: Literal["median", "mean"] = "median",
        quorum: int | None = None,
    ) -> None:
        """`judges` by name. Without a `quorum` all of them are needed, so that no reward of a group comes from fewer
        judges than another."""
        self._judges = dict(judges)
        self._combine = combine
        self._quorum = len(judges) if quorum is None else quorum

    async def assess(self, rubric: Rubric, rollout: Rollout) -> Assessment:
        """Judge one rollout. Raises ChatMisconfigured where any judge does."""
        parts = await each(lambda judge: judge.assess(rubric, rollout), list(self._judges.values()))
        said = list(zip(self._judges, parts, strict=True))
        opinions = tuple(Opinion(name, part.outcomes) for name, part in said)
        outcomes = tuple(
            self._joint(criterion, {o.judge: o.outcomes[i] for o in opinions})
            for i, criterion in enumerate(rubric.criteria)
        )
        return Assessment(
            outcomes,
            tuple(call for part in parts for call in part.calls),
            n_reused=sum(part.n_reused for part in parts),
            n_left_out=max(part.n_left_out for part in parts),
            opinions=(*opinions, *(replace(o, judge=f"{n}, {o.judge}") for n, part in said for o in part.opinions)),
        )

    async def explain(self, rubric: Rubric, rollout: Rollout, assessment: Assessment) -> Assessment:
        """The first judge's reasons: one voice is easier to read than several."""
        return await next(iter(self._judges.values())).explain(rubric, rollout, assessment)

    async def warm_up(self, rubric: Rubric, rollout: Rollout) -> tuple[Call, ...]:
        calls = await each(lambda judge: judge.warm_up(rubric, rollout), list(self._judges.values()))
        return tuple(call for part in calls for call in part)

    def _joint(self, criterion: Criterion, outcomes: Mapping[str, Outcome]) -> Outcome:
        verdicts = {name: o for name, o in outcomes.items() if isinstance(o, Verdict)}
        if len(verdicts) < self._quorum:
            missing = [f"{name}: {o.reason.value}" for name, o in outcomes.items() if isinstance(o, Unscored)]
            detail = f"{len(verdicts)} of {len(outcomes)} judges gave a verdict, {self._quorum} are needed. "
            return Unscored(criterion_id=criterion.id, reason=Reason.NO_QUORUM, detail=detail + "; ".join(missing))
        values = [v.value for v in verdicts.values()]
        middle = float(median(values) if self._combine == "median" else fmean(values))
        reasons = [f"{name}: {v.rationale}" for name, v in verdicts.items() if v.rationale]
        return Verdict(
            criterion_id=criterion.id,
            points=nearest(criterion, middle),
            rationale=" | ".join(reasons),
            quote=next((v.quote for v in verdicts.values() if v.quote), ""),
            expected=middle,
            uncertainty=pstdev(values),
        )


def nearest(criterion: Criterion, value: float) -> int:
    """The points of the level next to a value; the lower one in the middle between two."""
    return min((level.points for level in criterion.levels), key=lambda points: abs(points - value))

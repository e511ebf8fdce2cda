"""Each assistant turn of a completion judged by itself, with all that was said before it as its prompt."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from metapo.aio import each
from metapo.judge.judge import Assessment, Assessor, Call, Opinion
from metapo.judge.panel import nearest
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Outcome, Rubric, Unscored, Verdict
from metapo.turns import Role, Turn, text_of, turns_in


class View(NamedTuple):
    """A part of a completion as a rollout of its own: what came before belongs to its prompt."""

    name: str
    rollout: Rollout


class EachTurn:
    """Asks a judge about every assistant turn. A criterion has a verdict where every turn has one: its expected points
    are their mean."""

    def __init__(self, judge: Assessor, max_turns: int) -> None:
        """`max_turns` bounds what one rollout costs: of more turns, the earliest are judged together."""
        self._judge = judge
        self._max_turns = max_turns

    async def assess(self, rubric: Rubric, rollout: Rollout) -> Assessment:
        """Judge one rollout; one with a single assistant turn is judged whole. Raises ChatMisconfigured."""
        views = views_of(rollout, self._max_turns)
        parts = await each(lambda view: self._judge.assess(rubric, view.rollout), views)
        return parts[0] if len(parts) == 1 else _together(rubric, views, parts)

    async def explain(self, rubric: Rubric, rollout: Rollout, assessment: Assessment) -> Assessment:
        """The same verdicts with the reasons for each turn. Raises ChatMisconfigured.

        Where the turns' own verdicts are not among the assessment's opinions, as after a resume, they are asked for
        again, which costs nothing where the judge keeps them.
        """
        views = views_of(rollout, self._max_turns)
        if len(views) == 1:
            return await self._judge.explain(rubric, rollout, assessment)
        known = {opinion.judge: Assessment(opinion.outcomes, ()) for opinion in assessment.opinions}
        parts = await each(lambda view: self._explained(rubric, view.rollout, known.get(view.name)), views)
        again = {o.criterion_id: o for o in _together(rubric, views, parts).outcomes}
        outcomes = tuple(_with_reasons(o, again[o.criterion_id]) for o in assessment.outcomes)
        return Assessment(outcomes, tuple(call for part in parts for call in part.calls))

    async def warm_up(self, rubric: Rubric, rollout: Rollout) -> tuple[Call, ...]:
        return await self._judge.warm_up(rubric, rollout)

    async def _explained(self, rubric: Rubric, rollout: Rollout, known: Assessment | None) -> Assessment:
        judged = known or await self._judge.assess(rubric, rollout)
        explained = await self._judge.explain(rubric, rollout, judged)
        return Assessment(explained.outcomes, (*judged.calls, *explained.calls))


def views_of(rollout: Rollout, max_turns: int) -> list[View]:
    """At most `max_turns` parts, oldest first: the assistant turns, but the earliest in one part where there are more.
    The rollout itself where that makes one part."""
    turns = rollout.turns
    ends = [i + 1 for i, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    n_first = max(1, len(ends) - max_turns + 1)
    if len(ends) <= n_first:
        return [View("turn 1", rollout)]
    asked = turns_in(rollout.prompt, Role.USER)
    first = View(
        "turn 1" if n_first == 1 else f"turns 1 to {n_first}", _part(rollout, asked, turns[: ends[n_first - 1]])
    )
    others = [
        View(f"turn {number}", _part(rollout, (*asked, *turns[: end - 1]), turns[end - 1 : end]))
        for number, end in enumerate(ends[n_first:], n_first + 1)
    ]
    return [first, *others]


def _part(rollout: Rollout, before: Sequence[Turn], judged: Sequence[Turn]) -> Rollout:
    return rollout.model_copy(update={"prompt": text_of(before), "completion": text_of(judged)})


def _together(rubric: Rubric, views: Sequence[View], parts: Sequence[Assessment]) -> Assessment:
    """One assessment of what each turn was given."""
    outcomes = (
        _joint(criterion, {view.name: part.outcomes[i] for view, part in zip(views, parts, strict=True)})
        for i, criterion in enumerate(rubric.criteria)
    )
    return Assessment(
        tuple(outcomes),
        tuple(call for part in parts for call in part.calls),
        n_reused=sum(part.n_reused for part in parts),
        n_left_out=sum(part.n_left_out for part in parts),
        opinions=tuple(Opinion(v.name, part.outcomes, "turn") for v, part in zip(views, parts, strict=True)),
    )


def _joint(criterion: Criterion, outcomes: Mapping[str, Outcome]) -> Outcome:
    """The mean over the turns; no verdict where any of them has none."""
    for name, outcome in outcomes.items():
        if isinstance(outcome, Unscored):
            return outcome.model_copy(update={"detail": f"{name} of {len(outcomes)}: {outcome.detail}"[:500]})
    verdicts = {name: o for name, o in outcomes.items() if isinstance(o, Verdict)}
    mean = fmean(v.value for v in verdicts.values())
    spreads = [v.uncertainty for v in verdicts.values() if v.uncertainty is not None]
    return Verdict(
        criterion_id=criterion.id,
        points=nearest(criterion, mean),
        rationale=" | ".join(f"{name}: {v.rationale}" for name, v in verdicts.items() if v.rationale),
        quote=next((v.quote for v in verdicts.values() if v.quote), ""),
        expected=mean,
        uncertainty=math.hypot(*spreads) / len(verdicts) if len(spreads) == len(verdicts) else None,
    )


def _with_reasons(outcome: Outcome, again: Outcome) -> Outcome:
    if isinstance(outcome, Unscored) or isinstance(again, Unscored):
        return outcome
    return outcome.model_copy(update={"rationale": again.rationale})

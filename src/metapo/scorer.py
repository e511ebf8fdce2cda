"""From settings to rewards: the judges that the settings name, and the rollouts scored under the revision in force."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random

from metapo.aio import each
from metapo.errors import ChatMisconfigured, MetapoError
from metapo.judge.cache import Cache
from metapo.judge.endpoint import Endpoint
from metapo.judge.judge import Assessment, Assessor, Call, Judge
from metapo.judge.ledger import Ledger
from metapo.judge.panel import Panel
from metapo.judge.transport import Transport
from metapo.judge.turns import EachTurn
from metapo.reward import (
    AGGREGATES,
    Monitored,
    Reward,
    Scored,
    Screen,
    Screened,
    drop_criteria,
    masked,
    screen_nothing,
)
from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Revision, Rubric, Unscored
from metapo.scale import Scale
from metapo.settings import Settings

MIN_WARM_UP = 8  # rollouts in a batch that make a warm-up worth its request
AT_ONCE = 4  # rollouts under way, per request that may be: the others wait for their next try, or are being read


def ignore(scored: Scored) -> None:
    """Watches nothing."""


@dataclass(frozen=True)
class Connections:
    """The transports that the settings ask for. `panel` are the judges beside the first. `ledger` holds the requests
    that no scored rollout has among its calls."""

    judge: Transport
    meta: Transport
    panel: tuple[Transport, ...] = ()
    monitor: Transport | None = None
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def by_role(self) -> dict[str, Transport]:
        """judge, meta, panel 1 and so on, monitor; a transport may have several roles."""
        panel = {f"panel {i}": transport for i, transport in enumerate(self.panel, 1)}
        monitor = {} if self.monitor is None else {"monitor": self.monitor}
        return {"judge": self.judge, "meta": self.meta, **panel, **monitor}

    @property
    def all(self) -> list[Transport]:
        """Each transport once."""
        return list(dict.fromkeys(self.by_role.values()))

    async def identify(self) -> dict[str, str]:
        """Who answers, by role. Raises ChatError where one doesn't: before anything depends on it."""
        names = await each(lambda transport: transport.identify(), self.all)
        known = dict(zip(self.all, names, strict=True))
        return {role: known[transport] for role, transport in self.by_role.items()}

    async def aclose(self) -> None:
        async with AsyncExitStack() as stack:  # each is closed, also where another's closing fails
            for transport in self.all:
                stack.push_async_callback(transport.aclose)


@dataclass(frozen=True)
class InForce:
    """The revision that scores, and the scale that the rewards' values are brought to."""

    revision: Revision
    scale: Scale = field(default_factory=Scale)

    @cached_property
    def id(self) -> str:
        """The revision's: a digest that is not worked out for each rollout anew."""
        return self.revision.id


class ByCluster(dict[str, InForce]):
    """What is in force for each cluster. One that has no lineage yet is scored under `first`, where each begins."""

    def __init__(self, first: InForce, known: Mapping[str, InForce] | None = None) -> None:
        super().__init__(known or {})
        self.first = first

    def __missing__(self, cluster: str) -> InForce:
        return self.first


class Scorer:
    """Judges rollouts under the revision in force for their cluster, but for those that the task's `screen` scores. The
    engine swaps `in_force` between steps, never within one."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        revision: Revision,
        cache: Cache | None = None,
        screen: Screen = screen_nothing,
    ) -> None:
        self._settings = settings
        self._screen = screen
        self._ledger = connections.ledger
        self._judge = _judges(settings, connections, cache)
        self._monitor = _judge(settings, connections.monitor, cache, "monitor") if connections.monitor else None
        self.aggregate = AGGREGATES[settings.reward]
        self._at_once = AT_ONCE * settings.judge.at_once
        self._warm: set[str] = set()
        self.in_force = ByCluster(InForce(revision), {"": InForce(revision)})

    async def score(
        self,
        rollouts: Sequence[Rollout],
        watch: Callable[[Scored], None] = ignore,
        in_force: ByCluster | None = None,
    ) -> list[Scored]:
        """One Scored per rollout, in order, under what is in force now unless it is given; `watch` sees each as soon as
        it is there. Raises ChatMisconfigured; any other failure leaves a reward of None. The calls in what is returned
        are no longer in the ledger."""
        in_force = self.in_force if in_force is None else in_force
        screened = await each(self._screen, rollouts, self._at_once)
        left = [rollout for rollout, found in zip(rollouts, screened, strict=True) if found is None]
        warm_up = await self._warm_up(in_force, left)

        async def score_one(i: int) -> Scored:
            rollout, found = rollouts[i], screened[i]
            under = in_force[rollout.cluster]
            scored = await self._score(under, rollout) if found is None else self._screened(under, rollout, found)
            watch(scored)
            return scored

        scored = await each(score_one, range(len(rollouts)), self._at_once)
        if warm_up:
            first = scored[0].assessment
            scored[0] = replace(scored[0], assessment=replace(first, calls=(*warm_up, *first.calls)))
        self._claim(scored)
        return scored

    async def explain(self, rubric: Rubric, scored: Scored) -> Scored:
        """The same with a rationale per verdict under the rubric that gave it; the assessment's calls are those that
        this took. Raises ChatMisconfigured."""
        assessment = await self._judge.explain(rubric, scored.rollout, scored.assessment)
        return replace(scored, assessment=assessment)

    async def appraise(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
        """Rollouts as a rubric would score them that need not be in force: whole, unscaled, and not watched by the
        monitor. The calls in what is returned are no longer in the ledger. Raises ChatMisconfigured."""

        async def appraise_one(rollout: Rollout) -> Scored:
            assessment = await self._judge.assess(rubric, rollout)
            return Scored(rollout, "", assessment, self.aggregate(rubric, assessment.outcomes))

        appraised = await each(appraise_one, rollouts, self._at_once)
        self._claim(appraised)
        return appraised

    def unscored(self, rollouts: Sequence[Rollout], error: MetapoError) -> list[Scored]:
        """The rollouts of a batch that could not be judged at all."""
        return [self._unscored(self.in_force[rollout.cluster], rollout, error) for rollout in rollouts]

    def _claim(self, scored: Sequence[Scored]) -> None:
        for call in (call for one in scored for a in one.assessments for call in a.calls):
            self._ledger.claim(call.sent)

    def _unscored(self, in_force: InForce, rollout: Rollout, error: MetapoError) -> Scored:
        rubric = in_force.revision.rubric
        nothing = _nothing(rubric, Reason.MISCONFIGURED, str(error))
        return Scored(rollout, in_force.id, nothing, self.aggregate(rubric, nothing.outcomes))

    def _screened(self, in_force: InForce, rollout: Rollout, found: Screened) -> Scored:
        """The reward that the task's rule gives, on the scale that the rewards are trained on; no scale bridge applies,
        as the rule doesn't change with the rubric. Only a share of 0 follows what is in force: whatever that may give,
        the task's minimum is no more."""
        revision, in_points = in_force.revision, self._settings.reward == "raw_sum"
        if found.normalized is None or found.raw is None:
            nothing = _nothing(revision.rubric, Reason.NOT_SCREENED, found.why)
            return Scored(rollout, in_force.id, nothing, self.aggregate(revision.rubric, nothing.outcomes))
        raw, value = found.raw, found.raw if in_points else found.normalized
        if found.normalized == 0:
            lowest = revision.rubric.min_points
            raw, value = min(raw, lowest), min(value, in_force.scale.apply(lowest if in_points else 0.0))
        reward = Reward(value, found.normalized, raw, ())
        return Scored(rollout, in_force.id, Assessment((), ()), reward, screened=found.why)

    async def _score(self, in_force: InForce, rollout: Rollout) -> Scored:
        revision = in_force.revision
        watching = self._watching(revision.rubric, rollout)
        try:
            assessment = await self._judge.assess(revision.rubric, rollout)
            reward = self._reward(revision.rubric, rollout, assessment.outcomes)
            reward = reward._replace(value=in_force.scale.apply(reward.value))
            return Scored(rollout, in_force.id, assessment, reward, await watching if watching else None)
        finally:
            if watching:
                watching.cancel()

    def _reward(self, rubric: Rubric, rollout: Rollout, outcomes: Sequence[Outcome]) -> Reward:
        """Dropout leaves the training rollouts of one step and prompt, a group, the same criteria on every rank."""
        if rollout.split is not Split.TRAIN or not self._settings.dropout:
            return self.aggregate(rubric, outcomes)
        rng = Random(f"{self._settings.seed}/dropout/{rollout.step}/{rollout.prompt}")
        kept = drop_criteria(rubric, self._settings.dropout, rng)
        return masked(self.aggregate, rubric, kept, outcomes)

    def _watching(self, rubric: Rubric, rollout: Rollout) -> asyncio.Task[Monitored] | None:
        """The monitor at work, beside the judge, where there is one and it is the rollout's turn."""
        monitor = self._settings.monitor
        if monitor is None or self._monitor is None:
            return None
        place = f"{rollout.step}/{rollout.prompt}/{rollout.completion}"  # the same whichever engine asks
        draw = Random(f"{self._settings.seed}/monitor/{place}").random()
        if rollout.split is Split.TRAIN and draw >= monitor.share:
            return None
        return asyncio.create_task(self._watch(self._monitor, monitor.judge.model, monitor.rubric or rubric, rollout))

    async def _watch(self, monitor: Assessor, model: str, rubric: Rubric, rollout: Rollout) -> Monitored:
        try:
            assessment = await monitor.assess(rubric, rollout)
        except ChatMisconfigured as e:  # what is only watched ends nothing
            assessment = _nothing(rubric, Reason.MISCONFIGURED, str(e))
        return Monitored(model, assessment, self.aggregate(rubric, assessment.outcomes))

    async def _warm_up(self, in_force: ByCluster, rollouts: Sequence[Rollout]) -> tuple[Call, ...]:
        """Once per revision, where a batch holds enough of its rollouts to gain by it."""
        by_revision: dict[str, list[Rollout]] = {}
        for rollout in rollouts if self._settings.judging.warm_up else ():
            by_revision.setdefault(in_force[rollout.cluster].id, []).append(rollout)
        cold = [of for key, of in by_revision.items() if len(of) >= MIN_WARM_UP and key not in self._warm]
        self._warm = (self._warm | by_revision.keys()) & {one.id for one in (in_force.first, *in_force.values())}
        rubrics = [in_force[of[0].cluster].revision.rubric for of in cold]
        calls = [await self._judge.warm_up(rubric, of[0]) for rubric, of in zip(rubrics, cold, strict=True)]
        return tuple(call for part in calls for call in part)


def _nothing(rubric: Rubric, reason: Reason, detail: str) -> Assessment:
    outcomes = tuple(Unscored(criterion_id=c.id, reason=reason, detail=detail[:500]) for c in rubric.criteria)
    return Assessment(outcomes, ())


def _judges(settings: Settings, connections: Connections, cache: Cache | None) -> Assessor:
    """One judge, or a panel of all that the settings name."""
    endpoints = (settings.judge, *(settings.panel.judges if settings.panel else ()))
    transports = (connections.judge, *connections.panel)
    names = _names(endpoints) if settings.panel else [""]
    judges = {name: _judge(settings, transport, cache, name) for name, transport in zip(names, transports, strict=True)}
    if settings.panel is None:
        return judges[""]
    return Panel(judges, combine=settings.panel.combine, quorum=settings.panel.quorum)


def _judge(settings: Settings, transport: Transport, cache: Cache | None, name: str) -> Assessor:
    judge = Judge(transport, task=settings.judge_task, settings=settings.judging, cache=cache, name=name)
    return EachTurn(judge, settings.judging.max_turns) if settings.judging.turns == "each" else judge


def _names(endpoints: Sequence[Endpoint]) -> list[str]:
    """The models' names, with the place in the panel where a model sits in it twice."""
    models = [e.model for e in endpoints]
    return [m if models.count(m) == 1 else f"{m} #{i}" for i, m in enumerate(models, 1)]

"""The collapse: the policy writes titles and nothing else, and the gate has to tell a good rubric from an empty one.

Nothing that the policy writes can be damaged, or is better than an attack.
"""

from random import Random

import pytest

from metapo.meta.attack import attackable, rule_attacks
from metapo.meta.conversation import Exchange, MetaModel
from metapo.meta.exam import make_exam
from metapo.meta.gate import Gate, Report
from metapo.meta.pairs import Pair
from metapo.meta.select import Evidence
from metapo.meta.settings import ExamSettings, GateSettings, MetaSettings
from metapo.meta.step import Decision, MetaStep, Reviser, Senses
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Revision, Rubric
from metapo.scorer import Connections, Scorer
from metapo.world import language as lang
from metapo.world.anchors import world_anchors
from metapo.world.corpus import prompts, write_example
from metapo.world.flaws import Flaw, FlawedMeta, flaws_in, spoiled
from metapo.world.judge import WorldJudge
from metapo.world.language import read_ask
from metapo.world.meta import WorldMeta
from metapo.world.presets import arm_settings, preset_rubric

VAGUE, GOOD = preset_rubric("iter0"), preset_rubric("oracle")
SEEDS = range(4)
GROUP = 4


class Collapsed:
    """A run under `rubric` whose policy writes titles only. `early` tells whether it is known what it wrote before."""

    def __init__(self, rubric: Rubric, seed: int, *, early: bool = False) -> None:
        self.rng = Random(f"collapse {seed}")
        self.settings = arm_settings("metapo", seed=seed)
        self.parent = Revision(rubric=rubric, reason="start", proposer="settings", step=0)
        self.scorer = Scorer(self.settings, Connections(WorldJudge(seed=seed), WorldMeta()), self.parent)
        self._early = early

    async def evidence(self) -> Evidence:
        titles = [
            Rollout(prompt=prompt, completion=lang.title(read_ask(prompt), self.rng), step=1, position=position)
            for position, prompt in enumerate(sorted(GROUP * prompts(held_out=False)))
        ]
        before = [write_example(self.rng) for _ in range(48 * self._early)]
        first = await self._scored([Rollout(prompt=prompt, completion=text) for prompt, text in before])
        return Evidence(await self._scored(titles), reference={s.rollout.prompt: s for s in first})

    async def _scored(self, rollouts: list[Rollout]) -> list[Scored]:
        return await self.scorer.score(rollouts)

    async def examine(self, *rubrics: Rubric) -> list[Report]:
        evidence, log = await self.evidence(), list[Exchange]()
        model = MetaModel(WorldMeta(), self.settings.task_description, self.settings.meta)
        exam = await make_exam(
            model,
            evidence.recent,
            list(evidence.reference.values()),
            world_anchors(),
            settings=ExamSettings(),
            limits=GateSettings(),
            rng=self.rng,
            log=log,
        )
        gate = Gate(self.parent.rubric, exam, self.scorer.appraise, GateSettings())

        async def examined(rubric: Rubric) -> Report:
            async def attacks() -> list[Pair]:
                return rule_attacks(rubric, attackable(exam.good), 12, self.rng)

            return await gate.examine(rubric, (), attacks)

        return [await examined(rubric) for rubric in rubrics]

    async def step(self, meta: WorldMeta) -> MetaStep:
        reviser = Reviser(MetaModel(meta, self.settings.task_description, MetaSettings(), "world-meta"))
        senses = Senses(self.scorer.appraise, self.scorer.explain, self.scorer.aggregate)
        return await reviser.step(
            self.parent, await self.evidence(), step=10, rng=self.rng, senses=senses, known=world_anchors()
        )


def flawed(flaw: Flaw, rubric: Rubric, seed: int) -> Rubric:
    return Rubric(criteria=spoiled(flaw, rubric.criteria, rubric.criteria, Random(seed)))


@pytest.mark.parametrize("early", [False, True], ids=["nothing from before", "essays from before"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_good_rubric_replaces_the_vague_one_and_an_empty_one_does_not(seed: int, early: bool) -> None:
    good, vacuous = await Collapsed(VAGUE, seed, early=early).examine(GOOD, flawed(Flaw.VACUOUS, VAGUE, seed))
    assert good.accepted, good.reason
    assert not vacuous.accepted, vacuous.reason


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_flawed_rubric_replaces_the_good_one(seed: int) -> None:
    for report in await Collapsed(GOOD, seed).examine(*(flawed(flaw, GOOD, seed) for flaw in Flaw)):
        assert not report.accepted, report.reason


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_meta_step_leads_out_of_it(seed: int) -> None:
    done = await Collapsed(VAGUE, seed).step(WorldMeta())
    assert done.decision is Decision.ADOPTED, done.reason
    assert done.child is not None
    assert done.child.rubric.criterion("reasons") is not None
    assert done.evidence, "what spoke for it is kept"


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_meta_step_adopts_nothing_empty(seed: int) -> None:
    """Every rubric of this meta model is flawed; half of a good one is still better than a vague one."""
    done = await Collapsed(VAGUE, seed).step(FlawedMeta(flaw=1.0, seed=seed))
    found = set(flaws_in((e.prompt for e in done.exchanges), flaw=1.0, seed=seed))
    assert found <= set(Flaw)
    if done.decision is Decision.ADOPTED:
        assert Flaw.DROPPED in found
        assert done.child is not None
        assert len(done.child.rubric.criteria) > 1 or done.child.rubric.criterion("reasons")
        assert done.child.rubric.criterion("overall-impression") is None
        assert done.child.rubric.criterion("overall") is None
    else:
        assert done.decision is Decision.REJECTED

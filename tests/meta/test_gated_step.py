"""The meta step behind a gate: which proposals it makes, which one it takes, and when it goes back."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.audit.detectors import Detector
from metapo.judge.judge import Assessment
from metapo.meta.conversation import MetaModel, Stage
from metapo.meta.gate import Check
from metapo.meta.select import Evidence
from metapo.meta.settings import MPO, ExamSettings, GateSettings, MetaSettings
from metapo.meta.step import Decision, MetaStep, Reviser, Senses
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Level, Revision, Rubric
from metapo.world.anchors import world_anchors
from metapo.world.flaws import FlawedMeta
from metapo.world.meta import WorldMeta
from tests.meta.rollouts import reward
from tests.meta.seers import TOP, Merger, Seer, revision, sees

RIGHT, COARSE, BLIND, WRONG = (sees(name) for name in ("right", "coarse", "blind", "wrong"))
SMALL = MetaSettings(samples=6, exam=ExamSettings(written_attacks=1))


async def step(
    meta: WorldMeta,
    *criteria: Criterion,
    limits: MetaSettings = SMALL,
    former: Revision | None = None,
    evidence: Evidence | None = None,
    seer: Seer | None = None,
) -> MetaStep:
    """A meta step from a parent of these criteria, by default a blind one."""
    parent, seer = revision(*(criteria or (BLIND,))), seer or Seer()
    reviser = Reviser(MetaModel(meta, "Write an essay.", limits, "merger"))
    return await reviser.step(
        parent,
        seer.evidence(parent.rubric) if evidence is None else evidence,
        step=10,
        rng=Random(0),
        senses=Senses(seer.appraise),
        known=world_anchors(),
        former=former,
    )


def names(child: Revision | None) -> list[str]:
    assert child is not None
    return [c.id for c in child.rubric.criteria]


def stages(done: MetaStep) -> set[Stage]:
    return {exchange.stage for exchange in done.exchanges}


async def test_a_proposal_that_judges_better_is_adopted_with_what_spoke_for_it() -> None:
    done = await step(Merger([RIGHT]))
    assert (done.decision, names(done.child)) == (Decision.ADOPTED, ["right"])
    assert "(form: valid; fresh: " in done.reason
    report = done.proposals[0].report
    assert report is not None
    assert [f.check for f in report.findings] == list(Check)
    assert report.fresh is not None
    assert done.evidence, "blind ties all pairs, so each that right orders was won"
    assert set(done.evidence) <= set(report.fresh.pairs)


async def test_a_proposal_that_judges_worse_is_refused_and_kept_with_the_reason() -> None:
    done = await step(Merger([WRONG], repair=[WRONG]))
    assert (done.decision, names(done.child)) == (Decision.REJECTED, ["wrong"])
    assert "fresh: " in done.reason
    assert done.evidence == ()
    assert not any(p.accepted for p in done.proposals)


async def test_the_best_of_several_candidates_is_adopted() -> None:
    done = await step(Merger([WRONG], [RIGHT]))
    assert names(done.child) == ["right"]
    assert [(names(p.revision), p.accepted) for p in done.proposals] == [(["wrong"], False), (["right"], True)]
    both = await step(Merger([COARSE], [RIGHT]))
    assert [p.accepted for p in both.proposals] == [True, True]
    assert names(both.child) == ["right"], "it gains more"
    assert names((await step(Merger([RIGHT], [COARSE]))).child) == ["right"]


async def test_one_candidate_is_merged_where_one_is_asked_for() -> None:
    done = await step(Merger([WRONG], [RIGHT]), limits=SMALL.model_copy(update={"candidates": 1, "repair": False}))
    assert [names(p.revision) for p in done.proposals] == [["wrong"]]


async def test_a_refused_proposal_is_repaired_once_with_the_reason() -> None:
    done = await step(Merger([WRONG], repair=[RIGHT]))
    assert (done.decision, names(done.child)) == (Decision.ADOPTED, ["right"])
    refused, repaired = done.proposals
    assert (refused.accepted, refused.repairs) == (False, None)
    assert (repaired.accepted, repaired.repairs) == (True, 0)
    assert refused.report is not None
    assert repaired.revision.reason.startswith("proposal 0 repaired")
    asked = next(e.prompt for e in done.exchanges if e.stage is Stage.REPAIR)
    assert refused.report.reason in asked


async def test_nothing_is_repaired_where_something_was_accepted_or_repair_is_off() -> None:
    assert Stage.REPAIR not in stages(await step(Merger([WRONG], [RIGHT], repair=[COARSE])))
    off = await step(Merger([WRONG], repair=[RIGHT]), limits=SMALL.model_copy(update={"repair": False}))
    assert off.decision is Decision.REJECTED
    assert Stage.REPAIR not in stages(off)


async def test_a_repair_that_changes_nothing_is_not_examined_again() -> None:
    seer = Seer()
    done = await step(Merger([WRONG], repair=[BLIND]), seer=seer)
    assert [names(p.revision) for p in done.proposals] == [["wrong"]], "blind is the parent itself"


async def test_a_criterion_against_the_known_order_is_left_out_of_a_leaner_proposal() -> None:
    done = await step(Merger([sees("right", weight=3.0), WRONG]))
    assert [names(p.revision) for p in done.proposals[:2]] == [["right", "wrong"], ["right"]]
    assert (done.decision, names(done.child)) == (Decision.ADOPTED, ["right"])
    assert "retired 'wrong'" in done.reason


async def test_a_revision_that_judges_new_rollouts_worse_gives_its_place_back() -> None:
    former = revision(RIGHT)
    done = await step(Merger([COARSE]), WRONG, former=former)
    assert done.decision is Decision.ROLLED_BACK
    assert done.child is not None
    assert (done.child.rubric, done.child.parents) == (former.rubric, (done.parent_id,))
    assert done.reason.startswith(f"back to {former.short_id}: ")
    assert not stages(done) & {Stage.ANALYZE, Stage.MERGE}, "nothing else is asked"


@pytest.mark.parametrize(
    ("parent", "former", "limits"),
    [
        (RIGHT, WRONG, SMALL),
        (RIGHT, sees("right", weight=2.0), SMALL),
        (WRONG, RIGHT, SMALL.model_copy(update={"rollback": False})),
    ],
    ids=["worse", "no better", "off"],
)
async def test_there_is_no_way_back_to_what_is_no_better(
    parent: Criterion, former: Criterion, limits: MetaSettings
) -> None:
    done = await step(Merger([COARSE]), parent, former=revision(former), limits=limits)
    assert done.decision is not Decision.ROLLED_BACK


async def test_proposals_do_not_see_what_examines_them() -> None:
    evidence = Seer().evidence(Rubric(criteria=(BLIND,)))
    done = await step(Merger([RIGHT]), evidence=evidence, limits=SMALL.model_copy(update={"samples": 200}))
    shown = {s.scored.rollout.prompt for s in done.samples}
    report = done.proposals[0].report
    assert report is not None
    assert report.fresh is not None
    assert shown
    assert shown.isdisjoint(pair.prompt for pair in report.fresh.pairs if pair.source != "exemplar")


@pytest.mark.parametrize(("select", "told"), [("mixed", True), ("random", False)])
async def test_the_meta_model_is_told_who_repeats_the_rubric_in_force(select: str, told: bool) -> None:
    top = Level(points=TOP, description="supports every reason with evidence from several independent sources")
    asking = RIGHT.model_copy(update={"levels": (*RIGHT.levels[:-1], top)})
    seer, judged_by = Seer(), Rubric(criteria=(asking,))
    parrots = [
        seer.score(
            judged_by, Rollout(prompt=s.rollout.prompt, completion=f"{s.rollout.completion} It {top.description}.")
        )
        for s in seer.evidence(judged_by).recent
    ]
    limits = MetaSettings.model_validate({"method": "mpo", "select": select, "samples": 4})
    done = await step(Merger([RIGHT]), asking, limits=limits, evidence=Evidence(parrots))
    flagged = [Detector.RUBRIC_PARROTING in sample.flags for sample in done.samples]
    assert flagged == [told] * 4
    asked = [e.prompt for e in done.exchanges if e.stage is Stage.ANALYZE]
    assert ["- rubric parroting: " in prompt for prompt in asked] == [told] * 4


async def test_as_published_every_rollout_may_be_read_nothing_is_examined_and_all_is_adopted() -> None:
    seer = Seer()
    as_published = MetaSettings.model_validate({"method": "mpo", "samples": 80})
    assert as_published.gate is MPO["gate"] is None
    done = await step(Merger([WRONG]), limits=as_published, former=revision(RIGHT), seer=seer)
    assert (done.decision, names(done.child)) == (Decision.ADOPTED, ["wrong"])
    assert seer.n_judged == 0
    assert sorted(s.scored.rollout.position for s in done.samples) == list(range(80))
    assert [p.report for p in done.proposals] == [None]
    assert stages(done) == {Stage.ANALYZE, Stage.REFINE, Stage.MERGE}


async def test_with_too_little_to_examine_nothing_changes() -> None:
    evidence = Seer().evidence(Rubric(criteria=(BLIND,)), n=2)
    few = SMALL.model_copy(update={"exam": ExamSettings(exemplars=0)})
    done = await step(Merger([RIGHT], repair=[RIGHT]), evidence=evidence, limits=few)
    assert done.decision is Decision.REJECTED
    assert "pairs of known order have verdicts, 8 are needed" in done.reason


async def test_without_rollouts_there_is_nothing_to_read() -> None:
    done = await step(Merger([RIGHT]), evidence=Evidence([]))
    assert (done.decision, done.reason) == (Decision.FAILED, "no scored training rollouts since the last meta step")


class Dice:
    """Judges by chance: the same rollout under the same rubric always alike."""

    def __init__(self, seed: int, share_unscored: float, n_levels: int) -> None:
        self._seed, self._share_unscored, self._n_levels = seed, share_unscored, n_levels

    async def appraise(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
        return [Scored(r, "", Assessment((), ()), reward(self._score(rubric, r))) for r in rollouts]

    def _score(self, rubric: Rubric, rollout: Rollout) -> float | None:
        rng = Random(f"{self._seed}/{rubric.digest}/{rollout.prompt}/{rollout.completion}")
        return None if rng.random() < self._share_unscored else rng.randrange(self._n_levels) / self._n_levels


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share_unscored=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    n_levels=st.sampled_from([1, 2, 50]),
    flaw=st.sampled_from([0.0, 0.5, 1.0]),
    checks=st.fixed_dictionaries({check: st.booleans() for check in ("fresh", "anchors", "attack")}),
    n=st.sampled_from([1, 7, 48]),
)
def test_whatever_the_judge_says_nothing_is_adopted_that_a_check_refused(
    seed: int, share_unscored: float, n_levels: int, flaw: float, checks: dict[str, bool], n: int
) -> None:
    start = Rubric(criteria=(sees("blind"),))
    limits = MetaSettings(samples=4, gate=GateSettings.model_validate(checks | {"max_pairs": 16}), exam=SMALL.exam)
    reviser = Reviser(MetaModel(FlawedMeta(flaw=flaw, seed=seed), "Write an essay.", limits))
    done = asyncio.run(
        reviser.step(
            revision(*start.criteria),
            Seer().evidence(start, n=n, seed=seed),
            step=10,
            rng=Random(seed),
            senses=Senses(Dice(seed, share_unscored, n_levels).appraise),
            known=world_anchors(),
            former=revision(RIGHT),
        )
    )
    for proposal in done.proposals:
        assert proposal.report is not None
        findings = proposal.report.findings
        assert proposal.accepted is all(f.passed for f in findings)
        assert all(f.passed for f in findings[:-1]), "a check that fails is the last one"
        assert all(f.detail for f in findings)
    by_id = {p.revision.id: p for p in done.proposals}
    if done.decision is Decision.ADOPTED:
        assert done.child is not None
        taken = by_id[done.child.id]
        assert taken.report is not None
        assert {f.check for f in taken.report.findings} == {Check.FORM, *(Check(c) for c, on in checks.items() if on)}
        assert taken.report.accepted
    elif done.decision is Decision.REJECTED:
        assert done.child is not None
        assert not any(p.accepted for p in done.proposals)
        assert done.proposals
        assert done.evidence == ()
    assert done.reason

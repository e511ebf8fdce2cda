"""Which proposals of a meta step are flawed: told from records of real meta steps, and of merges asked by hand."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from metapo.judge.transport import ChatRequest
from metapo.meta.conversation import MetaModel
from metapo.meta.hygiene import tidy
from metapo.meta.propose import read
from metapo.meta.select import Evidence
from metapo.meta.step import Reviser, Senses
from metapo.records import meta_step_record
from metapo.reward import Scored
from metapo.rollout import Message, Rollout
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.store import BegunRecord, ExchangeRecord, MetaStepRecord, ProposalRecord
from metapo.world.flaws import Flaw, FlawedMeta, flaw_of
from metapo.world.ladders import LADDERS
from metapo.world.meta import WorldMeta
from metapo.world.presets import WorldSettings, arm_settings, preset_rubric
from metapo.world.spoilt import flawed_proposals
from tests.world.essays import REMARK, TITLE
from tests.world.test_meta import judged

SETTINGS = arm_settings("flawed-gate", seed=3).model_copy(update={"flaw": 1.0})
FULL = Rubric(criteria=tuple(LADDERS.values()))
PARENT = Revision(rubric=FULL, reason="given", proposer="person", step=0)
VAGUE = Revision(rubric=preset_rubric("iter0"), reason="given", proposer="person", step=0)


async def unasked(rubric: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
    raise AssertionError("without a gate nothing is examined")


async def ungated(seed: int) -> tuple[MetaStepRecord, WorldSettings]:
    """A meta step as published, under a meta model that is often flawed."""
    settings = arm_settings("flawed-nogate", seed=seed).model_copy(update={"flaw": 0.5})
    scored = await judged(VAGUE.rubric, [TITLE] * 12 + [f"{TITLE} {REMARK}"] * 4)
    model = MetaModel(FlawedMeta(flaw=0.5, seed=seed), "Write.", settings.meta)
    done = await Reviser(model).step(VAGUE, Evidence(scored), step=10, rng=Random(0), senses=Senses(unasked))
    return meta_step_record(BegunRecord(10, 10, "due"), done, done.decision.value, 0.1), settings


async def test_real_meta_steps_tell_their_flaws() -> None:
    seen = set()
    for seed in range(24):
        record, settings = await ungated(seed)
        found = flawed_proposals(record, VAGUE, settings)
        names = [c.name for p in record.proposals for c in p.revision.rubric.criteria]
        if names == ["Overall impression"]:
            assert [p.flaw for p in found] == [Flaw.VACUOUS]
        elif "Readability" in names:
            assert [p.flaw for p in found] == [Flaw.PADDED]
        assert all(p.step == 10 and p.accepted and p.adopted and p.n_parent == 1 for p in found)
        assert [p.n_criteria for p in found] in ([], [len(names)])
        seen |= {p.flaw for p in found} or {None}
    assert seen == {None, Flaw.VACUOUS, Flaw.PADDED}, "half of a new rubric takes nothing from a lone vague criterion"


# --- merges asked by hand


def merge_prompt(rubric: Rubric, number: int, stage: str = "merging") -> str:
    fenced = [f"~~~~~~~~ proposal {i}\n{render_rubric(rubric)}\n~~~~~~~~" for i in (1, 2)]
    rejected = f"~~~~~~~~ rejected proposal\n{render_rubric(VAGUE.rubric)}\n~~~~~~~~"
    return "\n".join([f"Stage: {stage}, number of criteria", str(number), render_rubric(rubric), *fenced, rejected])


def flawed(flaw: Flaw, rubric: Rubric = FULL, stage: str = "merging") -> str:
    """A merge's first prompt for which that flaw is drawn."""
    return next(p for i in range(99) if flaw_of(p := merge_prompt(rubric, i, stage), flaw=1, seed=3) is flaw)


async def conversation(meta: WorldMeta, prompt: str) -> list[ExchangeRecord]:
    async def ask(*messages: str) -> str:
        request = ChatRequest(messages=tuple(Message(role="user", content=m) for m in messages), max_tokens=9)
        return (await meta.complete(request)).text

    stage = "merging" if "Stage: merging" in prompt else "repair"
    kept = "merge" if stage == "merging" else "repair"
    count = int(await ask(prompt))
    asked = [f"Stage: {stage}, criterion {i} of {count}" for i in range(1, count + 1)]
    items = [ExchangeRecord(kept, None, text, await ask(prompt, text)) for text in asked]
    return [ExchangeRecord(kept, None, prompt, str(count)), *items]


def written(exchanges: Sequence[ExchangeRecord]) -> Revision:
    text = "\n".join(["<rubric>", *(e.reply for e in exchanges[1:]), "</rubric>"])
    meta = SETTINGS.meta
    rubric, _ = tidy(FULL, read(text).criteria, meta.max_criteria, meta.max_words, meta.hygiene)
    return Revision(rubric=rubric, parents=(PARENT.id,), reason="merged", proposer="meta", step=10)


def record(
    exchanges: Sequence[ExchangeRecord], *proposals: ProposalRecord, child: Revision | None = None
) -> MetaStepRecord:
    decision = "adopted" if child else "rejected"
    first = ExchangeRecord("analyze", 0, "Stage: analysis", "The score is inflated.")
    return MetaStepRecord(
        10, 12, PARENT.id, child, decision, "", exchanges=(first, *exchanges), proposals=tuple(proposals)
    )


async def test_each_proposal_has_the_flaw_of_its_merge() -> None:
    meta = FlawedMeta(flaw=1, seed=3)
    merged = [await conversation(meta, flawed(flaw)) for flaw in (Flaw.DROPPED, Flaw.VACUOUS)]
    repaired = await conversation(meta, flawed(Flaw.PADDED, stage="repair"))
    revisions = [written(part) for part in (*merged, repaired)]
    proposals = [ProposalRecord(revision, accepted=i == 2) for i, revision in enumerate(revisions)]
    done = record([e for part in (*merged, repaired) for e in part], *proposals, child=revisions[2])
    found = flawed_proposals(done, PARENT, SETTINGS)
    assert [(p.flaw, p.accepted, p.adopted) for p in found] == [
        (Flaw.DROPPED, False, False),
        (Flaw.VACUOUS, False, False),
        (Flaw.PADDED, True, True),
    ]
    assert [p.n_criteria for p in found] == [len(LADDERS) // 2, 1, len(revisions[2].rubric.criteria)]
    assert {p.n_parent for p in found} == {len(LADDERS)}


async def test_a_leaner_proposal_has_the_flaw_of_the_one_before_it_unless_it_is_gone() -> None:
    meta = FlawedMeta(flaw=1, seed=3)
    for flaw, stays in ((Flaw.DROPPED, True), (Flaw.PADDED, False)):
        exchanges = await conversation(meta, flawed(flaw))
        whole = written(exchanges)
        kept = [c for c in whole.rubric.criteria if c.id in {k.id for k in FULL.criteria}][:-1]
        leaner = whole.model_copy(update={"rubric": Rubric(criteria=tuple(kept))})
        done = record(exchanges, ProposalRecord(whole, False), ProposalRecord(leaner, True))
        found = flawed_proposals(done, PARENT, SETTINGS)
        assert [(p.flaw, p.accepted) for p in found] == [(flaw, False), (flaw, True)][: 1 + stays]


async def test_a_flaw_that_changes_nothing_is_none() -> None:
    # Half of one criterion is that criterion.
    exchanges = await conversation(FlawedMeta(flaw=1, seed=3), flawed(Flaw.DROPPED, VAGUE.rubric))
    done = record(exchanges, ProposalRecord(written(exchanges), True))
    assert flawed_proposals(done, PARENT, SETTINGS) == []


async def test_half_of_a_rubric_is_no_loss_to_a_parent_with_less() -> None:
    exchanges = await conversation(FlawedMeta(flaw=1, seed=3), flawed(Flaw.DROPPED))
    halved = written(exchanges)
    done = record(exchanges, ProposalRecord(halved, True))
    assert len(flawed_proposals(done, PARENT, SETTINGS)) == 1
    small = PARENT.model_copy(update={"rubric": Rubric(criteria=FULL.criteria[: len(halved.rubric.criteria)])})
    assert flawed_proposals(done, small, SETTINGS) == []
    smaller = PARENT.model_copy(update={"rubric": VAGUE.rubric})
    assert flawed_proposals(done, smaller, SETTINGS) == []


async def test_an_honest_meta_model_has_no_flawed_proposals() -> None:
    exchanges = await conversation(WorldMeta(), merge_prompt(FULL, 0))
    done = record(exchanges, ProposalRecord(written(exchanges), True))
    assert flawed_proposals(done, PARENT, SETTINGS.model_copy(update={"flaw": 0.0})) == []
    assert flawed_proposals(replace(done, exchanges=()), PARENT, SETTINGS) == []

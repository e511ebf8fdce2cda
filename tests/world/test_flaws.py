"""The flawed meta model behind the real meta step: how often it is flawed, how, and that one can tell afterwards."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest

from metapo.judge.transport import ChatRequest
from metapo.meta.step import MetaStep
from metapo.rollout import Message
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import parse_rubric, render_rubric
from metapo.world.flaws import Flaw, FlawedMeta, flaw_of, flaws_in
from metapo.world.ladders import LADDERS
from metapo.world.meta import WorldMeta
from metapo.world.presets import preset_rubric
from tests.reviewer import revise
from tests.world.essays import REMARK, TITLE
from tests.world.test_meta import ITER0, judged

FULL = Rubric(criteria=tuple(LADDERS.values()))
POOR = [TITLE] * 12 + [f"{TITLE} {REMARK}"] * 4


def merge_prompt(rubric: Rubric, proposals: Sequence[Rubric], number: int = 0, stage: str = "merging") -> str:
    """The first message of a merge or a repair; `number` makes prompts differ."""
    fenced = [f"~~~~~~~~ proposal {i}\n{render_rubric(r)}\n~~~~~~~~" for i, r in enumerate(proposals, 1)]
    rejected = f"~~~~~~~~ rejected proposal\n{render_rubric(ITER0)}\n~~~~~~~~\n~~~~~~~~ reason\nworse\n~~~~~~~~"
    return "\n".join([f"Stage: {stage}, number of criteria", str(number), render_rubric(rubric), *fenced, rejected])


async def written(meta: WorldMeta, prompt: str, stage: str = "merging") -> Rubric:
    """The rubric that a meta model writes in one conversation."""

    async def ask(*messages: str) -> str:
        request = ChatRequest(messages=tuple(Message(role="user", content=m) for m in messages), max_tokens=9)
        return (await meta.complete(request)).text

    count = int(await ask(prompt))
    items = [await ask(prompt, f"Stage: {stage}, criterion {i} of {count}") for i in range(1, count + 1)]
    parsed = parse_rubric("\n".join(["<rubric>", *items, "</rubric>"]))
    assert parsed.problems == ()
    assert parsed.rubric is not None
    return parsed.rubric


def prompts(n: int, stage: str = "merging") -> list[str]:
    return [merge_prompt(FULL, [FULL, FULL], i, stage) for i in range(n)]


def test_flaws_come_at_their_rate_and_evenly() -> None:
    drawn = Counter(flaw_of(prompt, flaw=0.3, seed=1) for prompt in map(str, range(6000)))
    assert drawn[None] / 6000 == pytest.approx(0.7, abs=0.02)
    assert all(drawn[flaw] / 6000 == pytest.approx(0.1, abs=0.015) for flaw in Flaw)


def test_the_draw_hangs_on_prompt_and_seed_alone() -> None:
    many = [str(i) for i in range(200)]
    once, again, other = ([flaw_of(p, flaw=0.3, seed=seed) for p in many] for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert {flaw_of(p, flaw=0, seed=1) for p in many} == {None}
    assert {flaw_of(p, flaw=1, seed=1) for p in many} == {*Flaw}


@pytest.mark.parametrize("stage", ["merging", "repair"])
async def test_what_each_flaw_does(stage: str) -> None:
    seen = set()
    for prompt in prompts(24, stage):
        flaw = flaw_of(prompt, flaw=0.8, seed=3)
        rubric = await written(FlawedMeta(flaw=0.8, seed=3), prompt, stage)
        honest = await written(WorldMeta(), prompt, stage)
        if flaw is None:
            assert rubric == honest
        elif flaw is Flaw.VACUOUS:
            assert [c.name for c in rubric.criteria] == ["Overall impression"]
        elif flaw is Flaw.PADDED:
            assert rubric.criteria[: len(FULL.criteria)] == FULL.criteria
            assert len(rubric.criteria) == len(FULL.criteria) + 4
        else:
            assert len(rubric.criteria) == len(honest.criteria) // 2
            assert [c for c in honest.criteria if c in rubric.criteria] == [*rubric.criteria]
        seen.add(flaw)
    assert seen == {None, *Flaw}


async def test_padding_and_vagueness_check_nothing_and_are_easily_met() -> None:
    for flaw in (Flaw.VACUOUS, Flaw.PADDED):
        prompt = next(p for p in prompts(60) if flaw_of(p, flaw=1, seed=0) is flaw)
        rubric = await written(FlawedMeta(flaw=1, seed=0), prompt)
        added = Rubric(criteria=tuple(c for c in rubric.criteria if c not in FULL.criteria))
        scored = await judged(added, [TITLE] * 8)
        assert all(s.reward.normalized is not None and s.reward.normalized > 0.7 for s in scored)


async def test_one_criterion_alone_is_not_dropped() -> None:
    prompt = next(
        p
        for p in (merge_prompt(ITER0, [ITER0, ITER0], i) for i in range(90))
        if flaw_of(p, flaw=1, seed=0) is Flaw.DROPPED
    )
    assert await written(FlawedMeta(flaw=1, seed=0), prompt) == ITER0


async def test_without_flaws_it_is_the_worlds_meta_model() -> None:
    assert await steps(FlawedMeta(flaw=0)) == await steps(WorldMeta())


async def steps(meta: WorldMeta, n: int = 2) -> list[MetaStep]:
    parent = Revision(rubric=ITER0, reason="given", proposer="person", step=0)
    done = []
    for step in range(1, n + 1):
        scored = await judged(parent.rubric, POOR)
        done.append(await revise(meta, parent, scored, step=step, rng=Random(step)))
        parent = done[-1].child or parent
    return done


async def test_the_flaw_can_be_told_from_what_the_step_kept() -> None:
    told = set()
    for seed in range(24):
        [done] = await steps(FlawedMeta(flaw=0.8, seed=seed), 1)
        [flaw] = flaws_in([e.prompt for e in done.exchanges], flaw=0.8, seed=seed)
        assert done.child is not None
        names = [c.name for c in done.child.rubric.criteria]
        assert (flaw is Flaw.VACUOUS) == (names == ["Overall impression"])
        assert (flaw is Flaw.PADDED) == (names[1:] == ["Readability", "Effort", "Tone", "Language"])
        told.add(flaw)
    assert told == {None, *Flaw}


def test_each_rubric_of_a_meta_step_is_told_from_its_first_prompt() -> None:
    begun = [merge_prompt(FULL, [FULL], i, stage) for i, stage in enumerate(("merging", "merging", "repair"))]
    others = ["Stage: analysis", "Stage: merging, criterion 1 of 2", "Stage: splitting, number of criteria"]
    asked = [others[0], begun[0], others[1], begun[1], others[2], begun[2]]
    assert flaws_in(asked, flaw=0.5, seed=1) == [flaw_of(prompt, flaw=0.5, seed=1) for prompt in begun]


async def test_it_says_who_it_is() -> None:
    assert await FlawedMeta(flaw=0.3, seed=4).identify() == "flawed world-meta flaw=0.3 seed=4"
    assert preset_rubric("iter0") == ITER0

"""The meta model that only rewords: other words, another order, the same meaning to the judge."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.meta.step import Decision
from metapo.rubric import Criterion, Revision, Rubric
from metapo.world.judge import checked_level
from metapo.world.ladders import LADDERS, length_limit, reasons
from metapo.world.phrases import requirements
from metapo.world.presets import preset_rubric
from metapo.world.rewording import RewordingMeta, reword
from tests.reviewer import revise
from tests.world.essays import GOOD, REMARK, TITLE, essay, rngs, texts
from tests.world.test_meta import judged

RUBRICS = {name: preset_rubric(name) for name in ("iter0", "expert", "oracle")}
RUBRICS["full"] = Rubric(criteria=(*LADDERS.values(), reasons(4).model_copy(update={"id": "more"}), length_limit(9)))


def told(criterion: Criterion) -> tuple[object, ...]:
    """All of a criterion but its words."""
    data = criterion.model_dump(exclude={"instruction", "levels"})
    return *data.items(), [(level.points, level.example) for level in criterion.levels]


@given(st.sampled_from(sorted(RUBRICS)), rngs, st.integers(1, 5))
def test_the_judge_reads_the_same(name: str, rng: Random, n_times: int) -> None:
    """Level by level, so for every essay: an exact one asks for the same, a vague one stays vague."""
    rubric = criteria = RUBRICS[name].criteria
    for _ in range(n_times):
        criteria = reword(criteria, rng)
    after = {c.id: c for c in criteria}
    assert after.keys() == {c.id for c in rubric}
    for before in rubric:
        assert told(after[before.id]) == told(before)
        for old, new in zip(before.levels, after[before.id].levels, strict=True):
            assert requirements(new.description) == requirements(old.description)


@settings(max_examples=60)
@given(texts, rngs, st.sampled_from(sorted(RUBRICS)))
def test_verdicts_without_noise_are_the_same(text: str, rng: Random, name: str) -> None:
    after = {c.id: c for c in reword(RUBRICS[name].criteria, rng)}
    for before in RUBRICS[name].criteria:
        assert checked_level(after[before.id], essay(text)) == checked_level(before, essay(text))


def test_words_do_change() -> None:
    [reworded] = reword(RUBRICS["iter0"].criteria, Random(1))
    [plain] = RUBRICS["iter0"].criteria
    assert reworded.instruction != plain.instruction
    assert [a.description != b.description for a, b in zip(reworded.levels, plain.levels, strict=True)] == [True] * 6
    assert len({level.description for level in reworded.levels}) == 6


def test_exact_phrases_are_said_in_other_words_too() -> None:
    words = {c.levels[-1].description for i in range(20) for c in reword((reasons(2),), Random(i))}
    tail = "about the assigned topic for the assigned side"
    assert words == {f"2 distinct reasons {tail}", f"2 or more distinct reasons {tail}"}


def test_words_come_back() -> None:
    """Nothing is lost on the way: every wording leads to every other."""
    seen, criteria, rng = set(), RUBRICS["iter0"].criteria, Random(0)
    for _ in range(60):
        criteria = reword(criteria, rng)
        seen.add(criteria[0].instruction)
    assert RUBRICS["iter0"].criteria[0].instruction in seen
    assert len(seen) == 9


def test_the_order_changes() -> None:
    orders = {tuple(c.id for c in reword(RUBRICS["oracle"].criteria, Random(i))) for i in range(20)}
    assert len(orders) > 10


@pytest.mark.parametrize("name", ["iter0", "oracle"])
@pytest.mark.parametrize("text", [TITLE, GOOD, f"{TITLE} {REMARK}"])
async def test_every_meta_step_brings_a_new_wording_and_no_new_meaning(name: str, text: str) -> None:
    parent = Revision(rubric=RUBRICS[name], reason="given", proposer="person", step=0)
    meta = RewordingMeta(seed=2)
    seen = {parent.rubric.digest}
    for step in (1, 2, 3):
        done = await revise(meta, parent, await judged(parent.rubric, [text] * 4), step=step, rng=Random(step))
        assert done.decision is Decision.ADOPTED
        assert done.child is not None
        parent = done.child
        seen.add(parent.rubric.digest)
        assert {c.id: told(c) for c in parent.rubric.criteria} == {c.id: told(c) for c in RUBRICS[name].criteria}
    assert len(seen) == 4


async def test_the_same_seed_rewords_alike() -> None:
    parent = Revision(rubric=RUBRICS["oracle"], reason="given", proposer="person", step=0)
    scored = await judged(parent.rubric, [TITLE] * 3)

    async def child(seed: int) -> Revision | None:
        meta = RewordingMeta(seed=seed)
        return (await revise(meta, parent, scored, step=1, rng=Random(0))).child

    assert await child(1) == await child(1)
    assert await child(1) != await child(2)
    assert await RewordingMeta(seed=3).identify() == "rewording world-meta seed=3"

"""Pairs of essays as the world's meta model makes them, asked as a server would be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import ChatRejected
from metapo.judge.template import fence
from metapo.judge.transport import ChatRequest
from metapo.rollout import Message
from metapo.rubric import Rubric
from metapo.rubric_text import render_rubric
from metapo.world import corpus
from metapo.world.essay import Role, essay_of
from metapo.world.gold import gold
from metapo.world.judge import checked_level
from metapo.world.ladders import LADDERS, reasons
from metapo.world.meta import WorldMeta
from metapo.world.presets import preset_rubric
from metapo.world.symptoms import symptoms
from tests.world.essays import (
    COUNTER,
    GOOD,
    NONSENSE,
    PROMPT,
    REBUTTAL,
    REMARK,
    THESIS,
    TITLE,
    texts,
    with_extra,
    without,
)
from tests.world.test_meta import judged

FULL = Rubric(criteria=(reasons(4), *(c for c in LADDERS.values() if c.id != "reasons")))
PROMPTS = corpus.prompts(held_out=False) + corpus.prompts(held_out=True)


async def ask(text: str) -> str:
    request = ChatRequest(messages=(Message(role="user", content=text),), max_tokens=9)
    return (await WorldMeta().complete(request)).text


async def better(one: str, other: str) -> str:
    fences = [fence("prompt", PROMPT), fence("completion A", one), fence("completion B", other)]
    return (await ask("\n\n".join(["Stage: comparison", *fences]))).split()[-1]


@pytest.mark.parametrize(
    ("one", "other", "letter"),
    [
        (GOOD, TITLE, "A"),
        (TITLE, GOOD, "B"),
        (GOOD, GOOD, "T"),
        (GOOD, without(TITLE), "A"),
        (GOOD, with_extra(NONSENSE), "T"),
        (GOOD, with_extra(REMARK), "A"),
        (without(COUNTER, REBUTTAL), GOOD, "B"),
        (without(THESIS), without(COUNTER, REBUTTAL), "A"),
        ("", TITLE, "B"),
    ],
)
async def test_the_better_one_has_fewer_and_lighter_symptoms(one: str, other: str, letter: str) -> None:
    assert await better(one, other) == letter


@given(texts, texts)
async def test_the_order_of_the_two_is_irrelevant(one: str, other: str) -> None:
    mirrored = {"A": "B", "B": "A", "T": "T"}
    assert await better(other, one) == mirrored[await better(one, other)]


@given(st.sampled_from(PROMPTS))
async def test_an_exemplar_has_no_symptom_and_is_perfect(prompt: str) -> None:
    text = await ask(f"Stage: exemplar\n\n{fence('prompt', prompt)}")
    written = essay_of(prompt, text)
    assert symptoms(written) == []
    assert gold(written) == pytest.approx(1.0)
    assert text == await ask(f"Stage: exemplar\n\n{fence('prompt', prompt)}")


async def test_exemplars_are_not_all_alike() -> None:
    assert len({await ask(f"Stage: exemplar\n\n{fence('prompt', prompt)}") for prompt in PROMPTS}) == len(PROMPTS)


async def test_an_exemplar_gets_full_marks_under_the_whole_rubric() -> None:
    essay = essay_of(PROMPT, await ask(f"Stage: exemplar\n\n{fence('prompt', PROMPT)}"))
    assert [checked_level(c, essay) for c in FULL.criteria] == [len(c.levels) - 1 for c in FULL.criteria]


async def attack(rubric: Rubric, prompt: str = PROMPT) -> str:
    return await ask(f"Stage: attack\n\n{render_rubric(rubric)}\n\n{fence('prompt', prompt)}")


@pytest.mark.parametrize("name", ["iter0", "expert", "oracle"])
async def test_an_attack_is_a_bad_essay(name: str) -> None:
    assert gold(essay_of(PROMPT, await attack(preset_rubric(name)))) < 0.25


async def test_an_attack_on_a_vague_rubric_beats_a_good_essay() -> None:
    rubric = preset_rubric("iter0")
    bad = await attack(rubric)
    assert [s.role for s in essay_of(PROMPT, bad).sentences] == [Role.TITLE, Role.REMARK]
    scored = await judged(rubric, [bad] * 20 + [GOOD] * 20)
    points = [s.reward.raw or 0 for s in scored]
    assert sum(points[:20]) > sum(points[20:])


async def test_an_attack_uses_what_the_rubric_does_not_forbid() -> None:
    loose = Rubric(criteria=tuple(c for c in FULL.criteria if c.id != "grader"))
    remarks = [essay_of(PROMPT, await attack(rubric)).of(Role.REMARK) for rubric in (loose, FULL)]
    assert [len(found) for found in remarks] == [1, 0]
    repeated = essay_of(PROMPT, await attack(FULL))
    assert repeated.n_repeats == 3


async def test_a_rubric_inside_the_completion_is_no_rubric() -> None:
    """The block that counts is the first, above the fences."""
    prompt = f"Stage: attack\n\n{render_rubric(FULL)}\n\n{fence('prompt', PROMPT)}\n\n{fence('completion', FAKE)}"
    assert await ask(prompt) == await attack(FULL)


FAKE = render_rubric(preset_rubric("iter0"))


@pytest.mark.parametrize("stage", ["comparison", "exemplar", "attack"])
async def test_without_a_prompt_of_this_world_there_is_no_answer(stage: str) -> None:
    with pytest.raises(ChatRejected, match="needs a fenced prompt"):
        await ask(f"Stage: {stage}")
    with pytest.raises(ChatRejected, match="not a prompt of the offline world"):
        await ask(f"Stage: {stage}\n{fence('prompt', 'Write a poem.')}")
    with pytest.raises(ChatRejected, match="needs a fenced completion A"):
        await ask(f"Stage: comparison\n{fence('prompt', PROMPT)}")

"""What a run is made of, by its settings."""

from typing import Any

import pytest

from metapo.judge.transport import ChatRequest
from metapo.rollout import Message
from metapo.rubric_text import render_rubric
from metapo.world.arms import build_meta
from metapo.world.flaws import FlawedMeta
from metapo.world.meta import WorldMeta
from metapo.world.presets import WorldSettings, arm_settings, preset_rubric
from metapo.world.rewording import RewordingMeta
from tests.world.essays import GOOD, PROMPT, REASONS


def arm(name: str, **changes: Any) -> WorldSettings:
    return arm_settings(name, seed=3).model_copy(update=changes)


@pytest.mark.parametrize(
    ("name", "kind", "identity"),
    [
        ("mpo", WorldMeta, "world-meta"),
        ("flawed-nogate", FlawedMeta, "flawed world-meta flaw=0.3 seed=3"),
        ("null-rewrite", RewordingMeta, "rewording world-meta seed=3"),
    ],
)
async def test_each_arm_has_its_meta_model(name: str, kind: type[WorldMeta], identity: str) -> None:
    meta = build_meta(arm(name))
    assert (type(meta), await meta.identify()) == (kind, identity)


async def refined(settings: WorldSettings, completion: str) -> str:
    """The criteria to which the settings' meta model refines oracle's rubric after one inflated completion."""
    first = "\n".join(
        [
            "Stage: analysis",
            render_rubric(preset_rubric("oracle")),
            f"~~~~~~~~ prompt\n{PROMPT}\n~~~~~~~~\n~~~~~~~~ completion\n{completion}\n~~~~~~~~",
            "Score: 8 points; the rubric gives from -10 to 8. That is 1.00 of its range.",
        ]
    )

    async def ask(newest: str) -> str:
        messages = tuple(Message(role="user", content=text) for text in (first, newest))
        return (await build_meta(settings).complete(ChatRequest(messages=messages, max_tokens=9))).text

    count = int(await ask("Stage: refinement, number of criteria"))
    items = [await ask(f"Stage: refinement, criterion {i} of {count}") for i in range(1, count + 1)]
    return "\n".join(items)


@pytest.mark.parametrize("meta_model", ["rules", "flawed"])
async def test_its_meta_model_is_told_what_the_world_is_like(meta_model: str) -> None:
    counter = "mentions a counterargument about the assigned topic"
    usual = await refined(arm("mpo", meta_model=meta_model), REASONS[0])
    strict = await refined(arm("mpo", meta_model=meta_model, strict=True), REASONS[0])
    assert (counter in usual, "answers the counterargument" in usual) == (True, True)
    assert (counter in strict, "answers the counterargument" in strict) == (True, False)
    long = " ".join([GOOD] * 2)
    assert "at most 9 sentences" in await refined(arm("mpo", meta_model=meta_model, tires_after=9), long)
    assert "sentences" not in (await refined(arm("mpo", meta_model=meta_model), long)).replace("every sentence", "")

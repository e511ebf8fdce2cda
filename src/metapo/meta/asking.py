"""Pairs that only a meta model can make: it compares completions, writes a good one, and writes a bad one that a
rubric would reward."""

from collections.abc import Sequence

from metapo.aio import each
from metapo.judge.neutral import neutralize, shorten
from metapo.judge.parse import last_choice, without_reasoning
from metapo.judge.template import fence, load_template
from metapo.meta.conversation import Exchange, MetaModel, Stage, attempt
from metapo.meta.damage import same_words
from metapo.meta.pairs import Pair, Source, flags, make_pair
from metapo.rollout import Rollout
from metapo.rubric import Rubric
from metapo.rubric_text import render_rubric

MAX_CHARS = 20_000  # of a completion; a longer one is shown without its middle
AT_ONCE = 16


async def compare(
    model: MetaModel, pairs_of_rollouts: Sequence[tuple[Rollout, Rollout]], log: list[Exchange]
) -> list[Pair]:
    """The pairs of rollouts, each of one prompt, of which the meta model prefers the same one in both orders.

    Two requests a pair; one that fails, a tie and a preference for a place leave no pair. Raises ChatMisconfigured.
    """
    pairs = [(a, b) for a, b in pairs_of_rollouts if not same_words(a.completion, b.completion)]
    prompts = [_comparison(model, *shown) for a, b in pairs for shown in ((a, b), (b, a))]
    choices = [
        last_choice(without_reasoning(reply or "")) for reply in await _ask_each(model, Stage.COMPARE, prompts, log)
    ]
    found = []
    for (a, b), forth, back in zip(pairs, choices[::2], choices[1::2], strict=True):
        if (forth, back) in (("A", "B"), ("B", "A")):
            better, worse = (a, b) if forth == "A" else (b, a)
            why = "the meta model prefers it in both orders"
            found.append(make_pair(a, better.completion, worse.completion, Source.COMPARED, why))
    return found


async def exemplify(model: MetaModel, rollouts: Sequence[Rollout], log: list[Exchange]) -> list[Rollout]:
    """One rollout with a good completion by the meta model for each distinct prompt that got one.

    Of the given rollouts only prompt and reference are shown. A reply that a detector flags is no exemplar, unless
    for its length. Raises ChatMisconfigured.
    """
    asked = list({r.prompt: r for r in rollouts}.values())
    template = load_template("metapo.meta", "exemplify")
    prompts = [template.render(task=model.task, material="\n\n".join(_given(r))) for r in asked]
    written = _with_completions(asked, await _ask_each(model, Stage.EXEMPLIFY, prompts, log))
    return [exemplar for _, exemplar in written if not flags(exemplar)]


async def write_attacks(
    model: MetaModel, rubric: Rubric, rollouts: Sequence[Rollout], log: list[Exchange]
) -> list[Pair]:
    """Each rollout above a text by the meta model that is meant to be bad and to score high under `rubric`.

    A model told to write badly may write well, so only those count that it finds worse than the rollout, without
    the rubric, in both orders: three requests a rollout. Raises ChatMisconfigured.
    """
    template = load_template("metapo.meta", "attack")
    prompts = [
        template.render(
            task=model.task,
            rubric=render_rubric(rubric),
            material="\n\n".join([*_given(r), _shown("completion", r)]),
        )
        for r in rollouts
    ]
    written = _with_completions(rollouts, await _ask_each(model, Stage.ATTACK, prompts, log))
    attacks = {attack.completion for _, attack in written}
    why = "the worse one was written by the meta model to please the rubric"
    return [
        pair.model_copy(update={"source": Source.ATTACK, "why": why})
        for pair in await compare(model, written, log)
        if pair.worse in attacks
    ]


async def _ask_each(model: MetaModel, stage: Stage, prompts: Sequence[str], log: list[Exchange]) -> list[str | None]:
    """One reply for each prompt, None where the request failed; the exchanges are logged in the prompts' order."""
    logs: list[list[Exchange]] = [[] for _ in prompts]
    try:
        return await each(lambda i: attempt(model.talk(stage, logs[i]).ask(prompts[i])), range(len(prompts)), AT_ONCE)
    finally:
        for part in logs:
            log.extend(part)


def _comparison(model: MetaModel, first: Rollout, second: Rollout) -> str:
    material = [*_given(first), _shown("completion A", first), _shown("completion B", second)]
    return load_template("metapo.meta", "compare").render(task=model.task, material="\n\n".join(material))


def _given(rollout: Rollout) -> list[str]:
    material = [fence("prompt", neutralize(rollout.prompt))]
    if rollout.reference is not None:
        material.append(fence("reference solution", neutralize(rollout.reference)))
    return material


def _shown(label: str, rollout: Rollout) -> str:
    return fence(label, shorten(neutralize(rollout.completion), MAX_CHARS).text)


def _with_completions(rollouts: Sequence[Rollout], replies: Sequence[str | None]) -> list[tuple[Rollout, Rollout]]:
    """Each rollout that got a reply, with the same rollout whose completion is that reply."""
    return [
        (rollout, rollout.model_copy(update={"completion": text}))
        for rollout, reply in zip(rollouts, replies, strict=True)
        if reply and (text := neutralize(without_reasoning(reply)).strip())
    ]

"""A few real requests to the judge, so that an estimate need not assume what they show."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from metapo.aio import each
from metapo.errors import ChatError
from metapo.judge.judge import Judge
from metapo.judge.transport import Transport
from metapo.preflight.ranges import Range
from metapo.preflight.tokens import Assumptions
from metapo.rollout import Prompt, Rollout
from metapo.settings import Settings

TRIES = 1


async def measure(
    settings: Settings, prompts: Sequence[Prompt], transport: Transport, told: Assumptions, n: int
) -> Assumptions:
    """`told` with the seconds, the characters per token and the tokens per reply that `n` completions judged at once
    show: texts as long as the policy's, made of words of their prompts. Raises ChatError where none has a reply."""
    asking = settings.judging.model_copy(update={"cache": False, "first": "nothing", "max_attempts": TRIES})
    judge = Judge(transport, task=settings.judge_task, settings=asking)
    n_chars = round(told.completion_tokens.high * told.chars_per_token.high)
    rollouts = [_filled(prompt, n_chars) for prompt in islice(cycle(prompts), n)]
    assessments = await each(lambda rollout: judge.assess(settings.rubric, rollout), rollouts)
    asked = [
        (len(text), call.reply)
        for rollout, assessment in zip(rollouts, assessments, strict=True)
        for text, call in zip(judge.prompts(settings.rubric, rollout), assessment.calls, strict=False)
    ]
    replies = [(n_chars, reply) for n_chars, reply in asked if reply is not None]
    if not replies:
        raise ChatError(f"none of {n} requests to {settings.judge.where} had a reply: try metapo judge check on it")
    ratios = [n_chars / reply.prompt_tokens for n_chars, reply in replies if reply.prompt_tokens]
    written = [float(reply.completion_tokens) for _, reply in replies if reply.completion_tokens]
    return replace(
        told,
        judge_s=_of([reply.latency_s for _, reply in replies]),
        chars_per_token=_of(ratios) if ratios else told.chars_per_token,
        reply_tokens=_of(written) if written else told.reply_tokens,
    )


def _filled(prompt: Prompt, n_chars: int) -> Rollout:
    words = (prompt.text.split() or ["word"]) * (1 + n_chars // max(1, len(prompt.text)))
    return Rollout(prompt=prompt.text, completion=" ".join(words)[:n_chars], reference=prompt.reference)


def _of(figures: Sequence[float]) -> Range:
    return Range(min(figures), max(figures))

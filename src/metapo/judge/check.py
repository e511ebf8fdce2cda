"""Is this endpoint fit to judge? What it can do, found out by asking, and what that means for its user."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metapo.aio import each
from metapo.errors import ChatError, ChatTimeout, ChatTooLong
from metapo.judge.judge import Judge, JudgeSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.parse import without_reasoning
from metapo.judge.transport import ChatReply, ChatRequest, ChoiceForm
from metapo.rollout import Message, Rollout
from metapo.rubric import Criterion, Level, Rubric, Verdict

N_AT_ONCE = 16
PREFIX_WORDS = 1500
MIN_CACHED_SHARE = 0.5
MAX_CHARS = JudgeSettings().max_chars
CHARS_PER_TOKEN = 3  # at most so many are sent for each token of the context that the server reports
MAX_CHARS_PER_TOKEN = 8  # no tokenizer reads more of the long prompt in one token
REPLY_TOKENS = 512  # for models that think before they answer
_NAMES = ("Almond", "Birch", "Cedar", "Hazel", "Juniper", "Larch", "Maple", "Poplar", "Rowan", "Walnut")
_NAME = "Juniper"
_DAY = "On day {} the ferry left the harbour at noon and came back in the evening.\n"
_RAISE = "Raise its context, on Ollama with OLLAMA_CONTEXT_LENGTH or num_ctx"
_LEVELS = (
    Level(points=0, description="does not answer the prompt"),
    Level(points=1, description="answers a part of it"),
    Level(points=2, description="answers it in full and correctly"),
)
_TRIAL = Rubric(criteria=(Criterion(id="answers", name="Answers the prompt", levels=_LEVELS),))
_PROMPT = "Name the three primary colours of light."
_GOOD, _BAD = "Red, green and blue.", "I like trains."


class Mark(StrEnum):
    """What a finding means: all is well, it works but costs, or it does not work."""

    GOOD = "good"
    ADVICE = "advice"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing found out, and what to do about it where it isn't well."""

    name: str
    mark: Mark
    text: str


async def check(transport: OpenAITransport) -> AsyncIterator[Finding]:
    """Findings one by one, as they come in; the last is the verdict. Never raises a ChatError: it becomes a finding."""
    found: list[Finding] = []
    for step in (_reachable, _context, _schema, _logprobs, _prefix, _judging, _speed, _long_prompts):
        try:
            finding = await step(transport)
        except ChatError as e:
            finding = Finding(step.__name__.strip("_"), Mark.BAD, str(e))
        found.append(finding)
        yield finding
        if step is _reachable and finding.mark is Mark.BAD:
            break
    yield _verdict(found)


async def _reachable(transport: OpenAITransport) -> Finding:
    started = time.monotonic()
    who = await transport.identify()
    return Finding("reachable", Mark.GOOD, f"{who} answered in {time.monotonic() - started:.2f} s")


async def _context(transport: OpenAITransport) -> Finding:
    """What the server's list of models says; vLLM, SGLang and llama.cpp each have their own field."""
    entry = await _listed(transport)
    if entry is None:
        return Finding("context", Mark.ADVICE, "the server lists no models, so its context is unknown")
    meta = entry.get("meta")
    trained = meta.get("n_ctx_train") if isinstance(meta, dict) else None
    if isinstance(trained, int):
        text = f"the model was trained on {trained} tokens; how many this server takes is up to its -c"
        return Finding("context", Mark.ADVICE, text)
    if (length := await context_of(transport)) is None:
        return Finding("context", Mark.ADVICE, "the server does not say how long its context is")
    return Finding(
        "context", Mark.GOOD if length >= 4096 else Mark.ADVICE, f"{length} tokens for prompt and reply together"
    )


async def context_of(transport: OpenAITransport) -> int | None:
    """Tokens of prompt and reply together, where the server's list of models says how many it takes."""
    length = (await _listed(transport) or {}).get("max_model_len")
    return length if isinstance(length, int) else None


async def _listed(transport: OpenAITransport) -> dict[str, Any] | None:
    """The model as the server's list of models has it; None where there is no such list."""
    try:
        models = await transport.models()
    except (ChatError, ValueError):
        return None
    return next((m for m in models if m.get("id") == transport.endpoint.model), models[0] if models else {})


async def _schema(transport: OpenAITransport) -> Finding:
    found = await transport.capabilities.structured()
    if found == "json_schema":
        return Finding("json schema", Mark.GOOD, "replies are held to a JSON schema")
    weaker = "replies are JSON, in no certain shape" if found == "json_object" else "a schema is refused or ignored"
    return Finding(
        "json schema", Mark.ADVICE, f"{weaker}: replies are checked, and asked for again where they don't fit"
    )


async def _logprobs(transport: OpenAITransport) -> Finding:
    if await transport.capabilities.logprobs():
        return Finding("log-probabilities", Mark.GOOD, "reported: the mode expected can use them")
    return Finding(
        "log-probabilities", Mark.ADVICE, "not reported: the mode expected would count the named level alone"
    )


async def _prefix(transport: OpenAITransport) -> Finding:
    """The same long beginning twice: does the second request find it in the server's cache?"""
    beginning = " ".join(f"word{i}" for i in range(PREFIX_WORDS))
    replies = []
    for ending in ("One.", "Two."):
        message = Message(role="user", content=f"{beginning}\n{ending}")
        try:
            replies.append(await transport.complete(ChatRequest(messages=(message,), max_tokens=1)))
        except ChatTooLong:
            return Finding("prefix caching", Mark.ADVICE, f"{PREFIX_WORDS} words don't fit into the context")
    first, second = replies
    if second.cached_tokens is None or not second.prompt_tokens:
        ratio = second.latency_s / first.latency_s if first.latency_s else 1.0
        return Finding(
            "prefix caching",
            Mark.ADVICE,
            f"not reported; a second request with the same beginning took {ratio:.0%} of the first one's time. "
            "On vLLM, --enable-prompt-tokens-details reports it",
        )
    share = second.cached_tokens / second.prompt_tokens
    if share >= MIN_CACHED_SHARE:
        return Finding("prefix caching", Mark.GOOD, f"{share:.0%} of a shared prompt came from the cache")
    return Finding("prefix caching", Mark.ADVICE, "off or too small: each request computes the whole rubric again")


async def _judging(transport: OpenAITransport) -> Finding:
    """A trial under a rubric of one criterion: clear verdicts, and a good answer above a bad one."""
    judge = Judge(transport, task="Answer a question.", settings=JudgeSettings(rationales="never", max_tokens=512))
    points = []
    for completion in (_GOOD, _BAD):
        [outcome] = (await judge.assess(_TRIAL, Rollout(prompt=_PROMPT, completion=completion))).outcomes
        if not isinstance(outcome, Verdict):
            return Finding(
                "judging", Mark.BAD, f"a trial had no verdict ({outcome.reason.value}: {outcome.detail[:150]})"
            )
        points.append(outcome.points)
    if points[0] > points[1]:
        return Finding("judging", Mark.GOOD, f"a right answer got {points[0]} points of 2, a wrong one {points[1]}")
    return Finding(
        "judging", Mark.BAD, f"a right answer got {points[0]} points of 2, a wrong one {points[1]}: no judge of use"
    )


async def _speed(transport: OpenAITransport) -> Finding:
    judge = Judge(
        transport, task="Answer a question.", settings=JudgeSettings(rationales="never", cache=False, max_tokens=512)
    )
    rollouts = [Rollout(prompt=_PROMPT, completion=f"Red, green and {i} more.") for i in range(N_AT_ONCE)]
    started = time.monotonic()
    assessments = await each(lambda rollout: judge.assess(_TRIAL, rollout), rollouts)
    seconds = time.monotonic() - started
    latencies = sorted(c.reply.latency_s for a in assessments for c in a.calls if c.reply)
    n_scored = sum(not a.unscored for a in assessments)
    if n_scored < N_AT_ONCE:
        return Finding("speed", Mark.BAD, f"of {N_AT_ONCE} rollouts at once only {n_scored} had a verdict")
    return Finding(
        "speed",
        Mark.GOOD,
        f"{N_AT_ONCE} rollouts at once: {N_AT_ONCE / seconds:.1f} per second, half of the replies within "
        f"{latencies[len(latencies) // 2]:.2f} s",
    )


async def _long_prompts(transport: OpenAITransport) -> Finding:
    """Does the beginning of a prompt reach the model when it is as long as one with a completion of `MAX_CHARS`?"""
    length = await context_of(transport)
    fits = MAX_CHARS if length is None else (length - REPLY_TOKENS) * CHARS_PER_TOKEN
    text = _long_prompt(min(fits, MAX_CHARS))
    message = Message(role="user", content=text)
    try:
        reply = await transport.complete(
            ChatRequest(messages=(message,), max_tokens=REPLY_TOKENS, form=ChoiceForm(options=_NAMES))
        )
    except ChatTooLong:
        advice = f"{len(text)} characters don't fit into the context: longer completions are shown in part"
        return Finding("long prompts", Mark.ADVICE, advice)
    except ChatTimeout:
        advice = f"no answer to {len(text)} characters in time: set a smaller judging.max_chars or a larger timeout_s"
        return Finding("long prompts", Mark.ADVICE, advice)
    return _read_whole(reply, len(text))


def _long_prompt(n_chars: int) -> str:
    """A fact, `n_chars` characters about other things, and a question about the fact."""
    days = "".join(_DAY.format(i) for i in range(n_chars // len(_DAY)))
    return f"The ferry is called {_NAME}.\n{days[:n_chars]}\nWhat is the name of the ferry? Answer with the name alone."


def _read_whole(reply: ChatReply, n_chars: int) -> Finding:
    text = without_reasoning(reply.text)
    is_right = [name for name in _NAMES if name.lower() in text.lower()] == [_NAME]
    n_tokens = reply.prompt_tokens or 0
    if 0 < n_tokens < n_chars / MAX_CHARS_PER_TOKEN:
        cut = (
            f"the server reads only a part of a long prompt, {n_tokens} tokens of {n_chars} characters, without a word"
        )
        return Finding("long prompts", Mark.BAD, f"{cut}. {_RAISE}")
    if is_right:
        return Finding("long prompts", Mark.GOOD, f"{n_chars} characters are read from their beginning on")
    missed = f"what stands at the beginning of {n_chars} characters is not found (the answer was {text[:30]!r})"
    if n_tokens:
        advice = f"although {n_tokens} tokens were read: the model overlooks it, or the server cuts a little. {_RAISE}"
        return Finding("long prompts", Mark.ADVICE, f"{missed}, {advice}")
    return Finding("long prompts", Mark.BAD, f"{missed}: the server seems to cut long prompts without a word. {_RAISE}")


def _verdict(found: list[Finding]) -> Finding:
    bad = [f.name for f in found if f.mark is Mark.BAD]
    if bad:
        return Finding("verdict", Mark.BAD, f"not fit to judge: {', '.join(bad)}")
    advice = [f.name for f in found if f.mark is Mark.ADVICE]
    if advice:
        return Finding("verdict", Mark.ADVICE, f"fit to judge; worth a look: {', '.join(advice)}")
    return Finding("verdict", Mark.GOOD, "fit to judge")

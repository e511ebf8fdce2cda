"""Do the models that a run asks answer, and are they fit for it?"""

from collections.abc import AsyncIterator, Sequence

from metapo.engines.connect import open_transport
from metapo.errors import ChatError, MetapoError
from metapo.judge.check import CHARS_PER_TOKEN, Finding, Mark, check, context_of
from metapo.judge.endpoint import Endpoint, EndpointSettings
from metapo.judge.judge import Judge
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import PING, ScriptedTransport
from metapo.preflight.found import LEVEL_OF, Found, ok, problem, warning
from metapo.rollout import Prompt, Rollout
from metapo.settings import Settings, TrainSettings

DEADLINE_S = 30.0


async def models(settings: Settings, prompts: Sequence[Prompt]) -> AsyncIterator[Found]:
    """Judges, panel and monitor are asked what `metapo judge check` asks, the meta model for one token. Good findings
    are told in one line."""
    asked: list[Endpoint] = []
    for role, endpoint in _graders(settings):
        if endpoint in asked:
            continue
        asked.append(endpoint)
        async for found in _grader(role, endpoint, settings, prompts):
            yield found
    meta = settings.meta.endpoint
    if meta is not None and meta not in asked and settings.meta.every:
        yield await _answers("meta model", meta)


def _graders(settings: Settings) -> list[tuple[str, Endpoint]]:
    panel = [(f"panel {i}", e) for i, e in enumerate(settings.panel.judges, 1)] if settings.panel else []
    monitor = [("monitor", settings.monitor.judge)] if settings.monitor else []
    return [("judge", settings.judge), *panel, *monitor]


async def _grader(role: str, endpoint: Endpoint, settings: Settings, prompts: Sequence[Prompt]) -> AsyncIterator[Found]:
    if not isinstance(endpoint, EndpointSettings):
        yield _local(role, endpoint.where)
        return
    try:
        transport = OpenAITransport(_impatient(endpoint))
    except MetapoError as e:
        yield problem(role, e)
        return
    try:
        async for finding in check(transport):
            if finding.name == "reachable" or finding.mark is Mark.ADVICE or _is_news(finding):
                yield Found(LEVEL_OF[finding.mark], role, _told(finding))
        if too_long := await _too_long(transport, settings, prompts):
            yield warning(role, too_long)
    except ChatError as e:
        yield problem(role, e)
    finally:
        await transport.aclose()


def _is_news(finding: Finding) -> bool:
    """Bad, and not just the sum of what was told before; or the sum of what is good."""
    return (finding.mark is Mark.BAD) is not (finding.name == "verdict")


def _told(finding: Finding) -> str:
    return finding.text if finding.name in ("reachable", "verdict") else f"{finding.name}: {finding.text}"


async def _too_long(transport: OpenAITransport, settings: Settings, prompts: Sequence[Prompt]) -> str:
    """Why prompts don't fit into the judge's context with the longest completion, "" where all do or nobody knows."""
    context = await context_of(transport)
    if context is None or not prompts or not isinstance(settings, TrainSettings):
        return ""
    judge = Judge(ScriptedTransport(()), task=settings.judge_task, settings=settings.judging)
    longest = max(prompts, key=lambda prompt: len(prompt.text) + len(prompt.reference or ""))
    rollout = Rollout(prompt=longest.text, completion="", reference=longest.reference)
    n_asked = max(map(len, judge.prompts(settings.rubric, rollout))) // CHARS_PER_TOKEN
    n_all = n_asked + settings.engine.max_completion_tokens + settings.judging.max_tokens
    if n_all <= context:
        return ""
    return (
        f"the longest prompt takes some {n_asked} tokens with the rubric; with a completion of "
        f"{settings.engine.max_completion_tokens} and a reply of {settings.judging.max_tokens} that is more than its "
        f"context of {context}: completions will be shown without their middle. Serve it with more, or lower "
        "judging.max_tokens"
    )


async def _answers(role: str, endpoint: Endpoint) -> Found:
    if not isinstance(endpoint, EndpointSettings):
        return _local(role, endpoint.where)
    try:
        transport = open_transport(_impatient(endpoint))
        try:
            reply = await transport.complete(PING)
        finally:
            await transport.aclose()
    except MetapoError as e:
        return problem(role, e)
    return ok(role, f"{endpoint.model} at {endpoint.url} answered in {reply.latency_s:.2f} s")


def _impatient(endpoint: EndpointSettings) -> EndpointSettings:
    """The same, given up sooner than in a run: somebody is waiting."""
    deadline = min(endpoint.deadline_s, DEADLINE_S)
    return endpoint.model_copy(update={"deadline_s": deadline, "timeout_s": min(endpoint.timeout_s, deadline)})


def _local(role: str, model: str) -> Found:
    """A model in this process is not loaded for a check, only looked for."""
    try:
        from metapo.engines.models import load_tokenizer

        load_tokenizer(model)
    except MetapoError as e:
        return problem(role, e)
    return ok(role, f"{model} is there, for this process to load")

"""The transport and the judge against llama-server: real HTTP, real grammars, real slots; only the weights are random.

Skipped where `make llama-server` hasn't been run.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from metapo.errors import ChatTooLong
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import Judge, JudgeSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import ChatRequest, ChoiceForm, JsonForm
from metapo.rollout import Message, Rollout
from metapo.rubric import Verdict
from tests.helpers import criterion, rubric
from tests.real.servers import LlamaServer

N_SLOTS = 4
CONTEXT = 8192
LONG = 5000  # tokens that take the server several seconds
pytestmark = pytest.mark.skipif(bool(LlamaServer.missing()), reason=LlamaServer.missing())


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    with LlamaServer(n_slots=N_SLOTS, context=CONTEXT) as server:
        yield server


@asynccontextmanager
async def connected(server: LlamaServer, **settings: Any) -> AsyncIterator[OpenAITransport]:
    transport = OpenAITransport(EndpointSettings(url=server.url, model="tiny", **settings))
    try:
        yield transport
    finally:
        await transport.aclose()


def request(text: str, max_tokens: int = 64, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=text),), max_tokens=max_tokens, **fields)


def busy(server: LlamaServer) -> int:
    """How many slots work on something."""
    return sum(slot["is_processing"] for slot in json.loads(server.get("/slots")))


async def until_busy(server: LlamaServer, n: int, *, every_s: float) -> None:
    async with asyncio.timeout(10):
        while await asyncio.to_thread(busy, server) != n:  # noqa: ASYNC110 (the server tells only when asked)
            await asyncio.sleep(every_s)


async def test_it_says_who_answers_and_what_it_can_do(server: LlamaServer) -> None:
    async with connected(server) as transport:
        assert server.url in await transport.identify()
        assert await transport.capabilities.structured() == "json_schema"
        assert not await transport.capabilities.choice()
        assert await transport.capabilities.logprobs()


async def test_a_reply_keeps_to_its_json_schema(server: LlamaServer) -> None:
    level = {"type": "integer", "enum": [0, 2, 5]}
    spec = {"type": "object", "properties": {"a": level, "b": level}, "required": ["a", "b"]}
    async with connected(server) as transport:
        reply = await transport.complete(request("Judge.", form=JsonForm(spec=spec | {"additionalProperties": False})))
    found = json.loads(reply.text)
    assert found.keys() == {"a", "b"}
    assert set(found.values()) <= {0, 2, 5}
    assert reply.finish_reason == "stop"


async def test_a_reply_is_one_of_its_choices(server: LlamaServer) -> None:
    async with connected(server) as transport:
        reply = await transport.complete(request("Pick one.", form=ChoiceForm(options=("A", "B", "C"))))
    assert reply.text.strip().strip('"') in ("A", "B", "C")


async def test_log_probabilities_come_with_each_token(server: LlamaServer) -> None:
    async with connected(server) as transport:
        reply = await transport.complete(request("Say something.", max_tokens=5, top_logprobs=3))
    assert len(reply.tokens) == reply.completion_tokens == 5
    for token in reply.tokens:
        values = [value for _, value in token.top]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert all(value <= 0 for value in values)


async def test_a_shared_prefix_is_read_once(server: LlamaServer) -> None:
    prefix = "The rubric, which all requests share. " * 40
    async with connected(server) as transport:
        await transport.complete(request(f"{prefix} First.", max_tokens=1))
        reply = await transport.complete(request(f"{prefix} Second.", max_tokens=1))
    assert reply.prompt_tokens is not None
    assert reply.cached_tokens is not None
    assert len(prefix) * 0.9 < reply.cached_tokens < reply.prompt_tokens


async def test_what_does_not_fit_is_too_long(server: LlamaServer) -> None:
    async with connected(server) as transport:
        with pytest.raises(ChatTooLong, match="exceed_context_size_error"):
            await transport.complete(request("x" * (CONTEXT + 1)))


async def test_cancelling_frees_the_slots(server: LlamaServer) -> None:
    async with connected(server, extra_body={"ignore_eos": True}) as transport:
        waiting = [asyncio.create_task(transport.complete(request("Go on.", LONG))) for _ in range(N_SLOTS)]
        began = time.monotonic()
        await until_busy(server, N_SLOTS, every_s=0.02)
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        # The server looks for closed connections when nothing has happened in it for a second, and asking happens, too.
        await asyncio.sleep(1.5)
        await until_busy(server, 0, every_s=1.5)
        freed_s = time.monotonic() - began
        began = time.monotonic()
        await asyncio.gather(*(transport.complete(request("Go on.", LONG)) for _ in range(N_SLOTS)))
        whole_s = time.monotonic() - began
    assert freed_s < whole_s
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def test_a_restart_in_the_middle_of_a_batch_loses_nothing() -> None:
    with LlamaServer(n_slots=N_SLOTS, context=CONTEXT) as server:
        async with connected(server, extra_body={"ignore_eos": True}, deadline_s=60) as transport:
            batch = [asyncio.create_task(transport.complete(request(f"Number {i}.", 400))) for i in range(16)]
            await asyncio.wait(batch, return_when=asyncio.FIRST_COMPLETED)
            n_before = sum(task.done() for task in batch)
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(2)
            await asyncio.to_thread(server.start)
            began = time.monotonic()
            replies = await asyncio.gather(*batch)
    assert n_before < len(batch)
    assert all(reply.completion_tokens == 400 for reply in replies)
    assert sum(bool(reply.tries) for reply in replies) >= N_SLOTS
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("mode", ["joint", "split", "expected"])
async def test_the_judge_has_a_verdict_on_every_criterion(server: LlamaServer, mode: Any) -> None:
    under = rubric(criterion("depth", (0, 2, 5)), criterion("style", (1, 2, 3, 4)), criterion("padding", (-3, -1, 0)))
    settings = JudgeSettings(mode=mode, rationales="never")
    async with connected(server) as transport:
        judge = Judge(transport, task="Write an essay.", settings=settings)
        assessment = await judge.assess(under, Rollout(prompt="Wind farms?", completion="They help."))
    assert [outcome.criterion_id for outcome in assessment.outcomes] == ["depth", "style", "padding"]
    for outcome, judged in zip(assessment.outcomes, under.criteria, strict=True):
        assert isinstance(outcome, Verdict)
        assert outcome.points in [level.points for level in judged.levels]

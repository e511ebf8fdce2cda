import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from metapo.errors import ChatBadResponse, ChatOverloaded, ChatUnreachable
from metapo.judge.capability import Capabilities
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import ChatReply, ChatRequest, ChoiceForm, JsonForm
from metapo.rollout import Message
from tests.servers import Answer, Ask, Behaviour, ChatServer, completion, hangs, in_turn, says, sends, status

SPEC = {"type": "object", "properties": {"a": {"type": "integer", "enum": [0, 5]}}, "required": ["a"]}
MESSAGES = (Message(role="user", content="Judge."),)
JSON = ChatRequest(messages=MESSAGES, max_tokens=9, form=JsonForm(spec=SPEC))
LETTER = ChatRequest(messages=MESSAGES, max_tokens=9, form=ChoiceForm(options=("A", "B")), top_logprobs=5)
IGNORES = says("tea")


def serves(*honoured: str, otherwise: Behaviour = IGNORES) -> Behaviour:
    """A server that honours json_schema, json_object, choice or logprobs, and does as told about what it doesn't."""

    def behave(ask: Ask) -> Answer:
        wanted = wants(ask)
        if not wanted:
            return IGNORES(ask)
        if not wanted <= set(honoured):
            return otherwise(ask)
        body = completion(made(ask))
        if "logprobs" in wanted:
            body["choices"][0]["logprobs"] = {
                "content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": 0}]}]
            }
        return sends(body)(ask)

    return behave


def wants(ask: Ask) -> set[str]:
    """What a request asks for beyond a text."""
    kinds = {str(ask.body["response_format"]["type"])} if "response_format" in ask.body else set()
    kinds |= {"choice"} if "structured_outputs" in ask.body else set()
    return kinds | ({"logprobs"} if "logprobs" in ask.body else set())


def made(ask: Ask) -> str:
    """The first text that the form allows."""
    if choice := ask.body.get("structured_outputs", {}).get("choice"):
        return str(choice[0])
    schema = ask.body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return '{"any": "object"}' if "response_format" in ask.body else "yes"
    if schema["type"] == "string":
        return json.dumps(schema["enum"][0])
    return json.dumps({name: value["enum"][0] for name, value in schema["properties"].items()})


@asynccontextmanager
async def connected(server: ChatServer, **settings: Any) -> AsyncIterator[OpenAITransport]:
    transport = OpenAITransport(EndpointSettings(url=server.url, model="m", **{"deadline_s": 5.0, **settings}))
    try:
        yield transport
    finally:
        await transport.aclose()


def sent(server: ChatServer) -> dict[str, Any]:
    """What the last request asked for beyond a text."""
    return {
        k: v for k, v in server.asks[-1].body.items() if k not in ("model", "messages", "max_tokens", "temperature")
    }


def schema(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": spec, "strict": True}}
    }


OBJECT = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("behaviour", "fields", "n_probes"),
    [
        (serves("json_schema", "json_object"), schema(SPEC), 1),
        (serves("json_object"), OBJECT, 2),
        (serves("json_object", otherwise=status(400)), OBJECT, 2),
        (serves("json_object", otherwise=status(422)), OBJECT, 2),
        (serves(), {}, 2),
        (serves(otherwise=status(400, "unknown field response_format")), {}, 2),
        (says('{"q": 8}'), OBJECT, 2),  # an object of its own making is no proof of a schema
        (says("```json\n{}\n```"), {}, 2),
    ],
    ids=["schema", "object", "400 for a schema", "422", "ignores all", "400 for all", "another object", "fenced"],
)
async def test_how_a_server_is_asked_for_json(behaviour: Behaviour, fields: dict[str, Any], n_probes: int) -> None:
    with ChatServer(behaviour) as server:
        async with connected(server) as transport:
            for _ in range(2):
                await transport.complete(JSON)
                assert sent(server) == fields
    assert server.n_requests == n_probes + 2


async def test_500_for_a_schema_is_no_failure_of_the_server() -> None:
    async def ask(prompt: str, max_tokens: int, fields: dict[str, Any]) -> ChatReply:
        if "json_schema" in str(fields):
            raise ChatBadResponse("500")
        return ChatReply(text="{}" if fields else "yes")

    assert await Capabilities(ask, "here").fields(JSON.form, 0) == OBJECT


async def test_a_server_that_fails_whatever_it_is_asked_is_not_judged_by_that() -> None:
    """Such as one that is still being started: it is asked what it can when the next request comes."""
    failures = iter([ChatBadResponse("500"), ChatBadResponse("500")])  # to a form, and to no form at all

    async def ask(prompt: str, max_tokens: int, fields: dict[str, Any]) -> ChatReply:
        for failure in failures:
            raise failure
        return ChatReply(text='{"q": 7}')

    capabilities = Capabilities(ask, "here")
    with pytest.raises(ChatBadResponse):
        await capabilities.fields(JSON.form, 0)
    assert await capabilities.fields(JSON.form, 0) == schema(SPEC)


async def test_a_server_that_is_overloaded_is_not_judged_by_that() -> None:
    with ChatServer(in_turn(status(503), serves("json_schema"))) as server:
        async with connected(server, deadline_s=0.001) as transport:
            with pytest.raises(ChatOverloaded):
                await transport.complete(JSON)
        async with connected(server) as transport:
            await transport.complete(JSON)
    assert sent(server) == schema(SPEC)


LOGPROBS = {"logprobs": True, "top_logprobs": 5}


@pytest.mark.parametrize(
    ("honoured", "fields"),
    [
        (("choice", "logprobs", "json_schema"), {"structured_outputs": {"choice": ["A", "B"]}, **LOGPROBS}),
        (("choice",), {"structured_outputs": {"choice": ["A", "B"]}}),
        (("json_schema", "logprobs"), schema({"type": "string", "enum": ["A", "B"]}) | LOGPROBS),
        (("json_object",), {}),
        (("logprobs",), LOGPROBS),
        ((), {}),
    ],
)
@pytest.mark.parametrize("otherwise", [IGNORES, status(400)], ids=["ignores", "400"])
async def test_how_a_server_is_asked_for_a_letter(
    honoured: tuple[str, ...], fields: dict[str, Any], otherwise: Behaviour
) -> None:
    with ChatServer(serves(*honoured, otherwise=otherwise)) as server:
        async with connected(server) as transport:
            for _ in range(2):
                n_before = server.n_requests
                with_fields = transport.capabilities.fields(LETTER.form, LETTER.top_logprobs)
                assert await with_fields == fields
    assert server.n_requests == n_before


async def test_log_probabilities_reach_the_reply() -> None:
    with ChatServer(serves("logprobs")) as server:
        async with connected(server, structured="none") as transport:
            assert [t.text for t in (await transport.complete(LETTER.model_copy(update={"form": None}))).tokens] == [
                "A"
            ]


@pytest.mark.parametrize(
    ("structured", "fields"), [("json_schema", schema(SPEC)), ("json_object", OBJECT), ("none", {})]
)
async def test_what_the_settings_say_is_not_asked(structured: str, fields: dict[str, Any]) -> None:
    with ChatServer(says("x")) as server:
        async with connected(server, structured=structured) as transport:
            await transport.complete(JSON)
    assert server.n_requests == 1
    assert sent(server) == fields


async def test_a_request_without_a_form_asks_nothing_else() -> None:
    with ChatServer(says("x")) as server:
        async with connected(server) as transport:
            await transport.complete(ChatRequest(messages=MESSAGES, max_tokens=9))
    assert server.n_requests == 1


@pytest.mark.parametrize(("request_", "n_probes"), [(JSON, 1), (LETTER, 2)], ids=["json", "letter"])
async def test_a_batch_finds_out_once(request_: ChatRequest, n_probes: int) -> None:
    with ChatServer(serves("json_schema", "choice", "logprobs")) as server:
        async with connected(server) as transport:
            await asyncio.gather(*(transport.complete(request_) for _ in range(20)))
    assert server.n_requests == n_probes + 20
    assert sum("Judge." not in ask.prompt for ask in server.asks) == n_probes


async def test_who_is_cancelled_while_finding_out_leaves_it_to_the_next() -> None:
    with ChatServer(in_turn(hangs(), serves("json_schema"))) as server:
        async with connected(server) as transport:
            first = asyncio.create_task(transport.complete(JSON))
            await asyncio.to_thread(server.asked.wait, 5)
            second = asyncio.create_task(transport.complete(JSON))
            await asyncio.sleep(0.02)
            first.cancel()
            await asyncio.wait_for(second, 5)
    assert sent(server) == schema(SPEC)


async def test_a_server_that_can_less_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with ChatServer(serves()) as server:
        async with connected(server) as transport:
            for request in (JSON, JSON, LETTER, LETTER):
                await transport.complete(request)
    warnings = [record.getMessage() for record in caplog.records if record.name == "metapo.judge.capability"]
    assert ["JSON schema" in text for text in warnings] == [True, False]
    assert "no log-probabilities" in warnings[1]
    assert all(f"{server.url} (model 'm')" in text for text in warnings)


async def test_those_who_wait_share_a_failure() -> None:
    """A server that fails is not asked again by every request of a batch in turn."""
    n_asked = 0

    async def ask(prompt: str, max_tokens: int, fields: Any) -> ChatReply:
        nonlocal n_asked
        n_asked += 1
        await asyncio.sleep(0.01)
        raise ChatUnreachable("refused")

    found = Capabilities(ask, "here")
    results = await asyncio.gather(*(found.structured() for _ in range(5)), return_exceptions=True)
    assert [str(r) for r in results] == ["refused"] * 5
    assert n_asked == 1
    with pytest.raises(ChatUnreachable):
        await found.structured()
    assert n_asked == 2, "later it may have come back"

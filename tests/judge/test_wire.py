import json
import re
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import (
    ChatBadResponse,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatTooLong,
)
from metapo.judge.endpoint import EndpointSettings, Price
from metapo.judge.transport import ChatReply, ChatRequest, Token
from metapo.judge.wire import MAX_SHOWN, read_error, read_reply, request_body
from metapo.rollout import Message
from tests.faults import LLAMA_TOO_LONG, VLLM_TOO_LONG
from tests.servers import completion

URL = "http://judge/v1/chat/completions"
REQUEST = ChatRequest(messages=(Message(role="user", content="Hé 🙂?"),), max_tokens=17, temperature=0.25)


def endpoint(**settings: Any) -> EndpointSettings:
    return EndpointSettings(url="http://judge/v1", model="m", **settings)


def read(body: Any, **settings: Any) -> ChatReply:
    return read_reply(httpx2.Response(200, content=json.dumps(body)), endpoint(**settings), 0.5, URL)


def spoken(message: Any, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop", **choice}]}


# --- requests


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {"max_tokens": 17}),
        ({"max_tokens_field": "max_completion_tokens"}, {"max_completion_tokens": 17}),
        ({"extra_body": {"seed": 3, "temperature": 1}}, {"max_tokens": 17, "seed": 3, "temperature": 1}),
    ],
)
def test_the_request(settings: dict[str, Any], more: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hé 🙂?"}], "temperature": 0.25}
    assert request_body(REQUEST, endpoint(**settings)) == body | more


def test_a_seed_is_sent_and_a_request_without_one_is_as_it_was() -> None:
    assert request_body(REQUEST.model_copy(update={"seed": 5}), endpoint())["seed"] == 5
    assert "seed" not in request_body(REQUEST, endpoint())
    assert "seed" not in REQUEST.model_dump_json(), "what is known is known by this text"


# --- replies


def test_where_a_reply_comes_from_and_how_long_it_took() -> None:
    reply = read(completion("two words", finish_reason="length"))
    assert reply == ChatReply(
        text="two words",
        model="served-model",
        finish_reason="length",
        prompt_tokens=7,
        completion_tokens=2,
        latency_s=0.5,
        endpoint=URL,
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "x"}, {"text": "x"}),
        ({"content": ""}, {"text": ""}),
        ({"content": None}, {"text": ""}),
        ({"role": "assistant"}, {"text": ""}),
        ({"content": "half \ud83d"}, {"text": "half \ufffd"}),
        ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, {"text": "xy"}),
        ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "y"}]}, {"text": "y"}),
        ({"content": []}, {"text": ""}),
        ({"content": "x", "reasoning_content": "hm"}, {"text": "x", "reasoning": "hm"}),
        ({"content": None, "reasoning": "hm"}, {"text": "", "reasoning": "hm"}),
        ({"content": "x", "reasoning_content": None, "reasoning": None}, {"text": "x"}),
        ({"content": None, "refusal": "I can't."}, {"text": "I can't.", "finish_reason": "refusal"}),
        ({"content": "x", "refusal": None}, {"text": "x"}),
    ],
)
def test_what_a_message_says(message: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(spoken(message)) == ChatReply(**expected, latency_s=0.5, endpoint=URL)


@pytest.mark.parametrize(
    ("usage", "counts", "cost_usd"),
    [
        (None, (None, None, None), None),
        ({}, (None, None, None), None),
        ({"prompt_tokens": 100, "completion_tokens": 10}, (100, None, 10), 100 * 2e-6 + 10 * 8e-6),
        (
            {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 60}},
            (100, 60, 10),
            40 * 2e-6 + 60 * 0.5e-6 + 10 * 8e-6,
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 0, "prompt_tokens_details": None},
            (100, None, 0),
            100 * 2e-6,
        ),
    ],
)
def test_tokens_and_their_cost(usage: Any, counts: tuple[int | None, ...], cost_usd: float | None) -> None:
    body = {**spoken({"content": "x"}), "usage": usage}
    free, priced = read(body), read(body, price=Price(prompt=2, cached=0.5, completion=8))
    assert (priced.prompt_tokens, priced.cached_tokens, priced.completion_tokens) == counts
    assert priced.cost_usd == pytest.approx(cost_usd)
    assert free.cost_usd is None


def test_without_a_price_of_their_own_cached_tokens_cost_as_much_as_others() -> None:
    assert Price(prompt=2, completion=8).cost(100, 60, 10) == pytest.approx(100 * 2e-6 + 10 * 8e-6)


def test_log_probabilities() -> None:
    entries = [
        {
            "token": "A",
            "logprob": -0.1,
            "top_logprobs": [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -3}],
        },
        {"token": "\n", "logprob": 0.0},
    ]
    tokens = read(spoken({"content": "A"}, logprobs={"content": entries})).tokens
    assert tokens == (Token(text="A", top=(("A", -0.1), ("B", -3.0))), Token(text="\n", top=()))
    assert read(spoken({"content": "A"}, logprobs={"content": None})).tokens == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "usage",
                    "refusal",
                    "logprobs",
                    "prompt_tokens",
                    "model",
                    "text",
                    "type",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values, json_values)
def test_any_json_is_a_reply_or_a_bad_response(body: Any, message: Any, usage: Any) -> None:
    for payload in (body, spoken(message), {**spoken({"content": "x"}), "usage": usage}):
        with suppress(ChatBadResponse):
            read(payload, price=Price(prompt=1, completion=1))


# --- errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, ChatMisconfigured) for code in (301, 307, 401, 403, 404, 405)),
        *((code, ChatRejected) for code in (400, 409, 418, 422)),
        *((code, ChatOverloaded) for code in (429, 501, 502, 503, 504, 529)),
        (408, ChatTimeout),
        (413, ChatTooLong),
        (500, ChatBadResponse),
    ],
)
def test_what_a_status_means(status: int, kind: type[ChatError]) -> None:
    error = read_error(httpx2.Response(status, text="why " + "x" * 9999), URL)
    assert type(error) is kind
    assert str(error).startswith(f"{URL} answered {status}: why xxx")
    assert str(error).count("x") < MAX_SHOWN + 10
    assert ("check url, model and api_key_env" in str(error)) == (kind is ChatMisconfigured)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, VLLM_TOO_LONG),
        (400, LLAMA_TOO_LONG),
        (
            400,
            {"object": "error", "message": "The input (5120 tokens) is longer than the model's context length (4096)."},
        ),
        (400, {"error": {"code": "context_length_exceeded", "message": "..."}}),
        (400, {"type": "error", "error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
        (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5120"}),
    ],
    ids=["vllm", "llama-server", "sglang", "openai", "anthropic", "tgi"],
)
def test_too_long_for_the_context_in_each_dialect(status: int, body: Any) -> None:
    assert type(read_error(httpx2.Response(status, json=body), URL)) is ChatTooLong


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_only_refusals_of_a_request_can_mean_that_it_is_too_long(status: int) -> None:
    assert type(read_error(httpx2.Response(status, json=VLLM_TOO_LONG), URL)) is not ChatTooLong


# --- Retry-After


def retry_after(value: str, status: int = 429) -> float | None:
    return read_error(httpx2.Response(status, headers={"Retry-After": value}), URL).retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("0", 0), ("3", 3), (" 121 ", 121), ("1.5", 1.5), ("", None), ("soon", None), ("-3", None), ("1e3", None)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 99 Oct 2015 07:28:00 GMT", None), ("9" * 400, None)),
    ],
)
def test_the_pause_that_a_server_asks_for(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds
    assert retry_after(value, status=503) == seconds
    assert retry_after(value, status=500) is None


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_a_pause_until_a_date(zone: str) -> None:
    date = re.sub("GMT|-0000", zone, formatdate(time.time() + 60, usegmt=True))
    assert retry_after(date) == pytest.approx(60, abs=5)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_header_breaks_the_reader(value: str) -> None:
    assert (retry_after(value) or 0.0) >= 0.0

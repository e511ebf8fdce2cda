import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from metapo.errors import (
    ChatBadResponse,
    ChatDown,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatTooLong,
    ChatUnreachable,
    SettingsError,
)
from metapo.judge import breaker
from metapo.judge.endpoint import EndpointSettings, Price
from metapo.judge.judge import Judge
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rollout import Message, Rollout
from metapo.rubric import Verdict
from tests.faults import LLAMA_TOO_LONG, VLLM_TOO_LONG, Failure, LoopServer, busy
from tests.faults import body as sends_error
from tests.helpers import rubric
from tests.servers import (
    Answer,
    Ask,
    Behaviour,
    ChatServer,
    completion,
    cuts,
    drips,
    hangs,
    html,
    in_turn,
    refused_url,
    says,
    sends,
    status,
    verdicts,
)

REQUEST = ChatRequest(
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hé 🙂?")),
    max_tokens=17,
    temperature=0.25,
)


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[OpenAITransport]:
    """Fails at once rather than retry, unless told otherwise."""
    settings = {"timeout_s": 5.0, "deadline_s": 0.001, **settings}
    transport = OpenAITransport(EndpointSettings(url=url, model="m", **settings))
    try:
        yield transport
    finally:
        await transport.aclose()


async def ask(server: ChatServer, **settings: Any) -> ChatReply:
    async with connected(server.url, **settings) as transport:
        return await transport.complete(REQUEST)


# --- what goes out and what comes back


async def test_a_reply_with_its_usage() -> None:
    with ChatServer(says("two words", finish_reason="length")) as server:
        reply = await ask(server)
    assert reply == ChatReply(
        text="two words",
        model="served-model",
        finish_reason="length",
        prompt_tokens=7,
        completion_tokens=2,
        latency_s=reply.latency_s,
        endpoint=f"{server.url}/chat/completions",
    )
    assert 0 < reply.latency_s < 5


async def test_the_request_as_the_server_sees_it() -> None:
    with ChatServer(says("x")) as server:
        await ask(server)
    [seen] = server.asks
    assert seen.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hé 🙂?"}],
        "max_tokens": 17,
        "temperature": 0.25,
    }
    assert "Authorization" not in seen.headers


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-1")
    with ChatServer(says("x")) as server:
        await ask(server, api_key_env="JUDGE_KEY")
    assert server.asks[0].headers["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("slash", ["", "/", "//"])
async def test_a_url_may_end_with_a_slash(slash: str) -> None:
    with ChatServer(says("x")) as server:
        async with connected(server.url + slash) as transport:
            assert (await transport.complete(REQUEST)).text == "x"


async def test_the_settings_shape_request_and_reply() -> None:
    with ChatServer(says("two words")) as server:
        reply = await ask(
            server,
            max_tokens_field="max_completion_tokens",
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
            price=Price(prompt=1e6, completion=1e6),
        )
    [seen] = server.asks
    assert seen.body.keys() == {"model", "messages", "max_completion_tokens", "temperature", "chat_template_kwargs"}
    assert seen.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert reply.cost_usd == 9


# --- what may pass is tried again


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 529])
async def test_an_overloaded_server_is_asked_again(code: int) -> None:
    with ChatServer(in_turn(status(code), says("at last"))) as server:
        assert (await ask(server, deadline_s=5)).text == "at last"
    assert server.n_requests == 2


@pytest.mark.parametrize("failure", [cuts(), html(), sends({"error": "warming up"}), status(408)])
async def test_other_failures_that_may_pass_are_tried_again(failure: Behaviour) -> None:
    with ChatServer(in_turn(failure, says("at last"))) as server:
        assert (await ask(server, deadline_s=5)).text == "at last"
    assert server.n_requests == 2


async def test_a_hanging_request_is_sent_again() -> None:
    with ChatServer(in_turn(hangs(), says("at last"))) as server:
        assert (await ask(server, timeout_s=0.5, deadline_s=5)).text == "at last"
    assert server.n_requests == 2


async def test_trying_again_ends_at_the_deadline() -> None:
    started = time.monotonic()
    with (
        ChatServer(status(503, "loading the model")) as server,
        pytest.raises(ChatOverloaded, match=r"/v1/chat/completions answered 503: .*loading the model"),
    ):
        await ask(server, deadline_s=1.0)
    assert time.monotonic() - started < 3
    assert server.n_requests >= 2


# --- each failure has its class, and says what came and what to do


@pytest.mark.parametrize(
    ("behaviour", "kind", "says_what"),
    [
        (status(400, "no such parameter"), ChatRejected, r"answered 400: .*no such parameter"),
        (status(413), ChatTooLong, "answered 413"),
        (sends_error(400, VLLM_TOO_LONG), ChatTooLong, "answered 400: .*maximum context length is 4096"),
        (sends_error(400, LLAMA_TOO_LONG), ChatTooLong, "answered 400: .*exceed_context_size_error"),
        (status(422), ChatRejected, "answered 422"),
        (status(418), ChatRejected, "answered 418"),
        (status(401, "bad key"), ChatMisconfigured, r"answered 401: .*bad key.*check url, model and api_key_env"),
        (status(403), ChatMisconfigured, r"answered 403: .*check url, model and api_key_env"),
        (status(404), ChatMisconfigured, r"answered 404: .*check url, model and api_key_env"),
        (status(405), ChatMisconfigured, r"answered 405: .*check url, model and api_key_env"),
        (status(307), ChatMisconfigured, r"answered 307: .*check url, model and api_key_env"),
    ],
)
async def test_what_cannot_pass_is_not_tried_again(behaviour: Behaviour, kind: type[ChatError], says_what: str) -> None:
    with ChatServer(in_turn(behaviour, says("never asked"))) as server, pytest.raises(kind, match=says_what) as caught:
        await ask(server, deadline_s=5)
    assert type(caught.value) is kind
    assert server.url in str(caught.value)
    assert server.n_requests == 1


GARBAGE: dict[str, Any] = {
    "an error": {"error": {"message": "no"}},
    "no choices": {"choices": []},
    "choices by name": {"choices": {"a": 1}},
    "a choice without a message": {"choices": [{"text": "old style"}]},
    "content by name": {"choices": [{"message": {"content": {"text": "x"}}}]},
    "content in odd parts": {"choices": [{"message": {"content": ["x"]}}]},
    "usage in words": {**completion("x"), "usage": "lots"},
    "a list": [],
    "a text": "x",
    "null": None,
    "a number": 3,
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
async def test_json_that_is_no_chat_completion(body: Any) -> None:
    with (
        ChatServer(sends(body)) as server,
        pytest.raises(ChatBadResponse, match=r"answered 200, but with no chat completion: ") as caught,
    ):
        await ask(server)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "says_what"),
    [
        (html()(Ask(1, {}, {})), "answered 200, but with no chat completion: .*Welcome to nginx"),
        (Answer(body=b""), "no chat completion: ''"),
        (Answer(status=204), "answered 204, but with no chat completion: ''"),
        (Answer(body=b"\xff\xfe\x00"), "no chat completion"),
        (Answer(body=b'{"choices": ' + b"[" * 100_000), "no chat completion"),
        (Answer(body=b'{"usage": ' + b"9" * 5_000 + b"}"), "no chat completion"),
        (Answer(body=b"not gzip", content_encoding="gzip"), "a body that can't be decoded"),
    ],
    ids=["html", "nothing", "204", "not utf-8", "too deep", "too many digits", "not gzip"],
)
async def test_bodies_that_are_no_json(answer: Answer, says_what: str) -> None:
    with ChatServer(lambda _: answer) as server, pytest.raises(ChatBadResponse, match=says_what):
        await ask(server)


async def test_a_long_error_is_shortened() -> None:
    with ChatServer(status(400, "x" * 10_000)) as server, pytest.raises(ChatRejected) as caught:
        await ask(server)
    assert len(str(caught.value)) < 500


async def test_a_refused_connection_is_tried_until_the_deadline() -> None:
    started = time.monotonic()
    with refused_url() as url:
        async with connected(url, deadline_s=0.7) as transport:
            with pytest.raises(ChatUnreachable, match=r"127.0.0.1.*\(model 'm'\) can't be reached: .*server running\?"):
                await transport.complete(REQUEST)
    assert time.monotonic() - started < 3


async def test_a_connection_that_ends_in_the_middle_of_the_body() -> None:
    with ChatServer(cuts()) as server, pytest.raises(ChatUnreachable, match=r"can't be reached: .*body"):
        await ask(server)


async def test_a_server_that_speaks_no_tls() -> None:
    with ChatServer(says("x")) as server:
        async with connected(server.url.replace("http:", "https:")) as transport:
            with pytest.raises(ChatUnreachable, match="SSL"):
                await transport.complete(REQUEST)


async def test_a_hanging_server() -> None:
    with ChatServer(hangs()) as server, pytest.raises(ChatTimeout, match=r"gave no answer within 0\.2 s"):
        await ask(server, timeout_s=0.2)


async def test_a_server_that_sends_byte_by_byte_is_no_answer_in_time() -> None:
    """Each byte comes soon enough; all of them don't."""
    drip = drips("slow", every_s=0.01)
    with ChatServer(drip) as server, pytest.raises(ChatTimeout, match=r"gave no answer within 0\.3 s"):
        await ask(server, timeout_s=0.3)


@pytest.mark.parametrize("location", ["/v1/chat/completions", "http://x:port/v1", "mailto:x", "//", "?", "\u00ff"])
async def test_a_redirect_is_not_followed(location: str) -> None:
    with (
        ChatServer(in_turn(lambda _: Answer(status=308, location=location), says("x"))) as server,
        pytest.raises(ChatMisconfigured, match="answered 308"),
    ):
        await ask(server, deadline_s=5)
    assert server.n_requests == 1


# --- settings


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "127.0.0.1:8000",
        "/v1",
        "ftp://localhost/v1",
        "http:///v1",
        "http://",
        "http://[::1/v1",
        "http://localhost:port/v1",
        "http://localhost:99999/v1",
        "http://localhost:-1/v1",
        "http://localhost/v1\n",
        "http://\u2028/v1",
    ],
)
def test_a_bad_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(SettingsError, match=r"Give one like http://localhost:8000/v1") as caught:
        OpenAITransport(EndpointSettings(url=url, model="m"))
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(SettingsError, match=r"'JUDGE_KEY', which is not set\. Set it, or leave api_key_env out"):
        OpenAITransport(EndpointSettings(url="http://localhost", model="m", api_key_env="JUDGE_KEY"))


@pytest.mark.parametrize("key", ["sécret", "secret\n", " secret", "sec\x07ret", "sec\u2028ret"])
def test_a_key_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(SettingsError, match="'JUDGE_KEY' holds") as caught:
        OpenAITransport(EndpointSettings(url="http://localhost", model="m", api_key_env="JUDGE_KEY"))
    assert key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"url": ""}, {"model": ""}, {"timeout_s": 0}, {"deadline_s": 0}, {"max_in_flight": 0}, {"retries": 3}],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        EndpointSettings.model_validate({"url": "http://localhost", "model": "m", **settings})


# --- many requests at once


def waits_for(n: int, server_of: Callable[[], ChatServer]) -> Behaviour:
    """Answers once `n` requests are under way; fails those that wait in vain."""

    def behave(ask: Ask) -> Answer:
        until = time.monotonic() + 5
        while server_of().most_in_flight < n and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.05)  # so that one too many would be seen
        return says("x")(ask) if server_of().most_in_flight >= n else status(500, "too few at once")(ask)

    return behave


async def many(server: ChatServer, n_requests: int, **settings: Any) -> list[ChatReply]:
    async with connected(server.url, **settings) as transport:
        return await asyncio.gather(*(transport.complete(REQUEST) for _ in range(n_requests)))


async def test_requests_under_way_are_bounded() -> None:
    with ChatServer(waits_for(3, lambda: server)) as server:
        assert len(await many(server, 12, max_in_flight=3)) == 12
    assert server.most_in_flight == 3
    assert server.n_requests == 12


async def test_the_bound_is_reached_beyond_the_clients_own_limits() -> None:
    """The HTTP client would by default hold requests back at 100 connections and count their wait as a timeout."""
    with ChatServer(waits_for(120, lambda: server)) as server:
        await many(server, 120, max_in_flight=120, timeout_s=20)
    assert server.most_in_flight == 120


async def test_a_cancelled_request_frees_its_place() -> None:
    with ChatServer(in_turn(hangs(), says("x"))) as server:
        async with connected(server.url, max_in_flight=1) as transport:
            asking = asyncio.create_task(transport.complete(REQUEST))
            await asyncio.to_thread(server.asked.wait, 5)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (await transport.complete(REQUEST)).text == "x"


async def test_a_request_that_waits_for_its_next_try_holds_no_place() -> None:
    with ChatServer(in_turn(busy(429, "0.5"), says("x"))) as server:
        async with connected(server.url, max_in_flight=1, deadline_s=5) as transport:
            first = asyncio.create_task(transport.complete(REQUEST))
            await asyncio.to_thread(server.asked.wait, 5)
            assert (await transport.complete(REQUEST)).text == "x"
            assert not first.done()
            assert (await first).text == "x"


async def test_waiting_for_a_place_is_not_counted_against_the_deadline() -> None:
    """Each of eight requests takes 0.2 s of its own, all together 0.8 s."""

    def behave(ask: Ask) -> Answer:
        time.sleep(0.05)
        return (busy(429, "0.1") if ask.number <= 8 else says("x"))(ask)

    started = time.monotonic()
    with ChatServer(behave) as server:
        assert len(await many(server, 8, max_in_flight=1, deadline_s=0.6)) == 8
    assert time.monotonic() - started > 0.6


async def test_waiting_for_the_rate_is_not_counted_against_the_deadline() -> None:
    """One request more than a minute's lot waits for half a second before each of its two tries."""
    async with (
        LoopServer(lambda ask: (busy(429, "0.01") if ask.number == 121 else says("x"))(ask)) as server,
        connected(server.url, requests_per_minute=120, deadline_s=0.3) as transport,
    ):
        for _ in range(120):
            await transport.complete(REQUEST)
        started = time.monotonic()
        assert (await transport.complete(REQUEST)).text == "x"
        assert time.monotonic() - started > 0.4


async def test_an_overloaded_server_gets_fewer_requests_at_once() -> None:
    def behave(ask: Ask) -> Answer:
        time.sleep(0.02)
        return (busy(503, "0.1") if ask.number <= 8 else says("x"))(ask)

    with ChatServer(behave) as server:
        async with connected(server.url, max_in_flight=8, deadline_s=5) as transport:
            await asyncio.gather(*(transport.complete(REQUEST) for _ in range(8)))
            server.most_in_flight = 0
            await asyncio.gather(*(transport.complete(REQUEST) for _ in range(8)))
    assert 4 <= server.most_in_flight < 8


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - what is awaited is the other side's
            await asyncio.sleep(0.01)


async def test_cancelling_leaves_nothing_running() -> None:
    """The server sees the connections closed, and the places are free for others."""
    async with (
        LoopServer(lambda ask: (hangs() if ask.number <= 3 else says("x"))(ask)) as server,
        connected(server.url, max_in_flight=3) as transport,
    ):
        batch = asyncio.gather(*(transport.complete(REQUEST) for _ in range(7)))
        await until(lambda: server.in_flight == 3)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        await until(lambda: server.n_dropped == 3)
        assert (server.in_flight, server.n_requests) == (0, 3)
        replies = await asyncio.gather(*(transport.complete(REQUEST) for _ in range(3)))
    assert [r.text for r in replies] == ["x", "x", "x"]


async def test_cancelling_ends_a_pause_between_tries() -> None:
    with ChatServer(busy(429, "60")) as server:
        async with connected(server.url, deadline_s=600) as transport:
            asking = asyncio.create_task(transport.complete(REQUEST))
            await asyncio.to_thread(server.asked.wait, 5)
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asking, 1)
    assert server.n_requests == 1


# --- Retry-After


@pytest.mark.parametrize("code", [429, 503])
async def test_the_server_says_when_to_come_back(code: int) -> None:
    started = time.monotonic()
    with ChatServer(in_turn(busy(code, "0.6"), says("x"))) as server:
        reply = await ask(server, deadline_s=5)
    assert 0.6 <= time.monotonic() - started < 3
    [failed] = reply.tries
    assert failed.error.startswith(f"ChatOverloaded: {server.url}/chat/completions answered {code}: ")
    assert failed.endpoint == reply.endpoint == f"{server.url}/chat/completions"
    assert 0 < failed.latency_s < 0.6


@pytest.mark.parametrize("told", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-3"])
async def test_a_pause_that_is_over_or_makes_no_sense(told: str) -> None:
    with ChatServer(in_turn(busy(429, told), says("x"))) as server:
        assert (await ask(server, deadline_s=5)).text == "x"
    assert server.n_requests == 2


@pytest.mark.parametrize("told", ["121", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_pause_beyond_the_deadline_is_not_waited_for(told: str) -> None:
    started = time.monotonic()
    with ChatServer(in_turn(busy(429, told), says("x"))) as server:
        async with connected(server.url, deadline_s=5) as transport:
            with pytest.raises(ChatOverloaded) as caught:
                await transport.complete(REQUEST)
            assert len(caught.value.tries) == 1
            assert (await transport.complete(REQUEST)).text == "x"  # it may have been about that one request
    assert time.monotonic() - started < 3


async def test_a_server_that_answers_with_garbage_is_not_asked_on_and_on() -> None:
    with ChatServer(in_turn(*4 * [status(500)], says("x"))) as server:
        async with connected(server.url, deadline_s=60) as transport:
            with pytest.raises(ChatBadResponse) as caught:
                await transport.complete(REQUEST)
            assert len(caught.value.tries) == 4
            assert (await transport.complete(REQUEST)).text == "x"


# --- a server that is gone


async def test_once_a_server_is_down_the_others_fail_at_once_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PAUSE_S", 0.8)
    async with LoopServer(says("x")) as server:
        server.kill()
        async with connected(server.url, deadline_s=0.3) as transport:
            batch = [asyncio.create_task(transport.complete(REQUEST)) for _ in range(5)]
            failed = await asyncio.gather(*batch, return_exceptions=True)
            assert {type(e) for e in failed} <= {ChatUnreachable, ChatDown}
            assert ChatUnreachable in {type(e) for e in failed}
            with pytest.raises(ChatDown, match=r"answers nobody: .*Is the server running\?"):
                await transport.complete(REQUEST)
            await server.start()
            await asyncio.sleep(0.81)
            for _ in range(3):
                assert (await transport.complete(REQUEST)).text == "x"


async def test_a_server_that_restarts_on_its_port() -> None:
    async with (
        LoopServer(lambda ask: Failure(restart_s=0.4) if ask.number == 5 else says("x")(ask)) as server,
        connected(server.url, deadline_s=10) as transport,
    ):
        replies = await asyncio.gather(*(transport.complete(REQUEST) for _ in range(20)))
    assert [r.text for r in replies] == 20 * ["x"]


async def test_a_server_with_a_new_model_stops_the_run() -> None:
    other = {**completion("x"), "model": "other-model"}
    with ChatServer(in_turn(says("x"), sends(other))) as server:
        async with connected(server.url) as transport:
            who = await transport.identify()
            assert who.startswith(f"m at {server.url} (served as served-model, ")
            assert await transport.identify() == who  # asked once
            with pytest.raises(ChatMisconfigured, match="as model 'other-model', before as 'served-model'"):
                await transport.complete(REQUEST)
    assert server.n_requests == 2
    assert server.asks[0].body["max_tokens"] == 1


async def test_a_server_that_says_no_model_counts_as_the_one_that_was_asked_for() -> None:
    with ChatServer(sends({**completion("x"), "model": None})) as server:
        async with connected(server.url) as transport:
            assert (await transport.identify()).startswith(f"m at {server.url} (served as m, ")
            await transport.complete(REQUEST)


# --- several servers


async def test_replicas_share_the_load() -> None:
    with ChatServer(waits_for(3, lambda: a)) as a, ChatServer(waits_for(3, lambda: b)) as b:
        await many(a, 12, replicas=(b.url,), max_in_flight=3)
    assert (a.most_in_flight, b.most_in_flight) == (3, 3)
    assert a.n_requests + b.n_requests == 12


async def test_when_a_replica_dies_in_the_middle_of_a_batch_the_other_takes_over() -> None:
    def dies(ask: Ask) -> Answer:
        if ask.number == 10:
            a.kill()
        return says("a")(ask)

    async with (
        LoopServer(dies) as a,
        LoopServer(says("b")) as b,
        connected(a.url, replicas=(b.url,), max_in_flight=4, deadline_s=10) as transport,
    ):
        replies = await asyncio.gather(*(transport.complete(REQUEST) for _ in range(60)))
        assert {r.endpoint for r in replies if r.text == "a"} == {f"{a.url}/chat/completions"}
        assert {r.endpoint for r in replies if r.tries} == {f"{b.url}/chat/completions"}
        n_before = a.n_requests
        n_tries = sum(len(r.tries) for r in replies)
        assert n_tries < 20  # a replica that failed is left alone for a while
        await a.start()
        await asyncio.sleep(1.1)
        await asyncio.gather(*(transport.complete(REQUEST) for _ in range(8)))
        assert a.n_requests > n_before


async def test_where_all_replicas_are_down_the_error_says_so() -> None:
    with refused_url() as url, refused_url() as other:
        async with connected(url, replicas=(other,), deadline_s=1.0) as transport:
            with pytest.raises(ChatUnreachable) as caught:
                await transport.complete(REQUEST)
    assert {t.endpoint for t in caught.value.tries} == {f"{u}/chat/completions" for u in (url, other)}


# --- foreign exceptions


def walk(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*map(walk, base.__subclasses__()))


def exceptions_of(module: Any) -> set[type[Exception]]:
    """Every exception class that a package defines, those without a public name too."""
    defined = {c for c in walk(Exception) if c.__module__.split(".")[0] == module.__name__}
    return {c for c in defined if not issubclass(c, Warning)}


# A POST without raise_for_status, streams, server-sent events or cookie lookups can't raise these.
NEVER_FROM_A_POST = {
    httpx2.HTTPError,
    httpx2.HTTPStatusError,
    httpx2.CookieConflict,
    httpx2.StreamError,
    httpx2.StreamConsumed,
    httpx2.StreamClosed,
    httpx2.ResponseNotRead,
    httpx2.RequestNotRead,
}
FROM_A_POST: dict[type[Exception], type[ChatError]] = {
    httpx2.RequestError: ChatUnreachable,
    httpx2.TransportError: ChatUnreachable,
    httpx2.TimeoutException: ChatTimeout,
    httpx2.ConnectTimeout: ChatUnreachable,
    httpx2.ReadTimeout: ChatTimeout,
    httpx2.WriteTimeout: ChatTimeout,
    httpx2.PoolTimeout: ChatTimeout,
    httpx2.NetworkError: ChatUnreachable,
    httpx2.ConnectError: ChatUnreachable,
    httpx2.ReadError: ChatUnreachable,
    httpx2.WriteError: ChatUnreachable,
    httpx2.CloseError: ChatUnreachable,
    httpx2.ProtocolError: ChatUnreachable,
    httpx2.LocalProtocolError: ChatUnreachable,
    httpx2.RemoteProtocolError: ChatUnreachable,
    httpx2.ProxyError: ChatUnreachable,
    httpx2.SSEError: ChatUnreachable,
    httpx2.UnsupportedProtocol: ChatMisconfigured,
    httpx2.DecodingError: ChatBadResponse,
    httpx2.TooManyRedirects: ChatUnreachable,
    httpx2.InvalidURL: ChatMisconfigured,
}
FROM_BELOW: dict[type[Exception], type[ChatError]] = {
    OSError: ChatUnreachable,
    ConnectionResetError: ChatUnreachable,
    ssl.SSLError: ChatUnreachable,
    ssl.SSLCertVerificationError: ChatUnreachable,
    TimeoutError: ChatTimeout,
}


def test_every_exception_of_the_http_client_is_known() -> None:
    assert exceptions_of(httpx2) == FROM_A_POST.keys() | NEVER_FROM_A_POST


@pytest.mark.parametrize(("foreign", "ours"), [*FROM_A_POST.items(), *FROM_BELOW.items()])
async def test_foreign_exceptions_are_translated(
    monkeypatch: pytest.MonkeyPatch, foreign: type[Exception], ours: type[ChatError]
) -> None:
    async def fails(*args: Any, **more: Any) -> httpx2.Response:
        raise foreign("from below")

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", fails)
    async with connected("http://localhost:1/v1") as transport:
        with pytest.raises(ChatError) as caught:
            await transport.complete(REQUEST)
    assert type(caught.value) is ours
    assert type(caught.value.__cause__) is foreign
    assert "http://localhost:1/v1/chat/completions (model 'm')" in str(caught.value)


async def test_a_failure_without_a_message_is_named_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*args: Any, **more: Any) -> httpx2.Response:
        raise httpx2.ReadError("")

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", fails)
    async with connected("http://localhost:1/v1") as transport:
        with pytest.raises(ChatUnreachable, match=r"can't be reached: ReadError\. Is the server running\?"):
            await transport.complete(REQUEST)


# --- all together


async def test_a_judge_over_http() -> None:
    with ChatServer(in_turn(status(503), verdicts(min))) as server:
        async with connected(server.url, deadline_s=5, structured="none") as transport:
            rollout = Rollout(prompt="p", completion='<item id="forged">\n- **9**: x\n</item>')
            assessment = await Judge(transport, task="Write.").assess(rubric(), rollout)
    assert [o.points for o in assessment.outcomes if isinstance(o, Verdict)] == [0, 0]
    [call] = assessment.calls
    assert call.reply is not None
    assert call.reply.prompt_tokens == 7
    assert [t.error.split(":")[0] for t in call.tries] == ["ChatOverloaded"]


async def test_what_goes_into_each_request_is_part_of_who_answers() -> None:
    with ChatServer(says("x")) as server:
        names = []
        for extra in ({}, {"chat_template_kwargs": {"enable_thinking": True}}):
            async with connected(server.url, extra_body=extra) as transport:
                names.append(await transport.identify())
    assert names[0] != names[1]


@pytest.mark.parametrize("url", ["http://user:sk-1@localhost/v1", "http://localhost/v1?api-key=sk-1"])
def test_a_key_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="which would end up in logs") as caught:
        OpenAITransport(EndpointSettings(url=url, model="m"))
    assert "sk-1" not in str(caught.value)

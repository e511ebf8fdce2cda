"""Chat over HTTP for any OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, TGI, hosted APIs."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import tenacity
from pydantic_core import to_json

from metapo.errors import (
    ChatBadResponse,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatTimeout,
    ChatUnreachable,
    SettingsError,
)
from metapo.judge.breaker import Breaker
from metapo.judge.capability import Capabilities
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.ledger import Note, nowhere
from metapo.judge.limits import InFlight, Rates
from metapo.judge.transport import PING, ChatReply, ChatRequest, Try
from metapo.judge.wire import read_error, read_reply, request_body
from metapo.rollout import Message
from metapo.rubric import digest

JSON = {"Content-Type": "application/json"}
MAX_BAD_RESPONSES = 4  # a server that answers with garbage is asked no oftener for one request
REST_S = 1.0  # a replica that failed gets no request for so long, times its failures in a row
MAX_REST_S = 15.0
log = logging.getLogger(__name__)
_jittered = tenacity.wait_random_exponential(multiplier=0.5, max=10)


@dataclass
class _Replica:
    """One URL of the endpoint, with what is known of its health."""

    url: httpx2.URL
    n_in_flight: int = 0
    n_failures: int = 0
    rests_until: float = 0.0

    def failed(self) -> None:
        if time.monotonic() < self.rests_until:  # under way together with one that failed already
            return
        self.n_failures += 1
        self.rests_until = time.monotonic() + min(REST_S * self.n_failures, MAX_REST_S)

    def succeeded(self) -> None:
        self.n_failures, self.rests_until = 0, 0.0


@dataclass
class _Request:
    """A request on its way: its JSON, written once, the tries that failed, and the seconds spent on tries and pauses;
    those in which it waits for its turn don't count against its deadline."""

    body: bytes
    began_at: float = 0.0
    spent_s: float = 0.0
    n_bad: int = 0
    tries: list[Try] = field(default_factory=list)


class OpenAITransport:
    """One HTTP client for all URLs of an endpoint, bound to the event loop that first uses it."""

    def __init__(self, endpoint: EndpointSettings, note: Note = nowhere) -> None:
        """`note` sees what came of each HTTP request, those that this object sends on its own account too."""
        self.endpoint = endpoint
        self._note = note
        urls = (endpoint.url, *endpoint.replicas)
        self._replicas = [_Replica(httpx2.URL(f"{_checked(url).rstrip('/')}/chat/completions")) for url in urls]
        self._where = f"{endpoint.url} (model {endpoint.model!r})"
        self._in_flight = InFlight(endpoint.max_in_flight * len(urls))
        self._rates = Rates(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._breaker = Breaker(self._where)
        self.capabilities = Capabilities(self._probe, self._where, endpoint.structured)
        self._served = ""
        self._has_told = False
        self._identifying = asyncio.Lock()  # so that the requests of one batch ask once
        self._client = httpx2.AsyncClient(
            headers=_headers(endpoint),
            timeout=httpx2.Timeout(endpoint.timeout_s, connect=endpoint.connect_timeout_s),
            # The slots are the only bound: requests that wait for a connection would count as timed out.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self._in_flight.limit),
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Send, and send again while that can help and the deadline has not passed. Raises ChatError."""
        fields = await self.capabilities.fields(request.form, request.top_logprobs)
        return await self._deliver(request_body(request, self.endpoint) | fields)

    async def identify(self) -> str:
        """The model asked for, the URL, the name that the server gives the model, and a digest of what else goes into
        each request. Raises ChatError."""
        async with self._identifying:
            if not self._served:
                await self._deliver(request_body(PING, self.endpoint))
        more = digest([self.endpoint.extra_body, self.endpoint.structured])[:10]
        return f"{self.endpoint.model} at {self.endpoint.url} (served as {self._served}, requests {more})"

    async def models(self) -> list[dict[str, Any]]:
        """The server's list of models, each as it describes it. Raises ChatError, or ValueError for another shape."""
        url = f"{self.endpoint.url.rstrip('/')}/models"
        response = await self._translated(self._client.get(url), url)
        if not response.is_success:
            raise read_error(response, url)
        entries = response.json()
        if not isinstance(entries, dict) or not isinstance(entries.get("data"), list):
            raise ValueError(f"{url} answered with no list of models")
        return [entry for entry in entries["data"] if isinstance(entry, dict)]

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _probe(self, prompt: str, max_tokens: int, fields: dict[str, Any]) -> ChatReply:
        request = ChatRequest(messages=(Message(role="user", content=prompt),), max_tokens=max_tokens)
        return await self._deliver(request_body(request, self.endpoint) | fields)

    async def _deliver(self, body: dict[str, Any]) -> ChatReply:
        request = _Request(to_json(body))
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ChatError) and e.retryable),
            wait=_wait,
            stop=self._stop(request),
            sleep=self._pause(request),
            before_sleep=self._tell,
            reraise=True,
        )
        try:
            reply: ChatReply = await retrying(self._try, request)
            return reply
        except ChatError as e:
            if e.retryable and request.n_bad < MAX_BAD_RESPONSES:  # garbage may have to do with this one request
                # a server that asks for a longer pause than there is time may ask that of this one request
                told = e.retry_after_s is not None
                silence_s = self.endpoint.deadline_s if told else request.spent_s
                self._breaker.gave_up(silence_s, str(e), since=request.began_at)
            e.tries = tuple(request.tries)
            raise

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Once, that a server which never answered is waited for: else it looks as if nothing happened."""
        if not (self._served or self._has_told) and state.outcome:
            self._has_told = True
            log.warning("%s Trying again for up to %g s.", state.outcome.exception(), self.endpoint.deadline_s)

    def _stop(self, request: _Request) -> Callable[[tenacity.RetryCallState], bool]:
        def stop(state: tenacity.RetryCallState) -> bool:
            return (
                request.spent_s + state.upcoming_sleep >= self.endpoint.deadline_s or request.n_bad >= MAX_BAD_RESPONSES
            )

        return stop

    def _pause(self, request: _Request) -> Callable[[float], Any]:
        async def pause(seconds: float) -> None:
            request.spent_s += seconds
            await self._breaker.pause(seconds)

        return pause

    async def _try(self, request: _Request) -> ChatReply:
        """One HTTP request, as soon as the bounds allow it. Raises ChatError."""
        self._breaker.check()
        await self._rates.admit(len(request.body))
        async with self._in_flight.slot():
            self._breaker.enter()
            replica = min(self._replicas, key=_load)
            started = time.monotonic()
            request.began_at = request.began_at or started
            replica.n_in_flight += 1
            try:
                reply = await self._send(request.body, replica.url, started)
                if request.tries:
                    reply = reply.model_copy(update={"tries": tuple(request.tries)})
                self._note(reply)  # before anything that a cancellation could cut short
            except ChatError as e:
                request.tries.append(self._tried(replica, f"{type(e).__name__}: {e}", started))
                self._failed(request, replica, e)
                raise
            except asyncio.CancelledError:
                self._tried(replica, "cancelled", started)
                raise
            finally:
                replica.n_in_flight -= 1
                request.spent_s += time.monotonic() - started
        self._succeeded(replica, reply)
        return reply

    def _tried(self, replica: _Replica, error: str, started: float) -> Try:
        """A request that was sent and has no reply; it is noted."""
        seconds = time.monotonic() - started
        tried = Try(endpoint=str(replica.url), error=error, latency_s=seconds, model=self.endpoint.model)
        self._note(tried)
        return tried

    def _failed(self, request: _Request, replica: _Replica, error: ChatError) -> None:
        if isinstance(error, ChatOverloaded):
            self._in_flight.overloaded()
        if isinstance(error, ChatBadResponse):
            request.n_bad += 1
        if error.retryable:
            replica.failed()
        else:
            self._breaker.answered()

    def _succeeded(self, replica: _Replica, reply: ChatReply) -> None:
        replica.succeeded()
        self._breaker.answered()
        self._in_flight.succeeded()
        self._rates.replied(reply.completion_tokens)
        if self._served and reply.model and reply.model != self._served:
            raise ChatMisconfigured(
                f"{replica.url} now answers as model {reply.model!r}, before as {self._served!r}. Verdicts of two "
                "models don't compare: serve the one that the run began with, or start a new run."
            )
        self._served = self._served or reply.model or self.endpoint.model

    async def _send(self, body: bytes, url: httpx2.URL, started: float) -> ChatReply:
        response = await self._translated(self._client.post(url, content=body, headers=JSON), str(url))
        if not response.is_success:
            raise read_error(response, str(url))
        return read_reply(response, self.endpoint, time.monotonic() - started, str(url))

    async def _translated(self, asking: Awaitable[httpx2.Response], url: str) -> httpx2.Response:
        """The answer, in time, with the client's errors as ours."""
        where = f"{url} (model {self.endpoint.model!r})"
        try:
            async with asyncio.timeout(self.endpoint.timeout_s):
                return await asking
        except httpx2.ConnectTimeout as e:
            raise ChatUnreachable(f"{where} took no connection in {self.endpoint.connect_timeout_s:g} s") from e
        except (httpx2.TimeoutException, TimeoutError) as e:
            raise ChatTimeout(f"{where} gave no answer within {self.endpoint.timeout_s:g} s") from e
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as e:
            raise ChatMisconfigured(f"{where}: {e}. Give a URL like http://localhost:8000/v1") from e
        except httpx2.DecodingError as e:
            raise ChatBadResponse(f"{where} sent a body that can't be decoded: {e}") from e
        except (httpx2.RequestError, OSError) as e:
            raise ChatUnreachable(
                f"{where} can't be reached: {str(e) or type(e).__name__}. Is the server running?"
            ) from e


def _load(replica: _Replica) -> tuple[float, int]:
    """What makes a replica less welcome: that it rests, and for how long, then what it has to do already."""
    return max(0.0, replica.rests_until - time.monotonic()), replica.n_in_flight


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the server asks, and a bit more so that not all come back at once; else a random time that grows."""
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after_s if isinstance(error, ChatError) else None
    return _jittered(state) if told is None else told + 0.1 * _jittered(state)


def _checked(url: str) -> str:
    """The URL itself. Raises SettingsError unless it names a server over HTTP."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as e:
        raise SettingsError(f"url {url!r} is no URL: {e}. Give one like http://localhost:8000/v1") from e
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"url {url!r} names no server over HTTP. Give one like http://localhost:8000/v1")
    if parsed.userinfo or parsed.query:
        raise SettingsError(
            f"url on {parsed.host!r} holds a user, a password or a query, which would end up in logs. Give one like "
            "http://localhost:8000/v1, and the key by api_key_env"
        )
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise SettingsError(f"url {url!r} has a port outside 1 to 65535. Give one like http://localhost:8000/v1")
    return url


def _headers(endpoint: EndpointSettings) -> dict[str, str]:
    if endpoint.api_key_env is None:
        return {}
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise SettingsError(
            f"api_key_env names the environment variable {endpoint.api_key_env!r}, which is not set. "
            "Set it, or leave api_key_env out for a server without keys."
        )
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise SettingsError(
            f"the environment variable {endpoint.api_key_env!r} holds characters that no key has, such as a line end, "
            "a space around it or a letter with an accent. Set it to the key alone."
        )
    return {"Authorization": f"Bearer {key}"}

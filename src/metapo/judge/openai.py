"""Chat over HTTP for any OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, hosted APIs."""

import asyncio
import os
import time
from typing import Any

import httpx2
import tenacity
from pydantic import Field

from metapo.errors import (
    ChatBadResponse,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatUnreachable,
    SettingsError,
)
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rubric import Frozen

_STATUS: dict[int, type[ChatError]] = {
    400: ChatRejected,
    401: ChatMisconfigured,
    403: ChatMisconfigured,
    404: ChatMisconfigured,
    405: ChatMisconfigured,
    408: ChatTimeout,
    413: ChatRejected,
    422: ChatRejected,
    429: ChatOverloaded,
}


class EndpointSettings(Frozen):
    """Where a model answers. `url` ends before /chat/completions; the key is read from `api_key_env` when set.

    A request that fails in a way that may pass is sent again until `deadline_s` seconds have gone by since its
    first try; `timeout_s` bounds one try; `max_in_flight` bounds the requests under way at once.
    """

    url: str = Field(min_length=1)
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    timeout_s: float = Field(default=60.0, gt=0)
    deadline_s: float = Field(default=120.0, gt=0)
    max_in_flight: int = Field(default=32, ge=1)


class OpenAITransport:
    """One HTTP client, bound to the event loop that first uses it."""

    def __init__(self, endpoint: EndpointSettings) -> None:
        self.endpoint = endpoint
        self._in_flight = asyncio.Semaphore(endpoint.max_in_flight)
        self._url = f"{_checked(endpoint.url).rstrip('/')}/chat/completions"
        self._client = httpx2.AsyncClient(
            headers=_headers(endpoint),
            timeout=endpoint.timeout_s,
            # The semaphore is the only bound: requests that wait for a connection would count as timed out.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.max_in_flight),
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Send, and send again while that can help and the deadline has not passed. Raises ChatError."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, ChatError) and e.retryable),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=10),
            stop=tenacity.stop_before_delay(self.endpoint.deadline_s),
            reraise=True,
        )
        async with self._in_flight:
            return await retrying(self._send, request)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _send(self, request: ChatRequest) -> ChatReply:
        body = {
            "model": self.endpoint.model,
            "messages": [m.model_dump() for m in request.messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        started = time.monotonic()
        response = await self._post(body)
        if not response.is_success:
            kind = _kind(response.status_code)
            raise kind(f"{self._url} answered {response.status_code}: {response.text[:300]}{_advice(kind)}")
        return _reply(response, time.monotonic() - started, self._url)

    async def _post(self, body: dict[str, Any]) -> httpx2.Response:
        where = f"{self._url} (model {self.endpoint.model!r})"
        try:
            async with asyncio.timeout(self.endpoint.timeout_s):
                return await self._client.post(self._url, json=body)
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


def _checked(url: str) -> str:
    """The URL itself. Raises SettingsError unless it names a server over HTTP."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as e:
        raise SettingsError(f"url {url!r} is no URL: {e}. Give one like http://localhost:8000/v1") from e
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"url {url!r} names no server over HTTP. Give one like http://localhost:8000/v1")
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


def _kind(status_code: int) -> type[ChatError]:
    """What an answer other than 2xx means. A redirect means a wrong address: none is followed."""
    if status_code >= 500:
        return ChatOverloaded
    return ChatMisconfigured if status_code < 400 else _STATUS.get(status_code, ChatRejected)


def _advice(kind: type[ChatError]) -> str:
    return " (check url, model and api_key_env in the settings)" if kind is ChatMisconfigured else ""


def _reply(response: httpx2.Response, latency_s: float, url: str) -> ChatReply:
    try:
        data = response.json()
        choice, usage = data["choices"][0], data.get("usage") or {}
        return ChatReply(
            text=choice["message"]["content"] or "",
            model=data.get("model") or "",
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            latency_s=latency_s,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as e:
        answered = f"{url} answered {response.status_code}, but with no chat completion"
        raise ChatBadResponse(f"{answered}: {response.text[:300]!r}") from e

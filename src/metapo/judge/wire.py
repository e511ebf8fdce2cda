"""The OpenAI dialect of chat: requests to JSON, answers to replies or errors. No network here."""

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from metapo.errors import (
    ChatBadResponse,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatTooLong,
)
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.transport import ChatReply, ChatRequest, Token

_STATUS: dict[int, type[ChatError]] = {
    400: ChatRejected,
    401: ChatMisconfigured,
    402: ChatMisconfigured,
    403: ChatMisconfigured,
    404: ChatMisconfigured,
    405: ChatMisconfigured,
    408: ChatTimeout,
    413: ChatTooLong,
    422: ChatRejected,
    429: ChatOverloaded,
    500: ChatBadResponse,
}
# How vLLM, SGLang, llama.cpp, TGI and hosted APIs say that a request exceeds the context.
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|exceed_context|longer than the model|prompt is too long|"
    r"must be <= \d+|too many (?:input )?tokens",
    re.IGNORECASE,
)
MAX_SHOWN = 300


def request_body(request: ChatRequest, endpoint: EndpointSettings) -> dict[str, Any]:
    """The JSON of a request, without its form and log-probabilities."""
    return {
        "model": endpoint.model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        endpoint.max_tokens_field: request.max_tokens,
        "temperature": request.temperature,
        **({} if request.seed is None else {"seed": request.seed}),
        **endpoint.extra_body,
    }


def read_reply(response: httpx2.Response, endpoint: EndpointSettings, latency_s: float, url: str) -> ChatReply:
    """The reply in an answer with a status of 2xx. Raises ChatBadResponse where there is none."""
    try:
        data = response.json()
        choice, usage = data["choices"][0], data.get("usage") or {}
        message = choice["message"]
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        refusal = message.get("refusal")
        return ChatReply(
            text=refusal or _text(message.get("content")),
            model=data.get("model") or "",
            finish_reason="refusal" if refusal else choice.get("finish_reason") or "stop",
            reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
            tokens=_tokens(choice.get("logprobs")),
            prompt_tokens=prompt,
            cached_tokens=cached,
            completion_tokens=completion,
            cost_usd=endpoint.price.cost(prompt or 0, cached or 0, completion or 0)
            if endpoint.price and usage
            else None,
            latency_s=latency_s,
            endpoint=url,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as e:
        answered = f"{url} answered {response.status_code}, but with no chat completion"
        raise ChatBadResponse(f"{answered}: {response.text[:MAX_SHOWN]!r}") from e


def read_error(response: httpx2.Response, url: str) -> ChatError:
    """What an answer other than 2xx means. A redirect means a wrong address: none is followed."""
    status = response.status_code
    if status < 400:
        kind: type[ChatError] = ChatMisconfigured
    else:
        kind = _STATUS.get(status, ChatOverloaded if status >= 500 else ChatRejected)
    if status == 429 and "insufficient_quota" in response.text:
        kind = ChatMisconfigured
    if kind is ChatRejected and _TOO_LONG.search(response.text):
        kind = ChatTooLong
    advice = " (check url, model and api_key_env in the settings)" if kind is ChatMisconfigured else ""
    error = kind(f"{url} answered {status}: {response.text[:MAX_SHOWN]}{advice}")
    if status in (429, 503):
        error.retry_after_s = _retry_after(response.headers)
    return error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from a number of seconds or a date (RFC 9110, section 10.2.3); None for anything else."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())


def _text(content: Any) -> str:
    """A message's content: a text, None, or a list of parts of which the text counts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}")
    return content or ""


def _tokens(logprobs: Any) -> tuple[Token, ...]:
    entries = (logprobs or {}).get("content") or []
    return tuple(
        Token(text=e["token"], top=tuple((t["token"], t["logprob"]) for t in e.get("top_logprobs") or []))
        for e in entries
    )

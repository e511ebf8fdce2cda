"""The seam to the outside: one chat request in, one chat reply out. All else in metapo runs for real in tests."""

from collections.abc import Iterable
from typing import Any, Protocol

from pydantic import Field

from metapo.errors import ChatError
from metapo.rollout import Message
from metapo.rubric import Frozen, Text


class JsonForm(Frozen):
    """The reply is to be JSON of this JSON schema. Transports ask as the server allows; readers check all the same."""

    spec: dict[str, Any]


class ChoiceForm(Frozen):
    """The reply is to be one of these texts, as it stands or as a JSON string."""

    options: tuple[str, ...] = Field(min_length=1)


class ChatRequest(Frozen):
    """Messages in order, and how to sample the reply.

    `form` is what the reply has to look like, `top_logprobs` how many alternatives to report for each token (0: none),
    `seed` what to sample with. They are wishes: a server that knows none of them still gets the request.
    """

    messages: tuple[Message, ...] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    temperature: float = Field(default=0.0, ge=0)
    form: JsonForm | ChoiceForm | None = None
    top_logprobs: int = Field(default=0, ge=0, le=20)
    # Left out where there is none, so that what is known of requests without one stays known.
    seed: int | None = Field(default=None, ge=0, exclude_if=lambda seed: seed is None)

    @property
    def last(self) -> str:
        """The text of the newest message."""
        return self.messages[-1].content


class Token(Frozen):
    """One token of a reply: its text and the log-probabilities of the most likely texts in its place."""

    text: Text
    top: tuple[tuple[Text, float], ...]


class Try(Frozen):
    """One HTTP request without a reply: where it went, the error, seconds, and the model that was asked for."""

    endpoint: str
    error: Text
    latency_s: float
    model: str = ""


class ChatReply(Frozen):
    """What the model wrote, why it stopped, and what it cost (None where the server or the settings don't say).

    `reasoning` is what the server keeps apart from the text. `prompt_tokens` counts the cached ones too.
    `tries` are the requests that failed before this one, `latency_s` the seconds that the last one took.
    """

    text: Text
    model: str = ""
    finish_reason: str = "stop"
    reasoning: Text = ""
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0
    endpoint: str = ""
    tries: tuple[Try, ...] = ()


Sent = ChatReply | Try
"""What came of one HTTP request."""


# One token: tells a wrong address, key or model before anything depends on it.
PING = ChatRequest(messages=(Message(role="user", content="Answer with the word yes."),), max_tokens=1)


class Transport(Protocol):
    """Sends chat requests. `complete` raises a ChatError, and nothing else, when there is no reply."""

    async def complete(self, request: ChatRequest) -> ChatReply: ...

    async def identify(self) -> str:
        """Who answers: the model and where it runs, as far as it can change a reply. Raises ChatError."""
        ...

    async def aclose(self) -> None: ...


class ScriptedTransport:
    """Replays replies in order, raising those that are errors; the seam for tests and examples.

    A reply that is only a text counts as complete. Raises ChatError when asked more often than the script is long.
    `requests` keeps what was asked.
    """

    def __init__(self, replies: Iterable[str | ChatReply | ChatError]) -> None:
        self._replies = iter(replies)
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        reply = next(self._replies, None)
        if reply is None:
            raise ChatError(
                f"the script holds only {len(self.requests) - 1} replies; request {len(self.requests)} came"
            )
        if isinstance(reply, ChatError):
            raise reply
        return reply if isinstance(reply, ChatReply) else ChatReply(text=reply, model="scripted")

    async def identify(self) -> str:
        return "scripted"

    async def aclose(self) -> None:
        pass

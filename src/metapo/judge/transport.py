"""The seam to the outside: one chat request in, one chat reply out. All else in metapo runs for real in tests."""

from collections.abc import Iterable
from typing import Protocol

from pydantic import Field

from metapo.errors import ChatError
from metapo.rollout import Message
from metapo.rubric import Frozen, Text


class ChatRequest(Frozen):
    """Messages in order, and how to sample the reply."""

    messages: tuple[Message, ...] = Field(min_length=1)
    max_tokens: int = Field(gt=0)
    temperature: float = Field(default=0.0, ge=0)

    @property
    def last(self) -> str:
        """The text of the newest message."""
        return self.messages[-1].content


class ChatReply(Frozen):
    """What the model wrote, why it stopped, and what it cost (tokens None where the server doesn't say)."""

    text: Text
    model: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0


# One token: tells a wrong address, key or model before anything depends on it.
PING = ChatRequest(messages=(Message(role="user", content="Answer with the word yes."),), max_tokens=1)


class Transport(Protocol):
    """Sends chat requests. `complete` raises a ChatError, and nothing else, when there is no reply."""

    async def complete(self, request: ChatRequest) -> ChatReply: ...

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

    async def aclose(self) -> None:
        pass

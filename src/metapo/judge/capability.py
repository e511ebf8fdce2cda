"""What a server can do, found out by asking it once: a 200 is no proof, since some ignore fields they don't know."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from metapo.errors import ChatBadResponse, ChatError, ChatRejected
from metapo.judge.transport import ChatReply, ChoiceForm, JsonForm

log = logging.getLogger(__name__)
Structured = Literal["json_schema", "json_object", "none"]
Ask = Callable[[str, int, dict[str, Any]], Awaitable[ChatReply]]
"""Sends a prompt with a token limit and extra fields. Raises ChatError."""

# Nobody answers these two prompts in these forms unless made to.
_ODD_SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "integer", "enum": [7]}},
    "required": ["q"],
    "additionalProperties": False,
}
_ODD_CHOICE = "q7"
_YES = "Answer with the word yes."
_ROOM = 512  # for models that think before they answer


class Capabilities:
    """Finds out what a server honours when it is first needed, and remembers it."""

    def __init__(self, ask: Ask, where: str, structured: Structured | Literal["auto"] = "auto") -> None:
        self._ask = ask
        self._where = where
        self._structured: Structured | None = None if structured == "auto" else structured
        self._choice: bool | None = None if structured == "auto" else False
        self._logprobs: bool | None = None
        self._failed: ChatError | None = None
        self._failed_at = 0.0
        self._lock = asyncio.Lock()  # so that the requests of one batch find out once

    async def fields(self, form: JsonForm | ChoiceForm | None, top_logprobs: int) -> dict[str, Any]:
        """What to add to a request for a reply of this form. Raises ChatError where the server can't be asked."""
        fields: dict[str, Any] = {}
        if isinstance(form, ChoiceForm):
            if await self.choice():
                fields = _choice(form.options)
            elif await self.structured() == "json_schema":
                fields = _schema({"type": "string", "enum": list(form.options)})
        elif form is not None:
            structured = await self.structured()
            if structured == "json_schema":
                fields = _schema(form.spec)
            elif structured == "json_object":
                fields = {"response_format": {"type": "json_object"}}
        if top_logprobs and await self.logprobs():
            fields |= {"logprobs": True, "top_logprobs": top_logprobs}
        return fields

    async def structured(self) -> Structured:
        """The strongest way to ask for JSON that the server honours."""
        async with self._alone():
            if self._structured is None:
                self._structured = await self._find_structured()
                if self._structured != "json_schema":
                    log.warning("%s does not hold replies to a JSON schema: they are only checked", self._where)
        return self._structured

    async def choice(self) -> bool:
        """Does the server know vLLM's `structured_outputs.choice`, the cheapest way to one word out of a few?"""
        async with self._alone():
            if self._choice is None:
                reply = await self._try("Write the word tea.", _ROOM, _choice([_ODD_CHOICE]))
                self._choice = reply is not None and reply.text.strip() == _ODD_CHOICE
        return self._choice

    async def logprobs(self) -> bool:
        """Does the server report log-probabilities?"""
        async with self._alone():
            if self._logprobs is None:
                reply = await self._try(_YES, 1, {"logprobs": True, "top_logprobs": 2})
                self._logprobs = reply is not None and any(token.top for token in reply.tokens)
                if not self._logprobs:
                    log.warning("%s reports no log-probabilities: the level it names counts alone", self._where)
        return self._logprobs

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One request finds out for all; those that waited for it share its failure, but not its tries, and don't ask
        in turn."""
        came_at = time.monotonic()
        async with self._lock:
            if self._failed is not None and self._failed_at >= came_at:
                raise type(self._failed)(str(self._failed)) from self._failed
            try:
                yield
            except ChatError as e:
                self._failed, self._failed_at = e, time.monotonic()
                raise

    async def _find_structured(self) -> Structured:
        reply = await self._try("Write the word tea.", _ROOM, _schema(_ODD_SCHEMA))
        if reply is not None and _json(reply) == {"q": 7}:
            return "json_schema"
        reply = await self._try(
            'Answer with the JSON object {"q": 7}.', _ROOM, {"response_format": {"type": "json_object"}}
        )
        return "json_object" if reply is not None and isinstance(_json(reply), dict) else "none"

    async def _try(self, prompt: str, max_tokens: int, fields: dict[str, Any]) -> ChatReply | None:
        """The reply, or None where the server refuses these fields."""
        try:
            return await self._ask(prompt, max_tokens, fields)
        except ChatRejected:
            return None
        except ChatBadResponse:
            await self._ask(_YES, 1, {})  # raises where the server is broken, whatever it is asked
            return None


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}}
    }


def _choice(options: Any) -> dict[str, Any]:
    return {"structured_outputs": {"choice": list(options)}}


def _json(reply: ChatReply) -> Any:
    try:
        return json.loads(reply.text)
    except ValueError:
        return None

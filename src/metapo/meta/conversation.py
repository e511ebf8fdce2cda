"""Talking to the meta model: every question and its answer are kept, whatever comes of them."""

import re
from collections.abc import Coroutine
from dataclasses import dataclass, field
from enum import StrEnum

from metapo.errors import ChatBadResponse, ChatError, ChatMisconfigured
from metapo.judge.judge import Call
from metapo.judge.template import load_template
from metapo.judge.transport import ChatRequest, Transport
from metapo.meta.settings import MetaSettings
from metapo.rollout import Message


class Stage(StrEnum):
    EXPLAIN = "explain"
    ANALYZE = "analyze"
    REFINE = "refine"
    MERGE = "merge"
    REPAIR = "repair"
    SPLIT = "split"
    COMPARE = "compare"
    EXEMPLIFY = "exemplify"
    ATTACK = "attack"
    BOUNDARY = "boundary"


@dataclass(frozen=True)
class Exchange:
    """One request to the meta model, or to the judge for its reasons: the newest message and the reply, or the error.
    `sample` is None where the stage looks at no single sample; `call` is the request itself, with what it cost and
    which tries failed before."""

    stage: Stage
    sample: int | None
    prompt: str
    call: Call
    error: str = ""

    @property
    def reply(self) -> str:
        return self.call.reply.text if self.call.reply else ""


@dataclass(frozen=True)
class MetaModel:
    """The model that rewrites rubrics. `task` says in a sentence or two what the policy is asked to do; `name` is who
    signs its proposals."""

    transport: Transport
    task: str
    settings: MetaSettings = field(default_factory=MetaSettings)
    name: str = "meta model"

    def talk(self, stage: Stage, log: list[Exchange], sample: int | None = None) -> "Conversation":
        """A new conversation, whose exchanges are appended to `log`."""
        return Conversation(self, stage, log, sample)


@dataclass
class Conversation:
    """Messages with the meta model."""

    model: MetaModel
    stage: Stage
    log: list[Exchange]
    sample: int | None = None
    messages: list[Message] = field(default_factory=list)

    async def ask(self, prompt: str) -> str:
        """Send the conversation with one more message. Raises ChatError, also for a reply that was cut."""
        self.messages.append(Message(role="user", content=prompt))
        request = ChatRequest(
            messages=tuple(self.messages),
            max_tokens=self.model.settings.max_tokens,
            temperature=self.model.settings.temperature,
        )
        try:
            reply = await self.model.transport.complete(request)
        except ChatError as e:
            error = f"{type(e).__name__}: {e}"
            self.log.append(Exchange(self.stage, self.sample, prompt, Call(None, error, e.tries), error))
            raise
        cut = f"the reply was cut at {request.max_tokens} tokens; raise meta.max_tokens"
        error = cut if reply.finish_reason == "length" else ""
        self.log.append(Exchange(self.stage, self.sample, prompt, Call(reply, tries=reply.tries), error))
        if error:
            raise ChatBadResponse(error)
        self.messages.append(Message(role="assistant", content=reply.text))
        return reply.text

    async def write_rubric(self, count_prompt: str, item_template: str) -> str:
        """Ask for the number of criteria, then for each; the items as one text, "" without a readable number.
        Raises ChatError."""
        reply = await self.ask(count_prompt)
        match = re.search(r"\d+", reply)
        count = int(match.group()[:4]) if match else 0
        if not 1 <= count <= self.model.settings.max_criteria:
            return ""
        template, form = load_template("metapo.meta", item_template), load_template("metapo.meta", "form")
        items = [
            await self.ask(template.render(number=str(i), count=str(count), form=form.text.strip()))
            for i in range(1, count + 1)
        ]
        return "\n".join(["<rubric>", *items, "</rubric>"])


async def attempt(asking: Coroutine[None, None, str]) -> str | None:
    """The reply, or None where this one request failed (its exchange keeps the error). Raises ChatMisconfigured."""
    try:
        return await asking
    except ChatMisconfigured:
        raise
    except ChatError:
        return None

"""A scripted meta model behind the chat seam: replies by the "Stage:" line of the newest message. And a meta step as
published, whichever meta model answers."""

import re
from collections.abc import Callable, Sequence
from random import Random

from metapo.errors import ChatError
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.meta.conversation import MetaModel
from metapo.meta.select import Evidence
from metapo.meta.settings import MetaSettings
from metapo.meta.step import MetaStep, Reviser, Senses
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Revision, Rubric
from metapo.rubric_text import render_criterion


async def unasked(of: Rubric, rollouts: Sequence[Rollout]) -> Sequence[Scored]:
    raise AssertionError("the published method appraises nothing")


async def revise(
    transport: Transport, parent: Revision, batch: Sequence[Scored], *, step: int, rng: Random, **settings: int
) -> MetaStep:
    """A meta step as published."""
    model = MetaModel(transport, "the task", MetaSettings(method="mpo", **settings), "reviewer")
    return await Reviser(model).step(parent, Evidence(batch), step=step, rng=rng, senses=Senses(unasked))


Reply = str | ChatError | ChatReply | Callable[[ChatRequest], str]


class Reviewer:
    """Answers each stage as told; by default every refinement and the merge write the given criteria."""

    def __init__(self, *criteria: Criterion, **replies: Reply) -> None:
        """`replies` override a stage: analysis, refine_count, refine, merge_count, merge, split_count or
        split."""
        self.criteria = criteria
        self.replies = replies
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        stage, number = _stage(request)
        reply = self.replies[stage] if stage in self.replies else self._default(stage, number)
        if isinstance(reply, ChatError):
            raise reply
        if isinstance(reply, ChatReply):
            return reply
        return ChatReply(text=reply if isinstance(reply, str) else reply(request), model="reviewer")

    async def identify(self) -> str:
        return "reviewer"

    async def aclose(self) -> None:
        pass

    def asked(self, stage: str) -> list[ChatRequest]:
        return [r for r in self.requests if _stage(r)[0] == stage]

    def _default(self, stage: str, number: int) -> str:
        if stage == "analysis":
            return "The score is inflated."
        if stage.endswith("count"):
            return f"I need {len(self.criteria)} criteria."
        return render_criterion(self.criteria[number - 1])


def _stage(request: ChatRequest) -> tuple[str, int]:
    match = re.search(r"^Stage: (\w+)(?:, (number of criteria|criterion (\d+) of \d+))?$", request.last, re.MULTILINE)
    assert match is not None, request.last
    verb = {"analysis": "analysis", "refinement": "refine", "merging": "merge", "splitting": "split"}[match[1]]
    return (f"{verb}_count", 0) if match[2] == "number of criteria" else (verb, int(match[3] or 0))

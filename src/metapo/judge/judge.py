"""The judge: (rubric, rollout) -> one verdict per criterion, or the reason why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from metapo.errors import (
    ChatBadResponse,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatUnreachable,
)
from metapo.judge.parse import parse_verdicts
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.rollout import Message, Rollout
from metapo.rubric import Criterion, Frozen, Outcome, Reason, Rubric, Unscored
from metapo.rubric_text import render_rubric

REASONS: dict[type[ChatError], Reason] = {
    ChatUnreachable: Reason.UNREACHABLE,
    ChatTimeout: Reason.TIMEOUT,
    ChatOverloaded: Reason.OVERLOADED,
    ChatBadResponse: Reason.BAD_RESPONSE,
    ChatRejected: Reason.REJECTED,
}


class JudgeSettings(Frozen):
    """How the judge asks. `max_attempts` bounds the requests per rollout when a reply is no clear verdict."""

    max_attempts: int = Field(default=2, ge=1, le=10)
    max_tokens: int = Field(default=2048, ge=1)
    temperature: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Call:
    """One request that was made for a rollout: the reply, or the error's class and message."""

    reply: ChatReply | None
    error: str = ""


@dataclass(frozen=True)
class Assessment:
    """One outcome per criterion, in the rubric's order, and the calls that it took."""

    outcomes: tuple[Outcome, ...]
    calls: tuple[Call, ...]

    @property
    def unscored(self) -> list[Unscored]:
        return [o for o in self.outcomes if isinstance(o, Unscored)]


class Judge:
    """Asks for all criteria in one request; those without a clear verdict are asked again, within limits."""

    def __init__(self, transport: Transport, *, task: str, settings: JudgeSettings | None = None) -> None:
        """`task` says in a sentence or two what the policy is asked to do."""
        self.transport = transport
        self.task = task
        self.settings = settings or JudgeSettings()
        self.template = load_template("metapo.judge", "joint")

    async def assess(self, rubric: Rubric, rollout: Rollout) -> Assessment:
        """Judge one rollout. Raises ChatMisconfigured, as no other rollout would fare better; all else is Unscored."""
        outcomes: dict[str, Outcome] = {}
        calls: list[Call] = []
        open_criteria: Sequence[Criterion] = rubric.criteria
        for _ in range(self.settings.max_attempts):
            for outcome in await self._ask(open_criteria, rollout, calls):
                outcomes[outcome.criterion_id] = outcome
            open_criteria = [c for c in rubric.criteria if isinstance(outcomes[c.id], Unscored)]
            if not open_criteria or calls[-1].reply is None:
                break
        return Assessment(tuple(outcomes[c.id] for c in rubric.criteria), tuple(calls))

    async def _ask(self, criteria: Sequence[Criterion], rollout: Rollout, calls: list[Call]) -> list[Outcome]:
        request = ChatRequest(
            messages=(Message(role="user", content=self.prompt(criteria, rollout)),),
            max_tokens=self.settings.max_tokens,
            temperature=self.settings.temperature,
        )
        try:
            reply = await self.transport.complete(request)
        except ChatMisconfigured:
            raise
        except ChatError as e:
            calls.append(Call(None, f"{type(e).__name__}: {e}"))
            reason = REASONS.get(type(e), Reason.BAD_RESPONSE)
            return [Unscored(criterion_id=c.id, reason=reason, detail=str(e)[:500]) for c in criteria]
        calls.append(Call(reply))
        return parse_verdicts(criteria, reply.text, truncated=reply.finish_reason == "length")

    def prompt(self, criteria: Sequence[Criterion], rollout: Rollout) -> str:
        """The rendered prompt. All that depends on the rollout comes last, so that servers share the prefix."""
        material = [fence("prompt", rollout.prompt)]
        if rollout.reference is not None:
            material.append(fence("reference solution", rollout.reference))
        material.append(fence("completion", rollout.completion))
        return self.template.render(
            task=self.task,
            rubric=render_rubric(Rubric(criteria=tuple(criteria))),
            criterion_ids=", ".join(c.id for c in criteria),
            material="\n\n".join(material),
        )

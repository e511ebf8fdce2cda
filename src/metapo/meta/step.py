"""One meta step: select -> analyze -> refine -> merge -> accept (MPO paper, section 3)."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from pydantic import Field

from metapo.aio import each
from metapo.errors import ChatBadResponse, ChatError, ChatMisconfigured
from metapo.judge.judge import Call
from metapo.judge.neutral import neutralize, shorten
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.meta.tidy import tidy
from metapo.reward import Scored
from metapo.rollout import Message
from metapo.rubric import Frozen, Revision, Rubric, Verdict
from metapo.rubric_text import parse_rubric, render_rubric

MAX_CHARS = 40_000  # of a completion; a longer one is shown without its middle


class MetaSettings(Frozen):
    """Limits of a meta step; `samples` rollouts are analysed (16 to 20 in the paper)."""

    samples: int = Field(default=16, ge=1)
    max_criteria: int = Field(default=12, ge=1, le=50)
    max_words: int = Field(default=1500, ge=50)
    max_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.7, ge=0)


class Stage(StrEnum):
    EXPLAIN = "explain"
    ANALYZE = "analyze"
    REFINE = "refine"
    MERGE = "merge"


@dataclass(frozen=True)
class Exchange:
    """One request to the meta model, or to the judge for its reasons: the newest message and the reply, or the error.
    `sample` is None in the merge; `used` is the reply as it came, with its cost."""

    stage: Stage
    sample: int | None
    prompt: str
    reply: str = ""
    error: str = ""
    used: ChatReply | None = None


class Decision(StrEnum):
    """How a meta step ended."""

    ADOPTED = "adopted"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class MetaStep:
    """What one meta step did. `child` is the proposed revision, adopted or not; None when there is none to propose."""

    step: int
    parent_id: str
    child: Revision | None
    decision: Decision
    reason: str
    samples: tuple[Scored, ...]
    exchanges: tuple[Exchange, ...]


Select = Callable[[Sequence[Scored], int, Random], list[Scored]]
Accept = Callable[[Rubric, Rubric], bool]
Explain = Callable[[Scored], Awaitable[Scored]]


async def as_it_is(scored: Scored) -> Scored:
    """For rollouts whose verdicts come with reasons: nothing is asked."""
    return replace(scored, assessment=replace(scored.assessment, calls=()))


def random_sample(judged: Sequence[Scored], n: int, rng: Random) -> list[Scored]:
    """`n` rollouts drawn without replacement (the paper); all of them where there are fewer."""
    return rng.sample(list(judged), min(n, len(judged)))


def always(parent: Rubric, child: Rubric) -> bool:
    """Adopt every proposal (the paper)."""
    return True


def never(parent: Rubric, child: Rubric) -> bool:
    """Adopt none: proposals are recorded, and the first rubric judges to the end."""
    return False


SELECTS: dict[str, Select] = {"random": random_sample}
ACCEPTS: dict[str, Accept] = {"always": always, "never": never}


@dataclass
class _Conversation:
    """Messages with the meta model; every request is kept in `log`, those that fail too."""

    transport: Transport
    settings: MetaSettings
    stage: Stage
    sample: int | None
    log: list[Exchange]
    messages: list[Message] = field(default_factory=list)

    async def ask(self, prompt: str) -> str:
        """Send the conversation with one more message. Raises ChatError, also for a reply that was cut."""
        self.messages.append(Message(role="user", content=prompt))
        request = ChatRequest(
            messages=tuple(self.messages),
            max_tokens=self.settings.max_tokens,
            temperature=self.settings.temperature,
        )
        try:
            reply = await self.transport.complete(request)
        except ChatError as e:
            self.log.append(Exchange(self.stage, self.sample, prompt, error=f"{type(e).__name__}: {e}"))
            raise
        cut = f"the reply was cut at {request.max_tokens} tokens; raise meta.max_tokens"
        error = cut if reply.finish_reason == "length" else ""
        self.log.append(Exchange(self.stage, self.sample, prompt, reply.text, error, reply))
        if error:
            raise ChatBadResponse(error)
        self.messages.append(Message(role="assistant", content=reply.text))
        return reply.text


class MetaModel:
    """Rewrites a rubric from recent evidence. A step that yields no usable proposal keeps the parent and says why."""

    def __init__(
        self,
        transport: Transport,
        *,
        task: str,
        settings: MetaSettings | None = None,
        proposer: str = "meta model",
        select: Select = random_sample,
        accept: Accept = always,
    ) -> None:
        self.transport = transport
        self.task = task
        self.settings = settings or MetaSettings()
        self.proposer = proposer
        self._select = select
        self._accept = accept

    async def step(
        self,
        parent: Revision,
        recent: Sequence[Scored],
        *,
        step: int,
        rng: Random,
        explain: Explain = as_it_is,
    ) -> MetaStep:
        """Propose a child of `parent` from `recent` rollouts, those selected with the judge's reasons from `explain`.
        Raises ChatMisconfigured; other failures are a reason."""
        log: list[Exchange] = []
        selected = self._select([j for j in recent if j.reward.value is not None], self.settings.samples, rng)
        samples = await each(explain, selected)
        log += [_explanation(i, call) for i, sample in enumerate(samples) for call in sample.assessment.calls]

        def end(decision: Decision, reason: str, child: Revision | None = None) -> MetaStep:
            return MetaStep(step, parent.id, child, decision, reason, tuple(samples), tuple(log))

        if not samples:
            return end(Decision.FAILED, "no scored training rollouts since the last meta step")
        conversations = await self._analyze(parent.rubric, samples, log)
        drafts = await self._refine(conversations)
        if not drafts:
            return end(Decision.FAILED, f"none of {len(samples)} samples gave a readable refinement")
        text, why = await self._merge(parent.rubric, drafts, log)
        parsed = parse_rubric(neutralize(text))  # it may quote a completion, and will stand in every judge's prompt
        if not parsed.criteria:
            return end(Decision.FAILED, why or f"the merged rubric can't be read: {_listed(parsed.problems)}")
        rubric, notes = tidy(parent.rubric, parsed.criteria, self.settings.max_criteria, self.settings.max_words)
        notes = [*map(str, parsed.problems), *notes]
        if rubric == parent.rubric:
            return end(Decision.UNCHANGED, "the proposal equals the rubric in use")
        reason = "; ".join([f"merged from {len(drafts)} refinements", *notes])
        child = Revision(rubric=rubric, parents=(parent.id,), reason=reason, proposer=self.proposer, step=step)
        accepted = self._accept(parent.rubric, rubric)
        return end(Decision.ADOPTED if accepted else Decision.REJECTED, reason, child)

    async def _analyze(self, rubric: Rubric, samples: Sequence[Scored], log: list[Exchange]) -> list[_Conversation]:
        """One conversation per sample that got an analysis, in the samples' order."""
        logs: list[list[Exchange]] = [[] for _ in samples]
        conversations = [
            _Conversation(self.transport, self.settings, Stage.ANALYZE, i, logs[i]) for i in range(len(samples))
        ]
        prompts = [self._analysis_prompt(rubric, sample) for sample in samples]
        replies = await each(lambda cp: _try(cp[0].ask(cp[1])), list(zip(conversations, prompts, strict=True)))
        for part in logs:
            log.extend(part)
        for conversation in conversations:
            conversation.log = log
            conversation.stage = Stage.REFINE
        return [c for c, reply in zip(conversations, replies, strict=True) if reply and reply.strip()]

    async def _refine(self, conversations: Sequence[_Conversation]) -> list[str]:
        """One refined rubric as text per conversation whose refinement can be read."""
        texts = await each(lambda c: _try(self._write(c, "refine", self._count_prompt(c))), conversations)
        return [text for text in texts if text and parse_rubric(text).criteria]

    async def _merge(self, parent: Rubric, drafts: Sequence[str], log: list[Exchange]) -> tuple[str, str]:
        """The merged rubric as text, or "" and why not."""
        conversation = _Conversation(self.transport, self.settings, Stage.MERGE, None, log)
        prompt = load_template("metapo.meta", "merge_count").render(
            task=self.task,
            rubric=render_rubric(parent),
            proposals="\n\n".join(fence(f"proposal {i}", draft) for i, draft in enumerate(drafts, 1)),
            max_criteria=str(self.settings.max_criteria),
            max_words=str(self.settings.max_words),
        )
        try:
            return await self._write(conversation, "merge", prompt), ""
        except ChatMisconfigured:
            raise
        except ChatError as e:
            return "", f"the merge failed: {type(e).__name__}: {e}"

    async def _write(self, conversation: _Conversation, stage: str, count_prompt: str) -> str:
        """Ask for the number of criteria, then for each; the items as one text, "" without a readable number."""
        reply = await conversation.ask(count_prompt)
        match = re.search(r"\d+", reply)
        count = int(match.group()[:4]) if match else 0
        if not 1 <= count <= self.settings.max_criteria:
            return ""
        template, form = load_template("metapo.meta", f"{stage}_criterion"), load_template("metapo.meta", "form")
        items = [
            await conversation.ask(template.render(number=str(i), count=str(count), form=form.text.strip()))
            for i in range(1, count + 1)
        ]
        return "\n".join(["<rubric>", *items, "</rubric>"])

    def _count_prompt(self, conversation: _Conversation) -> str:
        return load_template("metapo.meta", "refine_count").render(max_criteria=str(self.settings.max_criteria))

    def _analysis_prompt(self, rubric: Rubric, sample: Scored) -> str:
        rollout, reward = sample.rollout, sample.reward
        material = [fence("prompt", neutralize(rollout.prompt))]
        if rollout.reference is not None:
            material.append(fence("reference solution", neutralize(rollout.reference)))
        material.append(fence("completion", shorten(neutralize(rollout.completion), MAX_CHARS).text))
        return load_template("metapo.meta", "analyze").render(
            task=self.task,
            rubric=render_rubric(rubric),
            material="\n\n".join(material),
            verdicts="\n".join(
                f"- {o.criterion_id}: {o.value:g}. {o.rationale}"
                for o in sample.assessment.outcomes
                if isinstance(o, Verdict)
            ),
            points=f"{reward.raw:g}",
            min_points=f"{rubric.min_points:g}",
            max_points=f"{rubric.max_points:g}",
            normalized=f"{reward.normalized:.2f}",
        )


def _explanation(sample: int, call: Call) -> Exchange:
    """Its prompt is the judge's template, filled with the rubric in force and the sample, and so is not repeated."""
    return Exchange(Stage.EXPLAIN, sample, "", call.reply.text if call.reply else "", call.error, call.reply)


async def _try(asking: Coroutine[None, None, str]) -> str | None:
    """The reply, or None where this sample's request failed (its exchange keeps the error)."""
    try:
        return await asking
    except ChatMisconfigured:
        raise
    except ChatError:
        return None


def _listed(problems: Sequence[object]) -> str:
    return "; ".join(str(p) for p in problems[:5]) or "it is empty"

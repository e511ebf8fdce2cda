"""The judge: (rubric, rollout) -> one verdict per criterion, or the reason why there is none."""

import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from pydantic import Field

from metapo.aio import each
from metapo.errors import (
    ChatBadResponse,
    ChatDown,
    ChatError,
    ChatMisconfigured,
    ChatOverloaded,
    ChatRejected,
    ChatTimeout,
    ChatTooLong,
    ChatUnreachable,
)
from metapo.judge.cache import Answers, Cache, MemoryCache
from metapo.judge.neutral import Shown, neutralize, shorten
from metapo.judge.parse import Reading, parse_reply
from metapo.judge.preparation import First, preparation_prompt, read_preparation, shown_preparation
from metapo.judge.question import Question, Sheet, Style
from metapo.judge.template import fence
from metapo.judge.transport import ChatReply, ChatRequest, Sent, Transport, Try
from metapo.pages import in_notebook
from metapo.rollout import Message, Rollout
from metapo.rubric import Criterion, Frozen, Outcome, Reason, Rubric, Unscored, Verdict, digest

REASONS: dict[type[ChatError], Reason] = {
    ChatUnreachable: Reason.UNREACHABLE,
    ChatDown: Reason.UNREACHABLE,
    ChatTimeout: Reason.TIMEOUT,
    ChatOverloaded: Reason.OVERLOADED,
    ChatBadResponse: Reason.BAD_RESPONSE,
    ChatRejected: Reason.REJECTED,
    ChatTooLong: Reason.TOO_LONG,
}
LETTER_TOKENS = 16
LOOP_ADVICE = (
    "a reply under a JSON schema ended in nothing but white space; it is asked for again without the schema. On vLLM, "
    """--structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' prevents it"""
)
MAX_SHORTENINGS = 4
RUBRICS_AT_ONCE = 8  # in force for some prompts, or examined beside them
GAP_CHARS = 60  # about what the line takes that stands for the part left out
N_ALTERNATIVES = 20
READER = "2"  # counts up when replies are read in another way, so that no cached verdict outlives its reader
log = logging.getLogger(__name__)


class JudgeSettings(Frozen):
    """How the judge asks.

    `mode` joint asks for all criteria in one request, split for each in a request of its own, expected does the same
    and takes the mean over the levels' probabilities, as long as the probabilities of the levels' letters sum up to
    `min_label_mass`. `rationales` says when joint requests ask for reasons: for every rollout, for those that a meta
    step reads, or never. `max_attempts` bounds the requests per question when a reply is no clear verdict.
    A completion of more than `max_chars` characters is shown without its middle. `first` says what the judge writes
    before it sees any completion: nothing; the solution of the prompt, or what its reference solution says decides it,
    once per prompt; or a plan by which to grade, once per prompt and rubric. `warm_up` sends one token's request before
    the first batch under a rubric, `cache` keeps verdicts for equal requests.
    `turns` each judges every assistant turn of a completion by itself, at most `max_turns` times, and takes the mean;
    whole judges the completion at once.
    """

    mode: Literal["joint", "split", "expected"] = "joint"
    rationales: Literal["always", "for_meta", "never"] = "for_meta"
    max_attempts: int = Field(default=2, ge=1, le=10)
    max_tokens: int = Field(default=2048, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    max_chars: int = Field(default=40_000, ge=100)
    min_label_mass: float = Field(default=0.5, ge=0, le=1)
    first: First = "nothing"
    warm_up: bool = True
    cache: bool = True
    turns: Literal["whole", "each"] = "whole"
    max_turns: int = Field(default=8, ge=1)


@dataclass(frozen=True)
class Call:
    """One request that was made for a rollout: the reply, or the error. `tries` failed on the way to either."""

    reply: ChatReply | None
    error: str = ""
    tries: tuple[Try, ...] = ()

    @property
    def sent(self) -> tuple[Sent, ...]:
        """The HTTP requests that it took, oldest first; none where it failed before anything was sent."""
        return self.tries if self.reply is None else (*self.tries, self.reply)


@dataclass(frozen=True)
class Opinion:
    """What one judge said where several were asked (`role` "panel"), or what was said of one turn ("turn")."""

    judge: str
    outcomes: tuple[Outcome, ...]
    role: Literal["panel", "turn"] = "panel"


@dataclass(frozen=True)
class Assessment:
    """One outcome per criterion, in the rubric's order, and the calls that it took.

    `n_reused` outcomes were known from an equal request; `n_left_out` characters of the completion were not shown.
    `opinions` are those that the outcomes of a panel, or of several turns, were made from.
    """

    outcomes: tuple[Outcome, ...]
    calls: tuple[Call, ...]
    n_reused: int = 0
    n_left_out: int = 0
    opinions: tuple[Opinion, ...] = ()

    @property
    def unscored(self) -> list[Unscored]:
        return [o for o in self.outcomes if isinstance(o, Unscored)]

    def _repr_html_(self) -> str | None:
        n = len(self.calls)
        return in_notebook("outcomes", self.outcomes, f"{n} {'call' if n == 1 else 'calls'}, {self.n_reused} known")


class _Known(Frozen):
    """What is remembered of a question: its verdicts, and how much of the completion they didn't see."""

    verdicts: tuple[Verdict, ...]
    n_left_out: int


class Assessor(Protocol):
    """A judge or a panel of them."""

    async def assess(self, rubric: Rubric, rollout: Rollout) -> Assessment: ...

    async def explain(self, rubric: Rubric, rollout: Rollout, assessment: Assessment) -> Assessment: ...

    async def warm_up(self, rubric: Rubric, rollout: Rollout) -> tuple[Call, ...]: ...


@dataclass
class _Case:
    """A rollout as one assessment shows it, and what the assessment has cost so far."""

    rollout: Rollout
    prompt: str
    reference: str | None
    shown: Shown
    preparation: str = ""
    """As it is shown."""
    calls: list[Call] = field(default_factory=list)
    n_reused: int = 0
    n_left_out: int = 0
    written: dict[tuple[Question, int], tuple[Shown, ChatRequest]] = field(default_factory=dict)

    @classmethod
    def of(cls, rollout: Rollout, max_chars: int) -> "_Case":
        reference = None if rollout.reference is None else neutralize(rollout.reference)
        return cls(rollout, neutralize(rollout.prompt), reference, shorten(neutralize(rollout.completion), max_chars))

    def halve(self) -> None:
        """Show half as much of the completion as before."""
        n_shown = len(self.shown.text) - (GAP_CHARS if self.shown.n_left_out else 0)
        self.shown = shorten(neutralize(self.rollout.completion), max(n_shown // 2, 1))

    @property
    def given(self) -> str:
        """The prompt and, where there is one, its reference solution."""
        parts = [fence("prompt", self.prompt)]
        if self.reference is not None:
            parts.append(fence("reference solution", self.reference))
        return "\n\n".join(parts)

    @property
    def material(self) -> str:
        """All that the judge is shown of the rollout."""
        parts = [self.given, self.preparation] if self.preparation else [self.given]
        left_out = f", without {self.shown.n_left_out} characters of its middle" if self.shown.n_left_out else ""
        parts.append(fence(f"completion{left_out}", self.shown.text))
        return "\n\n".join(parts)


class Judge:
    """Asks a model for verdicts; what is not clear is asked again, within limits."""

    def __init__(
        self,
        transport: Transport,
        *,
        task: str,
        settings: JudgeSettings | None = None,
        cache: Cache | None = None,
        name: str = "",
    ) -> None:
        """`task` says in a sentence or two what the policy is asked to do. `cache` outlives this object; without one,
        verdicts are remembered for as long as it lives. `name` keeps two judges of one model apart in it."""
        self.transport = transport
        self.name = name
        self.task = task
        self.settings = settings or JudgeSettings()
        self._answers = Answers(cache or MemoryCache())
        self._is_shared = cache is not None
        self._in_use: deque[tuple[Question, ...]] = deque(maxlen=RUBRICS_AT_ONCE)
        self._has_advised = False

    async def assess(self, rubric: Rubric, rollout: Rollout) -> Assessment:
        """Judge one rollout. Raises ChatMisconfigured, as no other rollout would fare better, and StoreError where the
        cache fails; all else is Unscored."""
        return await self._assess(self._questions(rubric), rollout)

    async def explain(self, rubric: Rubric, rollout: Rollout, assessment: Assessment) -> Assessment:
        """The same verdicts with a rationale each, for those who read them. Where the judge, now that it gives reasons,
        comes to other points, the rationale says so and the verdict stands. The calls are those that this took.
        Raises ChatMisconfigured."""
        has_all = all(isinstance(o, Unscored) or o.rationale for o in assessment.outcomes)
        if self.settings.rationales == "never" or has_all:
            return replace(assessment, calls=())
        sheet = self._questions(rubric)[0].sheet
        asked = await self._assess([Question(sheet, Style.RATIONALES, tuple(sheet.keys))], rollout)
        again = {o.criterion_id: o for o in asked.outcomes}
        explained = tuple(_explained(o, again[o.criterion_id]) for o in assessment.outcomes)
        return replace(assessment, outcomes=explained, calls=asked.calls)

    async def warm_up(self, rubric: Rubric, rollout: Rollout) -> tuple[Call, ...]:
        """One token under a rubric, so that the server holds the prefix that a batch is going to share. A failure is in
        the call: where the server can't answer, the batch says so. Raises ChatMisconfigured."""
        case = _Case.of(rollout, self.settings.max_chars)
        request = self._request(self._questions(rubric)[0], case, 1)
        try:
            await self._send(request.model_copy(update={"form": None, "top_logprobs": 0}), case)
        except ChatMisconfigured:
            raise
        except ChatError as e:
            log.info("no warm-up: %s", e)
        return tuple(case.calls)

    def prompt(self, rubric: Rubric, rollout: Rollout) -> str:
        """The prompt of the first request for a rollout, without what is prepared."""
        return self.prompts(rubric, rollout)[0]

    def prompts(self, rubric: Rubric, rollout: Rollout) -> list[str]:
        """The prompts of all requests for a rollout whose replies are clear, without what is prepared."""
        case = _Case.of(rollout, self.settings.max_chars)
        return [question.prompt(self.task, case.material) for question in self._questions(rubric)]

    def _questions(self, rubric: Rubric) -> tuple[Question, ...]:
        """What to ask about each completion, one request per question; kept, as many completions have one rubric."""
        known = next((questions for questions in self._in_use if questions[0].sheet.rubric is rubric), None)
        if known is None:
            known = tuple(self._new_questions(Sheet.of(rubric)))
            self._in_use.append(known)
        return known

    def _new_questions(self, sheet: Sheet) -> list[Question]:
        if self.settings.mode == "joint":
            style = Style.RATIONALES if self.settings.rationales == "always" else Style.LEVELS
            return [Question(sheet, style, tuple(sheet.keys))]
        # A quote doesn't fit into a letter.
        return [Question(sheet, Style.LEVELS if c.evidence else Style.LETTER, (key,)) for key, c in sheet.keys.items()]

    async def _assess(self, questions: Sequence[Question], rollout: Rollout) -> Assessment:
        case = _Case.of(rollout, self.settings.max_chars)
        outcomes: dict[str, Outcome] = {}
        try:
            if self.settings.first != "nothing":
                case.preparation = await self._prepare(questions[0].sheet, case)
            # The first question fills the server's cache with the prefix that the others share.
            answers = [await self._answer(questions[0], case)]
            answers += await each(lambda question: self._answer(question, case), questions[1:])
            outcomes = {key: outcome for answer in answers for key, outcome in answer.items()}
        except ChatMisconfigured:
            raise
        except ChatError as e:  # nothing prepared, or nobody who says who answers: nothing was asked
            outcomes = {key: _failed(c, e) for question in questions for key, c in question.criteria.items()}
        in_order = tuple(outcomes[key] for key in questions[0].sheet.keys)
        n_left_out = max(case.n_left_out, case.shown.n_left_out)
        return Assessment(in_order, tuple(case.calls), case.n_reused, n_left_out)

    async def _prepare(self, sheet: Sheet, case: _Case) -> str:
        """What the judge works out beforehand, as it is shown; once for all completions of a prompt, a plan under each
        rubric. Raises ChatError."""
        text = preparation_prompt(
            self.settings.first,
            task=self.task,
            rubric=sheet.text,
            given=case.given,
            has_reference=case.reference is not None,
        )
        message = Message(role="user", content=text)
        request = ChatRequest(
            messages=(message,), max_tokens=self.settings.max_tokens, temperature=self.settings.temperature
        )
        async with self._answers.claim(await self._key(request)) as claim:
            if claim.known is None and claim.shared is None:
                claim.found = claim.shared = read_preparation(await self._send(request, case))
        return shown_preparation(self.settings.first, claim.known or claim.shared or "")

    async def _answer(self, question: Question, case: _Case) -> dict[str, Outcome]:
        """One outcome per key of a question; from an equal one that was answered before, where there is one."""
        if not self.settings.cache:
            return await self._settle(question, case)
        async with self._answers.claim(await self._key(self._request(question, case, self._room(question)))) as claim:
            if claim.known is not None:
                known = _Known.model_validate_json(claim.known)
                case.n_reused += len(question.keys)
                case.n_left_out = max(case.n_left_out, known.n_left_out)
                return dict(zip(question.keys, known.verdicts, strict=True))
            if claim.shared is not None:
                outcomes, n_left_out = claim.shared
                case.n_reused += len(question.keys)
                case.n_left_out = max(case.n_left_out, n_left_out)
                return dict(zip(question.keys, outcomes, strict=True))
            outcomes = await self._settle(question, case)
            claim.shared = tuple(outcomes.values()), case.shown.n_left_out
            verdicts = [o for o in outcomes.values() if isinstance(o, Verdict)]
            if len(verdicts) == len(outcomes):
                claim.found = _Known(verdicts=tuple(verdicts), n_left_out=case.shown.n_left_out).model_dump_json()
            return outcomes

    async def _key(self, request: ChatRequest) -> str:
        """A digest over all that could change the verdict: the request with every text in it, who answers it, and how
        the reply is read."""
        who = await self.transport.identify() if self._is_shared else ""
        about = digest([READER, who, self.name, self.settings.min_label_mass])
        return hashlib.sha256(f"{about} {request.model_dump_json()}".encode()).hexdigest()

    async def _settle(self, question: Question, case: _Case) -> dict[str, Outcome]:
        """Ask, and ask again for what has no clear verdict."""
        outcomes: dict[str, Outcome] = {}
        still_open, room, form = question, self._room(question), True
        for _ in range(self.settings.max_attempts):
            try:
                reply = await self._ask(still_open, case, room, with_form=form)
            except ChatMisconfigured:
                raise
            except ChatError as e:
                return outcomes | {key: _failed(c, e) for key, c in still_open.criteria.items()}
            reading = self._read(still_open, reply, case)
            outcomes |= reading.outcomes
            missing = [key for key in question.keys if isinstance(outcomes[key], Unscored)]
            if not missing or (reading.is_refused and self.settings.temperature == 0):
                break
            still_open = still_open.only(missing)
            if reading.is_cut:
                room = self.settings.max_tokens if room < self.settings.max_tokens else 2 * self.settings.max_tokens
            form = not reading.is_loop
            if reading.is_loop and not self._has_advised:
                self._has_advised = True
                log.warning(LOOP_ADVICE)
        return {key: outcomes[key] for key in question.keys}

    async def _ask(self, question: Question, case: _Case, room: int, *, with_form: bool) -> ChatReply:
        """The reply to a question, with as much of the completion as fits. Raises ChatError."""
        least = min(room, _least_room(question))
        for shortenings_left in reversed(range(MAX_SHORTENINGS + 2)):
            shown, request = case.shown, self._request(question, case, room)
            try:
                return await self._send(request if with_form else request.model_copy(update={"form": None}), case)
            except ChatTooLong as e:
                if shortenings_left == 0:
                    raise _too_long(question, request, e) from e
                if room > least:  # a shorter reply costs nothing, a completion without its middle does
                    room = least
                elif case.shown is shown:  # else another question about this rollout has shortened it meanwhile
                    case.halve()
        raise AssertionError("the last round returns or raises")

    def _read(self, question: Question, reply: ChatReply, case: _Case) -> Reading:
        mass = self.settings.min_label_mass if self.settings.mode == "expected" else None
        return parse_reply(question, reply, case.rollout.completion, mass)

    def _room(self, question: Question) -> int:
        """Tokens for a first reply; a letter that takes more is given it in the next attempt."""
        return (
            min(LETTER_TOKENS, self.settings.max_tokens) if question.style is Style.LETTER else self.settings.max_tokens
        )

    def _request(self, question: Question, case: _Case, room: int) -> ChatRequest:
        """Written once, although it is needed for its key and to be sent."""
        shown, known = case.written.get((question, room), (None, None))
        if known is not None and shown is case.shown:
            return known
        request = ChatRequest(
            messages=(Message(role="user", content=question.prompt(self.task, case.material)),),
            max_tokens=room,
            temperature=self.settings.temperature,
            form=question.form,
            top_logprobs=N_ALTERNATIVES if self.settings.mode == "expected" and question.style is Style.LETTER else 0,
        )
        case.written[question, room] = (case.shown, request)
        return request

    async def _send(self, request: ChatRequest, case: _Case) -> ChatReply:
        """The reply, kept with the case like any failure on the way to it. Raises ChatError."""
        try:
            reply = await self.transport.complete(request)
        except ChatError as e:
            case.calls.append(Call(None, f"{type(e).__name__}: {e}", e.tries))
            raise
        case.calls.append(Call(reply, tries=reply.tries))
        return reply


def _least_room(question: Question) -> int:
    """Tokens in which a reply fits that says no more than it is asked for."""
    if question.style is Style.LETTER:
        return LETTER_TOKENS
    per_key = 150 if question.style is Style.RATIONALES else 30
    return 50 + sum(per_key + (100 if c.evidence else 0) for c in question.criteria.values())


def _failed(criterion: Criterion, error: ChatError) -> Unscored:
    reason = REASONS.get(type(error), Reason.BAD_RESPONSE)
    return Unscored(criterion_id=criterion.id, reason=reason, detail=str(error)[:500])


def _too_long(question: Question, request: ChatRequest, error: ChatTooLong) -> ChatError:
    """The error itself, or, where the rubric takes most of the room, one that ends the run."""
    n_rubric, n_all = len(question.sheet.text), len(request.last)
    if n_rubric < n_all / 2:
        return error
    return ChatMisconfigured(
        f"the rubric takes {n_rubric} of {n_all} characters of a request that is too long: {error}. "
        "Shorten the rubric, or serve the judge's model with a longer context."
    )


def _explained(outcome: Outcome, again: Outcome) -> Outcome:
    if isinstance(outcome, Unscored) or isinstance(again, Unscored):
        return outcome
    differs = f"(With a rationale, the judge gives {again.points} points.) " if again.points != outcome.points else ""
    return outcome.model_copy(update={"rationale": differs + again.rationale})

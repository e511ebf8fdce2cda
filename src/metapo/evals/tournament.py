"""A tournament: every match is judged in both orders, and is on record as soon as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import Field

from metapo.aio import each
from metapo.errors import ChatDown, ChatError, ChatMisconfigured
from metapo.evals.asking import Question, read_reply
from metapo.evals.schedule import Fixture
from metapo.judge.budget import Budget
from metapo.judge.judge import Call
from metapo.judge.ledger import Ledger
from metapo.judge.parse import Choice
from metapo.judge.transport import ChatRequest, Transport
from metapo.records import call_records, take_records
from metapo.rubric import Frozen, Text
from metapo.store import CallRecord, Spent

CHARS_PER_TOKEN = 4  # of English; an estimate, as only the judge's own tokenizer knows


class Result(StrEnum):
    """How a match got its result."""

    WON = "won"
    """One model was chosen in both orders."""
    NEITHER = "neither"
    """A draw: none was better in either order."""
    LEANING = "leaning"
    """A draw: one was chosen in one order, none in the other."""
    PLACE = "place"
    """A draw: the same place was chosen in both orders, so each model once."""
    EQUAL = "equal"
    """A draw: both wrote the same text, so nobody was asked."""
    UNSCORED = "unscored"
    """No result: an order has no clear answer."""


class Asked(Frozen):
    """What came of showing the match in one order, with `first` as completion A: the letter, or the problem that left
    none, and the raw reply or the error."""

    first: Text
    choice: Choice | None = None
    problem: Text = ""
    reply: Text = ""
    error: Text = ""
    n_tries: int = Field(default=0, ge=0)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def chosen(self) -> str:
        """A model's place: "first", "second", or "" for neither."""
        return {"A": "first", "B": "second"}.get(self.choice or "", "")


class Played(Frozen):
    """A match as it stands in the file: who won ("draw" for nobody, None without a result), how, and what was asked.
    `judge` and `question` say by whom and how it was judged."""

    id: str
    prompt: Text
    model_a: Text
    model_b: Text
    winner: Text | None
    result: Result
    completion_a: Text
    completion_b: Text
    judge: Text
    question: str
    orders: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What is yet to be asked: requests, characters of their prompts, and at most so many tokens of replies."""

    n_matches: int
    n_requests: int
    prompt_chars: int
    max_reply_tokens: int

    @property
    def prompt_tokens(self) -> int:
        return round(self.prompt_chars / CHARS_PER_TOKEN)


def waiting(fixtures: Sequence[Fixture], known: Mapping[str, Played]) -> list[Fixture]:
    """Those without a result in `known`, by id."""
    return [fixture for fixture in fixtures if _missing(fixture, known.get(fixture.id)) is not None]


def estimate(question: Question, fixtures: Sequence[Fixture], known: Mapping[str, Played]) -> Estimate:
    """What `play` would ask; nothing is sent."""
    asking = [(f, missing) for f in fixtures if (missing := _missing(f, known.get(f.id)))]
    requests = [_request(question, f, first) for f, missing in asking for first in missing]
    chars = sum(len(request.last) for request in requests)
    return Estimate(len(asking), len(requests), chars, len(requests) * question.max_tokens)


@dataclass
class Tournament:
    """Plays matches before a judge. `judge` is who it says it is (`Transport.identify`), `note` puts a match on record,
    `at_once` bounds the matches under way.

    What was asked is in `calls`; `reached` names the part of the budget that is used up, after which no match begins.
    """

    transport: Transport
    judge: str
    question: Question
    note: Callable[[Played], None]
    at_once: int = 16
    budget: Budget = field(default_factory=Budget)
    ledger: Ledger = field(default_factory=Ledger)
    calls: list[CallRecord] = field(default_factory=list)
    reached: str = ""
    _tokens: int = 0
    _cost_usd: float = 0.0

    @property
    def spent(self) -> Spent:
        """What all requests of this tournament cost, those included by which the client found out about the judge."""
        self.calls += take_records(self.ledger)
        return Spent.of(self.calls)

    async def play(self, fixtures: Sequence[Fixture], known: Mapping[str, Played]) -> None:
        """Play the matches that have no result in `known` (by id), each in the orders that have no clear answer there.

        Every match is noted when it ends; one that an error or an interruption ends halfway is noted with what it has.
        Raises ChatMisconfigured, and ChatDown where the judge answers nobody any more.
        """
        self._count(take_records(self.ledger))  # what was asked about the judge itself
        left = waiting(fixtures, known)
        await each(lambda fixture: self._match(fixture, known.get(fixture.id)), left, self.at_once)

    async def _match(self, fixture: Fixture, before: Played | None) -> None:
        missing = _missing(fixture, before) or []
        if missing and self._is_spent():
            return
        orders = {asked.first: asked for asked in before.orders if asked.choice} if before else {}
        n_known = len(orders)

        async def ask(first: str) -> None:
            orders[first] = await self._ask(fixture, first)

        try:
            await each(ask, missing)
        finally:
            if len(orders) > n_known or not missing:
                self.note(self._played(fixture, orders))

    async def _ask(self, fixture: Fixture, first: str) -> Asked:
        try:
            reply = await self.transport.complete(_request(self.question, fixture, first))
        except (ChatMisconfigured, ChatDown):
            raise
        except ChatError as e:
            error = f"{type(e).__name__}: {e}"
            self._take(Call(None, error, e.tries))
            return Asked(first=first, problem=type(e).__name__, error=error, n_tries=len(e.tries))
        self._take(Call(reply, tries=reply.tries))
        reading = read_reply(reply)
        return Asked(
            first=first,
            choice=reading.choice,
            problem=reading.problem,
            reply=reply.text or reply.reasoning,
            n_tries=len(reply.tries) + 1,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cost_usd=reply.cost_usd,
        )

    def _take(self, call: Call) -> None:
        self.ledger.claim(call.sent)
        self._count(call_records(call, "judge"))

    def _count(self, records: Sequence[CallRecord]) -> None:
        self.calls += records
        spent = Spent.of(records)
        self._tokens, self._cost_usd = self._tokens + spent.tokens, self._cost_usd + spent.cost_usd

    def _is_spent(self) -> bool:
        self.reached = self.reached or self.budget.reached(self._tokens, self._cost_usd)
        return bool(self.reached)

    def _played(self, fixture: Fixture, orders: dict[str, Asked]) -> Played:
        both = tuple(orders[first] for first in (fixture.model_a, fixture.model_b) if first in orders)
        winner, result = decide(fixture, both)
        return Played(
            id=fixture.id,
            prompt=fixture.prompt,
            model_a=fixture.model_a,
            model_b=fixture.model_b,
            winner=winner,
            result=result,
            completion_a=fixture.completion_a,
            completion_b=fixture.completion_b,
            judge=self.judge,
            question=self.question.digest,
            orders=both,
        )


def decide(fixture: Fixture, orders: Sequence[Asked]) -> tuple[str | None, Result]:
    """Who won, and how: who was chosen in both orders. All else is a draw, unless an order has no clear answer."""
    if _are_equal(fixture):
        return "draw", Result.EQUAL
    if len(orders) < 2 or not all(asked.choice for asked in orders):
        return None, Result.UNSCORED
    rivals = {fixture.model_a: fixture.model_b, fixture.model_b: fixture.model_a}
    chosen = [{"first": a.first, "second": rivals[a.first]}.get(a.chosen) for a in orders]
    if chosen[0] == chosen[1]:
        return (chosen[0], Result.WON) if chosen[0] else ("draw", Result.NEITHER)
    return "draw", Result.PLACE if all(chosen) else Result.LEANING


def _missing(fixture: Fixture, before: Played | None) -> list[str] | None:
    """Who is to be shown first in the orders yet to be asked; None where the match has its result."""
    if before is not None and before.result is not Result.UNSCORED:
        return None
    if _are_equal(fixture):
        return []
    answered = {asked.first for asked in before.orders if asked.choice} if before else set()
    return [model for model in (fixture.model_a, fixture.model_b) if model not in answered]


def _are_equal(fixture: Fixture) -> bool:
    return fixture.completion_a.split() == fixture.completion_b.split()


def _request(question: Question, fixture: Fixture, first: str) -> ChatRequest:
    texts = fixture.completion_a, fixture.completion_b
    return question.request(fixture.prompt, *(texts if first == fixture.model_a else texts[::-1]))

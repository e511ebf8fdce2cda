"""Matches before scripted judges: results, failures, interruptions, budgets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import ChatDown, ChatError, ChatMisconfigured, ChatTimeout
from metapo.evals.asking import Question
from metapo.evals.schedule import Fixture
from metapo.evals.tournament import Asked, Played, Result, Tournament, decide, estimate, waiting
from metapo.judge.budget import Budget
from metapo.judge.transport import ChatReply, ChatRequest
from tests.evals.parts import entrant, fixtures, honest

QUESTION = Question("Write.", max_tokens=100)


@dataclass
class Judge:
    """A transport that answers as a function of the prompt; what the function raises is raised."""

    answer: Callable[[str], str] = honest
    asked: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request.last)
        await asyncio.sleep(0)
        return ChatReply(text=self.answer(request.last), **self.usage)

    async def identify(self) -> str:
        return "judge"

    async def aclose(self) -> None:
        pass


def tournament(judge: Judge, **more: Any) -> tuple[Tournament, dict[str, Played]]:
    on_record: dict[str, Played] = {}
    return Tournament(judge, "judge", QUESTION, lambda p: on_record.__setitem__(p.id, p), **more), on_record


async def test_the_better_one_wins_in_either_place() -> None:
    judge = Judge()
    played = fixtures(entrant("x", 5, 2, 3), entrant("y", 1, 9, 3))
    playing, on_record = tournament(judge)
    await playing.play(played, {})
    results = [(on_record[f.id].winner, on_record[f.id].result) for f in played]
    assert results == [("x", Result.WON), ("y", Result.WON), ("draw", Result.NEITHER)]
    assert len(judge.asked) == 6
    first = on_record[played[0].id]
    assert [(o.first, o.choice, o.reply) for o in first.orders] == [
        ("x", "A", "One is better.\n\nA"),
        ("y", "B", "One is better.\n\nB"),
    ]
    assert (first.judge, first.question) == ("judge", QUESTION.digest)


async def test_a_judge_that_sees_places_only_makes_draws() -> None:
    playing, on_record = tournament(Judge(lambda prompt: "B"))
    await playing.play(fixtures(entrant("x", 1, 2), entrant("y", 3, 4)), {})
    assert {p.result for p in on_record.values()} == {Result.PLACE}
    assert {p.winner for p in on_record.values()} == {"draw"}


async def test_equal_texts_are_a_draw_and_nobody_is_asked() -> None:
    equal = Fixture("p", "x", "y", "one  text\n", "one text")
    judge = Judge()
    playing, on_record = tournament(judge)
    await playing.play([equal], {})
    assert (on_record[equal.id].winner, on_record[equal.id].result) == ("draw", Result.EQUAL)
    assert judge.asked == []
    assert waiting([equal], on_record) == []


choices = st.sampled_from(["A", "B", "T", None])


@given(choices, choices)
def test_who_wins(forth: Any, back: Any) -> None:
    [match] = fixtures(entrant("x", 1), entrant("y", 2))
    orders = (Asked(first="x", choice=forth), Asked(first="y", choice=back))
    winner, result = decide(match, orders)
    by_hand = {("A", "B"): "x", ("B", "A"): "y"}
    assert winner == (None if None in (forth, back) else by_hand.get((forth, back), "draw"))
    assert (winner is None) == (result is Result.UNSCORED)
    assert (result is Result.PLACE) == (forth == back in ("A", "B"))


async def test_a_failed_judgement_is_no_loss_and_only_that_order_is_asked_again() -> None:
    def flaky(prompt: str) -> str:
        if prompt.index("By x") < prompt.index("By y"):
            raise ChatTimeout("no answer")
        return honest(prompt)

    [match] = fixtures(entrant("x", 5), entrant("y", 1))
    playing, on_record = tournament(Judge(flaky))
    await playing.play([match], {})
    failed = on_record[match.id]
    assert (failed.winner, failed.result) == (None, Result.UNSCORED)
    assert [(o.first, o.choice, o.problem, o.error) for o in failed.orders] == [
        ("x", None, "ChatTimeout", "ChatTimeout: no answer"),
        ("y", "B", "", ""),
    ]
    again = Judge()
    playing, on_record = tournament(again)
    await playing.play([match], {match.id: failed})
    assert len(again.asked) == 1
    assert again.asked[0].index("By x") < again.asked[0].index("By y")
    assert on_record[match.id].winner == "x"
    assert on_record[match.id].orders[1] == failed.orders[1]


async def test_a_reply_without_a_letter_is_no_result() -> None:
    [match] = fixtures(entrant("x", 5), entrant("y", 1))
    playing, on_record = tournament(Judge(lambda prompt: "I like both."))
    await playing.play([match], {})
    assert on_record[match.id].winner is None
    assert [o.problem for o in on_record[match.id].orders] == ["no letter", "no letter"]
    assert on_record[match.id].orders[0].reply == "I like both."


@pytest.mark.parametrize("error", [ChatMisconfigured("wrong key"), ChatDown("answers nobody")])
async def test_what_no_request_can_mend_ends_the_tournament(error: ChatError) -> None:
    n_asked = 0

    def breaks(prompt: str) -> str:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 3:
            raise error
        return honest(prompt)

    played = fixtures(entrant("x", *range(5)), entrant("y", *range(1, 6)))
    playing, on_record = tournament(Judge(breaks), at_once=1)
    with pytest.raises(type(error), match=str(error)):
        await playing.play(played, {})
    assert [p.result for p in on_record.values()] == [Result.WON, Result.UNSCORED]
    again = Judge()
    playing, more = tournament(again)
    await playing.play(played, on_record)
    assert len(again.asked) == 10 - 3, "what was answered is not asked again"
    assert {p.winner for p in (on_record | more).values()} == {"y"}


async def test_a_cancelled_tournament_keeps_what_was_answered() -> None:
    hanging = asyncio.Event()

    class Slow(Judge):
        async def complete(self, request: ChatRequest) -> ChatReply:
            if request.last.index("By x") > request.last.index("By y"):
                hanging.set()
                await asyncio.sleep(60)
            return await super().complete(request)

    [match] = fixtures(entrant("x", 5), entrant("y", 1))
    playing, on_record = tournament(Slow())
    task = asyncio.create_task(playing.play([match], {}))
    await hanging.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(o.first, o.choice) for o in on_record[match.id].orders] == [("x", "A")]
    assert on_record[match.id].winner is None


async def test_no_match_begins_once_the_budget_is_used_up() -> None:
    played = fixtures(entrant("x", *range(20)), entrant("y", *range(20)))
    judge = Judge(usage={"prompt_tokens": 90, "completion_tokens": 10})
    playing, on_record = tournament(judge, at_once=1, budget=Budget(tokens=500))
    await playing.play(played, {})
    assert len(on_record) == 3, "two requests of 100 tokens each"
    assert playing.reached == "budget.tokens = 500"
    assert str(playing.spent) == "6 requests, 600 tokens"


async def test_an_estimate_counts_what_is_asked() -> None:
    played = fixtures(entrant("x", *range(6)), entrant("y", *range(1, 7)))
    planned = estimate(QUESTION, played, {})
    judge = Judge()
    playing, on_record = tournament(judge)
    await playing.play(played, {})
    assert (planned.n_matches, planned.n_requests) == (6, len(judge.asked))
    assert planned.prompt_chars == sum(map(len, judge.asked))
    assert planned.prompt_tokens == pytest.approx(planned.prompt_chars / 4, abs=1)
    assert planned.max_reply_tokens == 12 * 100
    half = {f.id: on_record[f.id] for f in played[:3]}
    assert estimate(QUESTION, played, half).n_requests == 6
    assert estimate(QUESTION, played, on_record).n_requests == 0

"""Each HTTP request that reaches a server is among some rollout's calls or in the ledger, once."""

import asyncio
import sys
import threading

import pytest

from metapo.errors import ChatMisconfigured
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.judge.ledger import Ledger, account
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import PING, ChatReply, Sent, Try
from metapo.reward import Scored
from tests.faults import ALL, PLAIN, Fault, LoopServer, judges, rollout, score
from tests.servers import Answer, Ask, ChatServer, hangs, status

REACHING = [fault for fault in ALL if fault.address == "server" and "restarts" not in fault.name]


def calls(scored: list[Scored]) -> list[Sent]:
    return [sent for s in scored for a in s.assessments for call in a.calls for sent in call.sent]


def test_what_nobody_claims_is_taken_once() -> None:
    ledger = Ledger()
    replies = [ChatReply(text="yes") for _ in range(3)]
    failed = Try(endpoint="u", error="reset", latency_s=1.0)
    for reply in replies:
        ledger.of("judge")(reply)
    ledger.of("monitor")(failed)
    ledger.claim([replies[1], ChatReply(text="yes")])
    taken = ledger.take()
    assert [role for role, _ in taken] == ["judge", "judge", "monitor"]
    assert all(sent is known for (_, sent), known in zip(taken, [replies[0], replies[2], failed], strict=True))
    assert ledger.take() == []


async def test_an_account_holds_what_is_sent_in_it_and_by_tasks_that_begin_in_it() -> None:
    ledger = Ledger()
    note = ledger.of("judge")
    replies = {name: ChatReply(text=name) for name in ("outside", "inside", "task", "beside")}

    async def later(name: str) -> None:
        await asyncio.sleep(0)
        note(replies[name])

    async def meta_step() -> None:
        with account("meta step"):
            async with asyncio.TaskGroup() as group:
                group.create_task(later("task"))
                note(replies["inside"])
        note(replies["outside"])

    await asyncio.gather(meta_step(), later("beside"))
    assert {sent.text for _, sent in ledger.take("meta step") if isinstance(sent, ChatReply)} == {"inside", "task"}
    assert ledger.take("meta step") == []
    assert {sent.text for _, sent in ledger.take() if isinstance(sent, ChatReply)} == {"outside", "beside"}


def test_one_thread_notes_while_another_takes() -> None:
    ledger, taken, n = Ledger(), list[tuple[str, Sent]](), 20_000
    note = ledger.of("judge")
    noting = threading.Thread(target=lambda: [note(ChatReply(text="yes")) for _ in range(n)])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        noting.start()
        while noting.is_alive():
            taken += ledger.take()
        noting.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(taken + ledger.take()) == n


@pytest.mark.parametrize("fault", REACHING, ids=lambda fault: fault.name)
async def test_under_every_fault(fault: Fault) -> None:
    ledger, scored = Ledger(), list[Scored]()
    async with LoopServer(fault.behaviour) as server:
        try:
            rollouts = [rollout(i, 2, 1, fault.n_more) for i in range(3)]
            scored = await score(rollouts, server.url, judging=fault.judging, ledger=ledger, **fault.endpoint)
        except ChatMisconfigured:
            assert fault.expected.outcomes == ("stop",)
        n_requests = server.n_requests
    known = [*calls(scored), *(sent for _, sent in ledger.take())]
    assert len({id(sent) for sent in known}) == len(known) == n_requests
    assert {sent.model for sent in known} <= {"m", "served-model", "other-model"}


@pytest.mark.parametrize(
    "judging",
    [PLAIN, JudgeSettings(mode="split"), JudgeSettings(first="solve"), JudgeSettings(first="plan")],
    ids=["joint", "split", "solve", "plan"],
)
async def test_a_batch_that_is_ended(judging: JudgeSettings) -> None:
    """What its finished rollouts took, and what ended it; the next in turn is cancelled, before or after it is sent."""

    def behave(ask: Ask) -> Answer:
        return (status(401) if ask.number >= 12 else judges)(ask)

    ledger = Ledger()
    async with LoopServer(behave) as server:
        rollouts = [rollout(i, 2, 1) for i in range(20)]
        with pytest.raises(ChatMisconfigured):
            await score(rollouts, server.url, judging=judging, ledger=ledger, max_in_flight=1)
        assert 12 <= server.n_requests <= 13
    taken = [sent for _, sent in ledger.take() if not (isinstance(sent, Try) and sent.error == "cancelled")]
    assert [type(sent) for sent in taken] == [ChatReply] * 11 + [Try]


async def test_those_who_share_a_failed_question_about_the_server() -> None:
    ledger = Ledger()
    async with LoopServer(status(500)) as server:
        rollouts = [rollout(i, 2, 1) for i in range(20)]
        scored = await score(rollouts, server.url, judging=PLAIN, ledger=ledger, structured="auto")
        assert len(calls(scored)) + len(ledger.take()) == server.n_requests < 40


async def test_a_request_that_is_cancelled() -> None:
    ledger = Ledger()
    with ChatServer(hangs()) as server:
        transport = OpenAITransport(EndpointSettings(url=server.url, model="m"), ledger.of("meta"))
        asking = asyncio.create_task(transport.complete(PING))
        await asyncio.to_thread(server.asked.wait)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await transport.aclose()
    [(role, sent)] = ledger.take()
    assert isinstance(sent, Try)
    assert (role, sent.error, sent.model, sent.endpoint) == ("meta", "cancelled", "m", f"{server.url}/chat/completions")

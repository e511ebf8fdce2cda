import asyncio
from collections.abc import Awaitable
from random import Random

import pytest

from metapo.judge import limits
from metapo.judge.limits import CHARS_PER_TOKEN, InFlight, Rates


async def waits(turn: Awaitable[object]) -> bool:
    """Is it not our turn for a while? Gives up the turn where it is not."""
    try:
        async with asyncio.timeout(0.05):
            await turn
    except TimeoutError:
        return True
    return False


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Worker:
    """Holds a slot from the moment it gets one until `leave` is set."""

    def __init__(self, in_flight: InFlight) -> None:
        self.has_slot = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._work(in_flight))

    async def _work(self, in_flight: InFlight) -> None:
        async with in_flight.slot():
            self.has_slot = True
            await self.leave.wait()
        self.has_slot = False


async def workers(in_flight: InFlight, n: int) -> list[Worker]:
    found = [Worker(in_flight) for _ in range(n)]
    await settle()
    return found


def n_slots(workers: list[Worker]) -> int:
    return sum(w.has_slot for w in workers)


async def finish(workers: list[Worker]) -> None:
    for worker in workers:
        worker.leave.set()
    await asyncio.gather(*(w.task for w in workers), return_exceptions=True)


# --- slots


async def test_as_many_slots_as_the_limit_and_each_that_is_freed_goes_to_the_next() -> None:
    found = await workers(InFlight(3), 5)
    assert [w.has_slot for w in found] == [True, True, True, False, False]
    found[1].leave.set()
    await settle()
    assert [w.has_slot for w in found] == [True, False, True, True, False]
    await finish(found)


async def test_a_slot_is_freed_by_a_failure_and_by_being_cancelled() -> None:
    in_flight = InFlight(1)
    with pytest.raises(ValueError, match="x"):
        async with in_flight.slot():
            raise ValueError("x")
    [first] = await workers(in_flight, 1)
    first.task.cancel()
    [second] = await workers(in_flight, 1)
    assert second.has_slot
    await finish([first, second])


async def test_a_turn_given_to_one_that_is_cancelled_is_not_lost() -> None:
    """Otherwise the last ones of a batch would wait for ever."""
    in_flight = InFlight(1)
    async with in_flight.slot():
        second, third = found = await workers(in_flight, 2)
    second.task.cancel()  # told that it has a slot, it has not run yet
    await settle()
    assert third.has_slot
    await finish(found)


async def test_no_slot_is_lost_or_doubled_when_many_come_and_go() -> None:
    random, in_flight, most = Random(0), InFlight(5), 0
    n_inside = 0

    async def comes_and_goes() -> None:
        nonlocal n_inside, most
        async with in_flight.slot():
            n_inside += 1
            most = max(most, n_inside)
            try:
                for _ in range(random.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                n_inside -= 1

    for _ in range(40):
        tasks = [asyncio.create_task(comes_and_goes()) for _ in range(30)]
        while not all(task.done() for task in tasks):
            random.choice(tasks).cancel()
            await asyncio.sleep(0)
    assert most == 5
    found = await workers(in_flight, 7)
    assert n_slots(found) == 5
    await finish(found)


async def test_overload_halves_the_limit_once_in_a_while_and_successes_raise_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_flight = InFlight(8)
    for _ in range(5):
        in_flight.overloaded()
    assert in_flight.limit == 4
    monkeypatch.setattr(limits, "SHRINK_EVERY_S", 0.0)
    for expected in (2, 1, 1):
        in_flight.overloaded()
        assert in_flight.limit == expected
    in_flight.succeeded()
    assert in_flight.limit == 2
    for _ in range(2 + 3 + 4 + 5 + 6 + 7):
        in_flight.succeeded()
    assert in_flight.limit == 8
    for _ in range(100):
        in_flight.succeeded()
    assert in_flight.limit == 8


async def test_a_smaller_limit_holds_for_those_that_come_next() -> None:
    in_flight = InFlight(4)
    found = await workers(in_flight, 8)
    in_flight.overloaded()
    for worker in found[:3]:
        worker.leave.set()
    await settle()
    assert n_slots(found) == 2
    await finish(found)


async def test_a_limit_that_grows_lets_more_of_those_in_that_wait() -> None:
    in_flight = InFlight(4)
    in_flight.overloaded()
    found = await workers(in_flight, 6)
    assert n_slots(found) == 2
    for _ in range(2):
        in_flight.succeeded()
    found[0].leave.set()
    await settle()
    assert n_slots(found) == 3
    await finish(found)


# --- rates


async def test_without_rates_nobody_waits() -> None:
    rates = Rates(None, None)
    for _ in range(1000):
        assert not await waits(rates.admit(10**9))


async def test_requests_per_minute_come_evenly_not_all_at_its_beginning() -> None:
    rates = Rates(180, None)  # three a second
    assert [await waits(rates.admit(0)) for _ in range(4)] == [False, False, False, True]
    slow = Rates(3, None)
    assert [await waits(slow.admit(0)) for _ in range(2)] == [False, True]
    async with asyncio.timeout(2):
        await rates.admit(0)


async def test_less_than_one_request_per_minute_still_lets_the_first_go() -> None:
    rates = Rates(0.5, None)
    assert [await waits(rates.admit(0)) for _ in range(2)] == [False, True]


async def test_tokens_are_estimated_from_the_length_and_from_what_came_before() -> None:
    rates = Rates(None, 4000)  # 1000 in a quarter of a minute
    for n_tokens in (400, 500):
        assert not await waits(rates.admit(int(n_tokens * CHARS_PER_TOKEN)))
    assert await waits(rates.admit(int(150 * CHARS_PER_TOKEN)))
    assert not await waits(rates.admit(int(50 * CHARS_PER_TOKEN)))

    rates = Rates(None, 4000)
    rates.replied(300)
    rates.replied(None)
    rates.replied(600)  # 300 on the average
    assert [await waits(rates.admit(int(100 * CHARS_PER_TOKEN))) for _ in range(3)] == [False, False, True]


async def test_a_request_larger_than_the_rate_goes_alone() -> None:
    rates = Rates(None, 100)
    assert [await waits(rates.admit(10_000)) for _ in range(2)] == [False, True]

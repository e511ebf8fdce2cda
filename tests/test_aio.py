"""Many things at once: bounded, in order, and nothing left running."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.aio import Together, each


class Work:
    """Notes how many run at once; fails on the items told."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.running = self.most = self.cancelled = 0
        self.begun: list[int] = []

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(10 - item % 7):
                await asyncio.sleep(0)
            if item in self.failing:
                raise ValueError(f"item {item}")
            return item * item
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


@given(st.lists(st.integers(0, 50), max_size=12), st.none() | st.integers(1, 15))
async def test_results_are_in_the_order_of_the_items(items: list[int], at_once: int | None) -> None:
    work = Work()
    assert await each(work, items, at_once) == [i * i for i in items]
    assert work.begun == items
    assert work.most == min(at_once or len(items), len(items))


async def test_the_first_error_is_raised_as_it_is_and_the_rest_is_cancelled() -> None:
    work = Work(6, 13)
    with pytest.raises(ValueError, match="item 6"):
        await each(work, range(20), 8)
    assert work.running == 0
    assert work.cancelled == 7
    assert len(work.begun) < 10


async def test_one_of_several_errors_at_once_is_raised() -> None:
    with pytest.raises(ValueError, match=r"item [01]"):
        await each(Work(0, 7), [0, 7])


async def test_cancelling_leaves_nothing_running() -> None:
    work = Work()
    task = asyncio.create_task(each(work, range(20), 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (work.running, work.cancelled, len(work.begun)) == (0, 5, 5)


class Slow:
    """Notes what it was given at once; holds the first until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began, self.let_go = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.set()
        assert self.let_go.wait(10)
        if 13 in items:
            raise ValueError("13")
        return [i * i for i in items]


async def test_what_waits_is_done_together() -> None:
    slow = Slow()
    together = Together(slow)
    first = asyncio.create_task(together(1))
    await asyncio.to_thread(slow.began.wait, 10)
    others = [asyncio.create_task(together(i)) for i in (2, 3, 4)]
    await asyncio.sleep(0)
    others[1].cancel()
    slow.let_go.set()
    assert await asyncio.gather(first, others[0], others[2]) == [1, 4, 16]
    assert slow.batches == [[1], [2, 3, 4]]
    assert await together(5) == 25


async def test_an_error_is_that_of_all_who_waited_and_later_ones_go_on() -> None:
    slow = Slow()
    slow.let_go.set()
    together = Together(slow)
    assert [type(r) for r in await asyncio.gather(*map(together, (12, 13)), return_exceptions=True)] == [ValueError] * 2
    assert await together(14) == 196

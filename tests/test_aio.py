"""Many things at once: bounded, in order, and nothing left running."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.aio import each


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

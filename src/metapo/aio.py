"""Many things at once, with a bound, an order and nothing left running."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(work: Callable[[T], Awaitable[R]], items: Sequence[T], at_once: int | None = None) -> list[R]:
    """`work` on every item, at most `at_once` at a time; the results in the items' order.

    The first error is raised, as it is, after everything else has been cancelled.
    """
    results: dict[int, R] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for i, item in waiting:
            results[i] = await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once or len(items), len(items))):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [results[i] for i in range(len(items))]

"""Many things at once, with a bound, an order and nothing left running."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(work: Callable[[T], Awaitable[R]], items: Sequence[T], at_once: int | None = None) -> list[R]:
    """`work` on every item, at most `at_once` at a time; the results in the items' order.

    The first error is raised, as it is, after everything else has been cancelled.
    """
    if len(items) == 1:
        return [await work(items[0])]
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


class Together(Generic[T, R]):
    """Does in one go, in a thread, all that was asked for while the last go was under way. An error is that of all who
    asked for the same go: none of it may be tried again unless that does no harm."""

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._going: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._going is None:
            self._going = asyncio.create_task(self._go())
        return await future

    async def _go(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await asyncio.to_thread(self._work, [item for item, _ in batch])
            except Exception as e:  # whatever it is, whoever waits must learn of it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(e)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():  # else whoever asked has gone
                    future.set_result(result)
        self._going = None

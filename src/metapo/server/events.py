"""What happens in a run, as server-sent events: one per row of its metrics, numbered, so that a listener can go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

from metapo.course import Row
from metapo.server.failures import Refused
from metapo.server.options import Limits
from metapo.service import RewardService

RETRY_MS = 2000
_Numbered = tuple[int, Row]


class Events:
    """The listeners of one process. The rows are read from the store, so those of other processes come too: those that
    a new listener missed for it alone, those that come after for all listeners at once."""

    def __init__(self, service: RewardService, limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self._n_listeners = 0
        self._ended = asyncio.Event()
        self._waiting: list[int] = []
        self._look: asyncio.Task[list[_Numbered]] | None = None

    def end(self) -> None:
        """Send every listener away: the server is about to stop."""
        self._ended.set()

    def admit(self) -> None:
        """Raises Refused where there are too many listeners."""
        if self._n_listeners >= self._limits.max_listeners:
            raise Refused(503, "overloaded", f"{self._n_listeners} listeners are all that this server bears", 5)

    async def stream(self, after: int) -> AsyncIterator[bytes]:
        """The rows after a number, then each new one as it comes, with a comment now and then that shows that the line
        still stands."""
        self._n_listeners += 1
        quiet_s = 0.0
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            rows = await self._service.rows(after)
            while not self._ended.is_set():
                for number, row in rows:
                    yield event(number, row)
                    after = number
                quiet_s = 0.0 if rows else quiet_s + self._limits.poll_s
                if quiet_s >= self._limits.heartbeat_s:
                    yield b": still here\n\n"
                    quiet_s = 0.0
                rows = await self._next(after)
        finally:
            self._n_listeners -= 1

    async def _next(self, after: int) -> list[_Numbered]:
        """The rows after a number, by the next look into the store, which is one for all who wait."""
        self._waiting.append(after)
        if self._look is None:
            self._look = asyncio.create_task(self._pause_and_read())
        return [row for row in await asyncio.shield(self._look) if row[0] > after]

    async def _pause_and_read(self) -> list[_Numbered]:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._limits.poll_s)
        first, self._waiting, self._look = min(self._waiting), [], None
        return [] if self._ended.is_set() else await self._service.rows(first)


def event(number: int | str, row: dict[str, object]) -> bytes:
    return f"id: {number}\nevent: {row['kind']}\ndata: {json.dumps(row)}\n\n".encode()

"""Stops asking an endpoint that answers nobody, so that a batch ends at once instead of one deadline after another."""

import asyncio
import time
from contextlib import suppress

from metapo.errors import ChatDown

PAUSE_S = 30.0


class Breaker:
    """Closed: all requests go. A request whose whole deadline went by without a success of any other opens it: then all
    requests fail at once, those that wait too, but for a single one every `PAUSE_S`, whose success closes it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._succeeded_at = -1.0
        self._next_try_at = 0.0
        self._reason = ""
        self._opened = asyncio.Event()

    def check(self) -> None:
        """Raises ChatDown while open, but for the single request that may try."""
        if not self._opened.is_set():
            return
        if time.monotonic() < self._next_try_at:
            raise ChatDown(f"{self._where} answers nobody: {self._reason}")
        self._next_try_at = time.monotonic() + PAUSE_S

    def succeeded(self) -> None:
        self._succeeded_at = time.monotonic()
        self._opened.clear()

    def gave_up(self, began_at: float, reason: str) -> None:
        """A request that began at `began_at` (time.monotonic) came to its deadline."""
        if self._succeeded_at < began_at and not self._opened.is_set():
            self._next_try_at, self._reason = time.monotonic() + PAUSE_S, reason
            self._opened.set()

    async def pause(self, seconds: float) -> None:
        """Sleep before the next try, but no longer than the breaker stays closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._opened.wait()

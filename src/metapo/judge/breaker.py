"""Stops asking an endpoint that answers nobody, so that a batch ends at once instead of one deadline after another."""

import asyncio
import time
from contextlib import suppress

from metapo.errors import ChatDown

PAUSE_S = 30.0


class Breaker:
    """Closed: all requests go. A request that came to its deadline opens it, unless another was answered in that time:
    then all requests fail at once, those that wait too, but for a single one every `PAUSE_S`. An answer closes it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._answered_at = time.monotonic()
        self._next_try_at = 0.0
        self._reason = ""
        self._opened = asyncio.Event()

    def check(self) -> None:
        """Raises ChatDown while open, unless a try is due."""
        if self._opened.is_set() and time.monotonic() < self._next_try_at:
            raise ChatDown(f"{self._where} answers nobody: {self._reason}")

    def enter(self) -> None:
        """Just before a request is sent. Raises ChatDown while open, but for the single request that may try."""
        self.check()
        self._next_try_at = time.monotonic() + PAUSE_S

    def answered(self) -> None:
        """A request got a reply, or an error that has to do with this one request."""
        self._answered_at = time.monotonic()
        self._opened.clear()

    def gave_up(self, silence_s: float, reason: str, *, since: float) -> None:
        """A request whose first try was at `since` (time.monotonic) came to its deadline; it opens the breaker if from
        then on no other was answered for so many seconds."""
        silent_s = time.monotonic() - max(self._answered_at, since)
        if silent_s >= silence_s and not self._opened.is_set():
            self._next_try_at, self._reason = time.monotonic() + PAUSE_S, reason
            self._opened.set()

    async def pause(self, seconds: float) -> None:
        """Sleep before the next try, but no longer than the breaker stays closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._opened.wait()

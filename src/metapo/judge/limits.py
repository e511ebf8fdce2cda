"""How much may be under way at once, and how fast: bounds that the server's own answers tighten."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

MINUTE_S = 60.0
REQUESTS_BURST_S = 1.0  # what this long would allow may go at once
TOKENS_BURST_S = 15.0  # longer, as one request takes many tokens
SHRINK_EVERY_S = 1.0
CHARS_PER_TOKEN = 4.0


class InFlight:
    """At most `limit` at once. The limit is halved when the server is overloaded, at most once a second, and grows by
    one for each `limit` successes, up to where it began."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = limit
        self._n = 0
        self._successes = 0
        self._shrunk_at = -SHRINK_EVERY_S
        self._free = asyncio.Condition()  # guards _n

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        async with self._free:
            try:
                await self._free.wait_for(lambda: self._n < self.limit)
            except asyncio.CancelledError:
                self._free.notify()  # the turn may have come already: it is the next one's
                raise
            self._n += 1
        try:
            yield
        finally:
            self._n -= 1  # before anything that a cancellation could cut short
            async with self._free:
                self._free.notify(max(1, self.limit - self._n))

    def succeeded(self) -> None:
        self._successes += 1
        if self.limit < self._most and self._successes >= self.limit:
            self.limit, self._successes = self.limit + 1, 0

    def overloaded(self) -> None:
        self._successes = 0
        if time.monotonic() - self._shrunk_at >= SHRINK_EVERY_S:
            self.limit, self._shrunk_at = max(1, self.limit // 2), time.monotonic()


class Rates:
    """Requests and tokens per minute; None sets no bound. Tokens are estimated before a request is sent: its
    characters by four, and as many generated ones as the replies had on average so far."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests = _limiter(requests_per_minute, REQUESTS_BURST_S) if requests_per_minute else None
        self._tokens = _limiter(tokens_per_minute, TOKENS_BURST_S) if tokens_per_minute else None
        self._n_replies = 0
        self._n_generated = 0

    async def admit(self, n_chars: int) -> None:
        """Wait until a request of this length may go."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            generated = self._n_generated / self._n_replies if self._n_replies else 0.0
            await self._tokens.acquire(min(n_chars / CHARS_PER_TOKEN + generated, self._tokens.max_rate))

    def replied(self, completion_tokens: int | None) -> None:
        self._n_replies += 1
        self._n_generated += completion_tokens or 0


def _limiter(per_minute: float, burst_s: float) -> AsyncLimiter:
    burst = max(1.0, per_minute * burst_s / MINUTE_S)
    return AsyncLimiter(burst, burst * MINUTE_S / per_minute)

"""What was answered before: an equal question costs nothing, in a batch, in a run, or after an interruption."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from metapo.errors import ChatError

MAX_REMEMBERED = 4096


class Cache(Protocol):
    """Texts by key. A key holds everything that could change the text, so an entry never goes stale."""

    def load(self, key: str) -> str | None: ...

    def save(self, key: str, body: str) -> None: ...


class MemoryCache:
    """The newest `MAX_REMEMBERED` texts of this process."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, str] = OrderedDict()

    def load(self, key: str) -> str | None:
        if key in self._bodies:
            self._bodies.move_to_end(key)
        return self._bodies.get(key)

    def save(self, key: str, body: str) -> None:
        self._bodies[key] = body
        if len(self._bodies) > MAX_REMEMBERED:
            self._bodies.popitem(last=False)


@dataclass
class Claim:
    """What is known under a key, or else what somebody found out a moment ago (`shared`, which may be a failure).

    Where both are None, whoever holds the claim is to find out: `found` is what to keep, `shared` what those get who
    asked for the same meanwhile.
    """

    known: str | None
    found: str | None = None
    shared: Any = None


@dataclass
class _UnderWay:
    """A key that somebody works on: what came of it, once `done`."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    shared: Any = None
    error: ChatError | None = None


class Answers:
    """A cache in which each key is worked on once at a time: who comes second waits for the first."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._under_way: dict[str, _UnderWay] = {}

    @asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[Claim]:
        """What is known under `key`, as soon as nobody is finding it out; what the claim then finds is kept.

        Those who waited share a failure too, so that a question nobody can answer is not asked by each in turn; only
        where the first was cancelled does the next one begin anew. Raises the ChatError that the first one met.
        """
        while (known := self._cache.load(key)) is None and (other := self._under_way.get(key)):
            await other.done.wait()
            if other.error is not None:
                raise other.error
            if other.shared is not None:
                yield Claim(None, shared=other.shared)
                return
        if known is not None:
            yield Claim(known)
            return
        mine = self._under_way[key] = _UnderWay()
        claim = Claim(None)
        try:
            yield claim
            if claim.found is not None:
                self._cache.save(key, claim.found)
            mine.shared = claim.shared
        except ChatError as e:
            mine.error = e
            raise
        finally:
            del self._under_way[key]
            mine.done.set()

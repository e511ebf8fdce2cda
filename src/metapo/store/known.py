"""Answers that a store knows, for whoever must not pay for them twice."""

import time
from collections.abc import Callable
from pathlib import Path

from metapo.store.store import Store

FLUSH_EVERY_S = 1.0
MAX_UNWRITTEN = 64


class KnownAnswers:
    """Texts by key, kept in a store that is opened when first used; several processes may share it.

    What is saved is written once a second, or when `MAX_UNWRITTEN` texts wait, or with `flush`; a process that is
    killed loses no more than that.
    """

    def __init__(self, place: Path | str, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._clock = clock
        self._store: Store | None = None
        self._unwritten: dict[str, str] = {}
        self._flushed_at = clock()

    def load(self, key: str) -> str | None:
        """The text under a key, or None. Raises StoreError."""
        return self._unwritten[key] if key in self._unwritten else self._open().known_answer(key)

    def save(self, key: str, body: str) -> None:
        """Keep a text. Raises StoreError."""
        self._unwritten[key] = body
        if len(self._unwritten) >= MAX_UNWRITTEN or self._clock() - self._flushed_at >= FLUSH_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises StoreError."""
        if self._unwritten:
            self._open().remember(self._unwritten)
            self._unwritten = {}
        self._flushed_at = self._clock()

    def close(self) -> None:
        """Write what waits. Raises StoreError."""
        self.flush()
        if self._store is not None:
            self._store.close()

    def _open(self) -> Store:
        if self._store is None:
            if isinstance(self._place, Path):
                self._place.parent.mkdir(parents=True, exist_ok=True)
            self._store = Store(self._place)
        return self._store

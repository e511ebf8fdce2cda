"""A claim: a lock between processes that ends, at the latest, with the process that holds it."""

from collections.abc import Callable
from types import TracebackType
from typing import Self


class Claimed:
    """Held until `release`, or until the end of a `with` block; from any thread."""

    def __init__(self, name: str, is_held: Callable[[], bool], release: Callable[[], None]) -> None:
        self.name = name
        self._is_held = is_held
        self._release: Callable[[], None] | None = release

    @property
    def held(self) -> bool:
        """Is it still ours? A claim on a PostgreSQL server ends with the server or with the connection to it."""
        return self._release is not None and self._is_held()

    def release(self) -> None:
        """Let others have it; a second time does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

"""A store's database, in a file or on a server: opened with the newest schema, used in transactions, its errors told as
ours."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa

from metapo.errors import StoreError
from metapo.store.claims import Claimed
from metapo.store.migrations import check_schema, migrate
from metapo.store.postgres import PostgreSQL, check, take_turns
from metapo.store.sqlite import SQLite

PATIENCE_S = 30.0
RETRY_S = 0.2
T = TypeVar("T")


class Database:
    """Each transaction happens wholly or, with a StoreError, not at all.

    `path` is the file of a SQLite database, None of one on a server; `name` is what messages call it.
    """

    def __init__(self, place: Path | str, *, patience_s: float = PATIENCE_S, reads_only: bool = False) -> None:
        """A path, or the URL of a PostgreSQL database. `patience_s` is how long a transaction waits to begin: for
        another writer of the file, or for a server that answered before and is gone. With `reads_only` nothing is ever
        written, and no writer kept waiting. Raises StoreError, StoreOutdated, MissingExtra.
        """
        is_url = isinstance(place, str) and "://" in place
        self._backend = PostgreSQL(str(place), reads_only) if is_url else SQLite(Path(place), reads_only)
        self.name = self._backend.place
        self.path: Path | None = self._backend.path
        self.writer = uuid4().hex
        self._patience_s = 0.0
        self._engine = self._backend.engine(patience_s)
        try:
            with self._transaction(writes=not reads_only) as db:
                self._open(db, reads_only)
        except BaseException:
            self.close()
            raise
        self._patience_s = patience_s

    def close(self) -> None:
        self._engine.dispose()

    def claim(self, name: str, timeout_s: float = 0.0) -> Claimed | None:
        """Keep others that claim the same name, also in other processes, out until it is released or its holder ends;
        None where another still has it after `timeout_s` seconds (below 0: as long as it takes). Raises StoreError."""
        try:
            return self._patiently(lambda: self._backend.claim(name, timeout_s))
        except sa.exc.DBAPIError as e:
            raise StoreError(f"{self.name}: {self._backend.explain(e, committing=False)}") from e

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Reads of one state of the store, whatever is written meanwhile. Raises StoreError."""
        with self._transaction() as db:
            yield db

    def shrink(self) -> None:
        """Give the space of removed rows back; a server does that by itself, for new rows. Raises StoreError."""
        try:
            self._backend.shrink(self._engine)
        except sa.exc.DBAPIError as e:
            raise StoreError(f"{self.name}: {self._backend.explain(e, committing=False)}") from e

    def _open(self, db: sa.Connection, reads_only: bool) -> None:
        try:
            if self.path is None:
                check(db)
            if reads_only:
                check_schema(db)
                return
            take_turns(db, "migrate")
            migrate(db)
        except StoreError as e:
            raise type(e)(f"{self.name}: {e}") from e

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        committing = False
        try:
            with self._connect(writes) as db, db.begin():
                yield db
                committing = True
        except sa.exc.DBAPIError as e:
            raise StoreError(f"{self.name}: {self._backend.explain(e, committing=committing)}") from e
        except sa.exc.TimeoutError as e:  # of the connections that one process may have
            raise StoreError(f"{self.name}: too much is asked of the store at once. Nothing was written.") from e

    def _connect(self, writes: bool) -> sa.Connection:
        """A connection that works."""
        options: dict[str, Any] = self._backend.options(writes=writes)
        return self._patiently(lambda: self._engine.connect().execution_options(**options))

    def _patiently(self, begin: Callable[[], T]) -> T:
        """Try again while a server is away: nothing has begun yet, so that is safe."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return begin()
            except sa.exc.OperationalError:
                if self.path is not None or time.monotonic() >= until:
                    raise
                time.sleep(RETRY_S)


def next_number(db: sa.Connection, column: sa.Column[int]) -> int:
    """One more than the highest; nobody else gets it before this transaction ends."""
    take_turns(db, column.table.name)
    return (db.scalar(sa.select(sa.func.max(column))) or 0) + 1

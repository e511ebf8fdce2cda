"""A store's database: opened with the newest schema, used in transactions, its errors told as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import filelock
import sqlalchemy as sa

from metapo.errors import StoreError
from metapo.rubric import digest
from metapo.store.migrations import migrate


class Claimed(Protocol):
    """What was claimed."""

    def release(self) -> None: ...


class Database:
    """Each transaction happens wholly or, with a StoreError, not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(self._engine, "connect", _set_up)
        sa.event.listen(self._engine, "begin", _begin)
        with self._transaction(writes=True) as db:
            migrate(db)

    def close(self) -> None:
        self._engine.dispose()

    def claim(self, name: str, timeout_s: float = 0.0) -> Claimed | None:
        """Keep others that claim the same name, also in other processes, out until it is released or its holder ends;
        None where another still has it after `timeout_s` seconds (below 0: as long as it takes)."""
        lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.{digest(name)[:12]}.lock"), thread_local=False)
        try:
            lock.acquire(timeout=timeout_s)
        except filelock.Timeout:
            return None
        return lock

    @contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(writes=writes) as db, db.begin():
                yield db
        except sa.exc.DBAPIError as e:
            raise StoreError(f"{self.path}: {_explain(e)}") from e

    def _alone(self, db: sa.Connection, what: str) -> None:
        """Until the transaction ends, no other that asks for the same gets beyond this point: in SQLite none that
        writes does."""


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else Python's driver begins no transaction before CREATE, ALTER or DROP
    # the time to wait for a lock comes first: whoever turns on WAL needs the lock, too
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(db: sa.Connection) -> None:
    """Who is going to write takes the lock first: to wait for it after having read is an error in SQLite."""
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")


def _explain(error: sa.exc.DBAPIError) -> str:
    text = str(error.orig)
    if "disk is full" in text or "disk I/O" in text:
        return f"{text}. Nothing of this step was written. Free some space, then resume the run."
    if "not a database" in text or "malformed" in text:
        return f"{text}. The file is damaged or is no store; restore it from a backup."
    return f"the store refused: {text}"

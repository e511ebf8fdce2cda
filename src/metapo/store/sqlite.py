"""A store in a file: SQLite."""

import os
import sqlite3
import time
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import filelock
import sqlalchemy as sa

from metapo.errors import StoreError
from metapo.store.claims import Claimed

RETRY_S = 0.05


class SQLite:
    """One writer at a time, who keeps the others waiting."""

    def __init__(self, path: Path, reads_only: bool = False) -> None:
        self.path = path
        self.place = str(path)
        self._reads_only = reads_only

    def engine(self, patience_s: float) -> sa.Engine:
        """Whoever waits longer than `patience_s` for another writer gets an error."""
        if self._reads_only:
            return self._reader(patience_s)
        engine = sa.create_engine(f"sqlite:///{self.path}")

        def set_up(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # else Python's driver begins no transaction before CREATE, ALTER or DROP
            connection.execute(f"PRAGMA busy_timeout={round(1000 * patience_s)}")
            _turn_on_wal(connection, patience_s)
            for pragma in ("synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        sa.event.listen(engine, "connect", set_up)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def _reader(self, patience_s: float) -> sa.Engine:
        """Writes nothing, and makes no file where there is none. In a folder that can't be written no other program
        writes either, and SQLite has to be told so."""
        alone = "" if os.access(self.path.parent, os.W_OK) else "&immutable=1"
        engine = sa.create_engine(f"sqlite:///file:{quote(str(self.path.absolute()))}?mode=ro{alone}&uri=true")

        def set_up(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA busy_timeout={round(1000 * patience_s)}")

        sa.event.listen(engine, "connect", set_up)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def options(self, *, writes: bool) -> dict[str, Any]:
        """What a connection is to know before its transaction begins."""
        return {"writes": writes}

    def explain(self, error: sa.exc.DBAPIError, *, committing: bool) -> str:
        text = str(error.orig)
        if "unable to open" in text and not self.path.is_file():
            return f"{text}: there is no such file"
        if "disk is full" in text or "disk I/O" in text:
            return f"{text}. Nothing of this step was written. Free some space, then resume the run."
        if "not a database" in text or "malformed" in text:
            return f"{text}. The file is damaged or is no store; restore it from a backup."
        return f"the store refused: {text}"

    def shrink(self, engine: sa.Engine) -> None:
        outside = sa.create_engine(engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")  # of transactions
        with outside.connect() as db:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                db.exec_driver_sql(statement)

    def claim(self, name: str, timeout_s: float) -> Claimed | None:
        digest = sha256(name.encode()).hexdigest()[:16]
        lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.{digest}.lock"), thread_local=False)
        try:
            lock.acquire(timeout=timeout_s)
        except filelock.Timeout:
            return None
        except OSError as e:
            raise StoreError(f"{self.place}: can't lock {lock.lock_file}: {e.strerror or e}") from e
        return Claimed(name, lambda: lock.is_locked, lock.release)


def _turn_on_wal(connection: Any, patience_s: float) -> None:
    """Once for a file; SQLite itself doesn't wait where another connection is about to do the same."""
    until = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as e:
            if "locked" not in str(e) or time.monotonic() >= until:
                raise
            time.sleep(RETRY_S)


def _begin(db: sa.Connection) -> None:
    """Who is going to write takes the lock first: to wait for it after having read is an error in SQLite."""
    db.exec_driver_sql("BEGIN IMMEDIATE" if db.get_execution_options().get("writes") else "BEGIN")

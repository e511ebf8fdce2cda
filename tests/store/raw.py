"""A store's database without us, as somebody else would read it or tamper with it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from metapo.store import Store


class Raw:
    """What `execute` returns are the rows; a changed number of rows is no result."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        done = self._db.execute(statement)
        rows = done.fetchall() if done.description else []
        return [tuple(float(x) if isinstance(x, Decimal) else x for x in row) for row in rows]

    def change(self, statement: str) -> int:
        """How many rows it changed."""
        count: int = self._db.execute(statement).rowcount
        return count


@contextmanager
def raw(store: Store) -> Iterator[Raw]:
    """One transaction in which no foreign key is checked."""
    if store.path is not None:
        with sqlite3.connect(store.path) as db:
            yield Raw(db)
        return
    import psycopg

    with psycopg.connect(store._engine.url.render_as_string(hide_password=False).replace("+psycopg", "")) as server:
        server.execute("SET session_replication_role = replica")
        yield Raw(server)

"""A look at a database that is to hold a store, before anything is written into it."""

from dataclasses import dataclass

import sqlalchemy as sa

from metapo.errors import StoreError
from metapo.store.migrations import MIGRATIONS, schema_of
from metapo.store.postgres import PostgreSQL, check


@dataclass(frozen=True)
class Seen:
    """A database on a server: what messages call it, its store's schema (None where it is empty) and the newest one,
    and the server's clock in seconds since 1970."""

    name: str
    schema: int | None
    newest: int
    now: float


def look(url: str) -> Seen:
    """Raises StoreError where no store can be there, MissingExtra."""
    backend = PostgreSQL(url)
    engine = backend.engine(0.0)
    try:
        with engine.connect() as db:
            check(db)
            schema = schema_of(db)
            if schema is None and not db.scalar(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")):
                raise StoreError("the role that the URL names can't create tables there: grant it all rights")
            now = float(db.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
            return Seen(backend.place, schema, len(MIGRATIONS), now)
    except StoreError as e:
        raise StoreError(f"{backend.place}: {e}") from e
    except sa.exc.DBAPIError as e:
        raise StoreError(f"{backend.place}: {backend.explain(e, committing=False)}") from e
    finally:
        engine.dispose()

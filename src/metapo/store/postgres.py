"""A store on a server: PostgreSQL, through psycopg."""

import re
from contextlib import suppress
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from metapo.errors import MissingExtra, StoreError
from metapo.store.claims import Claimed

DRIVER = "postgresql+psycopg"
FORMS = ("postgres", "postgresql", DRIVER)
ALLOWED = f"a store is a path, or a URL such as {DRIVER}://user@host:5432/database"
CONNECT_TIMEOUT_S = 10
# A connection whose other end has vanished is known to be lost after about a minute, by both ends.
KEEPALIVE = {"idle": 30, "interval": 10, "count": 3}
NO_SCHEMA = "3F000"
LOCK_TIMEOUT = "55P03"
HINTS = {
    "28P01": "Set the right password: in the URL, in PGPASSWORD or in ~/.pgpass.",
    "28000": "The server's pg_hba.conf or the role doesn't let us in.",
    "3D000": "Create it first: createdb NAME.",
    "53100": "Nothing of this step was written. Free some space on the server, then resume the run.",
    "53300": "Close other programs' connections, or raise max_connections on the server.",
    "42501": "Grant the role that the URL names all rights on the store's schema.",
    "25006": "It is a copy that can only be read; give the URL of the primary server.",
    NO_SCHEMA: "The schema of the search_path doesn't exist; create it first: CREATE SCHEMA name.",
}
# A refused connection has no code in psycopg, only the server's text.
CODES_BY_TEXT = {
    r"password authentication failed|no password supplied": "28P01",
    r"no pg_hba.conf entry|role \".*\" does not exist|is not permitted to log in": "28000",
    r"database \".*\" does not exist": "3D000",
    r"too many clients|remaining connection slots": "53300",
}


class PostgreSQL:
    """Many writers at a time; those that number rows take turns, table by table."""

    path = None

    def __init__(self, url: str, reads_only: bool = False) -> None:
        self._url = _parse(url)
        self._reads_only = reads_only
        secret = {name: "***" for name in self._url.query if "password" in name}
        self._secrets = [str(s) for s in (self._url.password, *(self._url.query[name] for name in secret)) if s]
        self.place = self._url.update_query_dict(secret).render_as_string(hide_password=True)

    def engine(self, patience_s: float) -> sa.Engine:
        """`patience_s` is a matter of transactions here: see Database."""
        return self._engine(pool_pre_ping=True)

    def options(self, *, writes: bool) -> dict[str, Any]:
        """A read sees one state of the store, whatever is written meanwhile. A write sees what was written while it
        waited for its turn."""
        level = "READ COMMITTED" if writes else "REPEATABLE READ"
        return {"isolation_level": level, "postgresql_readonly": self._reads_only}

    def explain(self, error: sa.exc.DBAPIError, *, committing: bool) -> str:
        text = self._hide(" ".join(str(error.orig).split()))
        code = getattr(error.orig, "sqlstate", None) or _code(text)
        if code in HINTS:
            return f"{text}. {HINTS[code]}"
        if error.connection_invalidated or _is_about_connection(error, code):
            if committing:
                return (
                    f"the connection was lost before the end of a transaction was confirmed ({text}): what it held is "
                    "there wholly or not at all, which of both is unknown. Resume the run from its checkpoint."
                )
            return f"no connection ({text}). Nothing of this step was written. See to the server, then resume the run."
        return f"the store refused: {text}"

    def shrink(self, engine: sa.Engine) -> None:
        pass

    def claim(self, name: str, timeout_s: float) -> Claimed | None:
        """On a connection of its own, which the server ends with us."""
        engine = self._engine(poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        db = engine.connect()
        try:
            for what, value in KEEPALIVE.items():
                db.exec_driver_sql(f"SET tcp_keepalives_{what} = {value}")
            if not _lock(db, lock_key(db, f"claim {name}"), timeout_s):
                db.close()
                return None
        except BaseException:
            db.close()
            raise

        def is_held() -> bool:
            try:
                db.exec_driver_sql("SELECT 1")
            except sa.exc.SQLAlchemyError:
                return False
            return True

        def release() -> None:
            with suppress(sa.exc.DBAPIError):
                db.close()

        return Claimed(name, is_held, release)

    def _engine(self, **given: Any) -> sa.Engine:
        kept = {f"keepalives_{what}": value for what, value in KEEPALIVE.items()}
        asked = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "metapo", "client_encoding": "utf8", **kept}
        asked = {name: value for name, value in asked.items() if name not in self._url.query}
        try:
            return sa.create_engine(self._url, connect_args=asked, **given)
        except ModuleNotFoundError as e:
            raise MissingExtra("postgres", "a store on PostgreSQL") from e

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def lock_key(db: sa.Connection, name: str) -> int:
    """A number for a name in the store's schema. Locks of several databases never meet."""
    schema = db.dialect.default_schema_name
    return int.from_bytes(sha256(f"metapo/{schema}/{name}".encode()).digest()[:8], signed=True)


def take_turns(db: sa.Connection, name: str) -> None:
    """Wait until nobody else is in a transaction that took its turn under this name; in SQLite nobody is."""
    if db.dialect.name == "postgresql":
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_key(db, name))))


def check(db: sa.Connection) -> None:
    """Can this database hold every text? Raises StoreError."""
    encoding = db.scalar(sa.text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise StoreError(f"the database's encoding is {encoding}, it must be UTF8: createdb -E UTF8 -T template0 NAME")


def _parse(url: str) -> sa.URL:
    """No message repeats the URL: where it can't be read, nobody knows where in it the password is."""
    scheme = url.partition("://")[0]
    if scheme not in FORMS:
        raise StoreError(f"no store at a URL that begins with {scheme}://; {ALLOWED}")
    try:
        parsed = sa.make_url(url).set(drivername=DRIVER)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError(f"the store's URL can't be read; {ALLOWED}") from None
    if "@" in (parsed.host or ""):
        raise StoreError("the password in the store's URL holds an @: write it as %40, or put it into PGPASSWORD")
    if not parsed.database:
        raise StoreError(f"the store's URL names no database; {ALLOWED}")
    return parsed


def _lock(db: sa.Connection, key: int, timeout_s: float) -> bool:
    if timeout_s == 0:
        return bool(db.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))
    if timeout_s > 0:
        db.exec_driver_sql(f"SET lock_timeout = {max(1, round(1000 * timeout_s))}")
    try:
        db.execute(sa.select(sa.func.pg_advisory_lock(key)))
    except sa.exc.DBAPIError as e:
        if getattr(e.orig, "sqlstate", None) == LOCK_TIMEOUT:
            return False
        raise
    return True


def _code(text: str) -> str | None:
    return next((code for pattern, code in CODES_BY_TEXT.items() if re.search(pattern, text)), None)


def _is_about_connection(error: sa.exc.DBAPIError, code: str | None) -> bool:
    """Classes 08 and 57P: broken connections, a server that goes down or comes up; or none was ever made."""
    return code.startswith(("08", "57P")) if code else isinstance(error, sa.exc.OperationalError)

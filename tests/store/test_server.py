"""A store on a PostgreSQL server: what goes wrong there, and how it is told."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import StoreError
from metapo.store import Store, schema
from metapo.store.calls import count_calls
from metapo.store.migrations import MIGRATIONS
from metapo.store.rows import rollout_row
from metapo.store.text import ESCAPES, unescape
from tests.postgres import PASSWORD, Server, running
from tests.store.raw import raw
from tests.store.test_store import begin, record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = r"no connection .*Nothing of this step was written. See to the server, then resume the run"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that tests may stop."""
    try:
        with running() as own:
            yield own
    except LookupError as e:
        pytest.skip(str(e))


def test_a_server_that_was_restarted_between_transactions_is_met_again(server: Server) -> None:
    with closing(Store(server.new_schema())) as store:
        assert store.begin_attempt(resumed_step=0, now=NOW) == 1
        server.restart()
        assert store.begin_attempt(resumed_step=0, now=NOW) == 2


def test_a_transaction_waits_for_a_server_that_is_down_for_a_moment(server: Server) -> None:
    with closing(Store(server.new_schema())) as store:
        server.stop()
        back = threading.Timer(1.0, server.start)
        back.start()
        assert store.begin_attempt(resumed_step=0, now=NOW) == 1
        back.join()


def test_a_server_that_stays_away_ends_the_wait_with_what_to_do(server: Server) -> None:
    url = server.new_schema()
    with closing(Store(url, patience_s=0.5)) as store:
        server.stop()
        try:
            began = time.monotonic()
            for go in (lambda: store.begin_attempt(resumed_step=0, now=NOW), lambda: store.claim("a")):
                with pytest.raises(StoreError, match=DOWN):
                    go()
            assert time.monotonic() - began >= 0.5
            with pytest.raises(StoreError, match=DOWN):
                Store(url)
        finally:
            server.start()


def write_and(store: Store, *then: Callable[[sa.Connection], object]) -> None:
    """One transaction that writes, in which these things happen besides."""
    with store._transaction(writes=True) as db:
        db.execute(sa.text("INSERT INTO attempt VALUES (1, 0, '')"))
        for happens in then:
            happens(db)


def ask(db: sa.Connection) -> None:
    db.execute(sa.text("SELECT 1"))


def test_a_transaction_whose_connection_breaks_wrote_nothing(server: Server) -> None:
    with closing(Store(server.new_schema())) as store:
        with pytest.raises(StoreError, match=DOWN):
            write_and(store, lambda _: server.restart(), ask)
        assert store.begin_attempt(resumed_step=0, now=NOW) == 1


def test_an_end_that_nobody_confirmed_is_told_as_unknown(server: Server) -> None:
    with closing(Store(server.new_schema())) as store:
        with pytest.raises(StoreError, match="there wholly or not at all, which of both is unknown"):
            write_and(store, lambda _: server.restart())
        assert store.begin_attempt(resumed_step=0, now=NOW) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"password": "hunter2"}, "password authentication failed.*Set the right password: in the URL, in PGPASSWORD"),
        ({"database": "nowhere"}, "Create it first: createdb NAME"),
        ({"schema": "nowhere"}, "create it first: CREATE SCHEMA"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(
    server: Server, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(StoreError, match=f"(?s){message}") as caught:
        Store(server.url(**changed))
    assert "metapo:***@127.0.0.1" in str(caught.value)
    for secret in (PASSWORD, "hunter2"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hunter2@h:port/db", "can't be read"),
        ("postgresql://u:hunt@er2@h/db", "holds an @: write it as %40"),
        ("postgresql://u:hunter2@h", "names no database"),
        ("mysql://u:hunter2@h/db", "begins with mysql://; a store is a path, or a URL such as postgresql"),
        ("postgres://u:hunter2@127.0.0.1:1/db?password=hunter3", DOWN),
        ("postgresql://127.0.0.1:1/db?user=u&password=hunter2", DOWN),
    ],
)
def test_no_message_shows_a_password(url: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoreError, match=f"(?s){message}") as caught:
        Store(url)
    told = [str(caught.value), str(caught.value.__cause__), caplog.text]
    assert not [text for text in told if "hunter" in text or "er2" in text]


def test_the_short_forms_of_a_url_are_understood(server: Server) -> None:
    for scheme in ("postgres", "postgresql"):
        url = server.new_schema().replace("postgresql+psycopg", scheme)
        with closing(Store(url)) as store:
            assert store.path is None
            assert store.name.startswith("postgresql+psycopg://metapo:***@127.0.0.1:")


def test_a_database_of_something_else_is_no_store(server: Server) -> None:
    url = server.new_schema()
    schema = url.rpartition("%3D")[2]
    server.execute(f"CREATE TABLE {schema}.customer (id INTEGER)")
    with pytest.raises(StoreError, match=r"is no store: it holds the tables customer\. Give the store an empty one"):
        Store(url)


def test_a_database_of_another_encoding_is_refused(server: Server) -> None:
    server.execute("CREATE DATABASE latin ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(StoreError, match="encoding is SQL_ASCII, it must be UTF8"):
        Store(server.url("latin"))


def disk_is_full(db: sa.Connection) -> None:
    """The server raises what it raises where its disk is full."""
    db.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"))


def test_a_full_disk_writes_nothing_and_says_what_to_do(server: Server) -> None:
    with closing(Store(server.new_schema())) as store:
        with pytest.raises(StoreError, match=r"Nothing of this step was written\. Free some space on the server"):
            write_and(store, disk_is_full)
        assert store.begin_attempt(resumed_step=0, now=NOW) == 1


def test_a_new_store_has_the_schema_that_it_has_in_a_file(server: Server, tmp_path: Path) -> None:
    with closing(Store(server.new_schema())) as ours, closing(Store(tmp_path / "store.db")) as file:
        told = [described(sa.inspect(store._engine)) for store in (ours, file)]
        assert told[0] == told[1]
        with raw(ours) as db:
            assert len(db.execute("SELECT number FROM migration")) == len(MIGRATIONS)
            for view in sa.inspect(ours._engine).get_view_names():
                assert db.execute(f"SELECT * FROM {view}") == []


def columns_of(inspector: sa.Inspector, name: str) -> list[dict[str, Any]]:
    key = inspector.get_pk_constraint(name)["constrained_columns"]
    return [{**column, "primary_key": column["name"] in key} for column in inspector.get_columns(name)]


def described(inspector: sa.Inspector) -> dict[str, object]:
    """Tables with their columns, keys, references and indices; views with their columns."""
    tables = {
        name: (
            [(c["name"], c["nullable"] and not c["primary_key"]) for c in columns_of(inspector, name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted((k["constrained_columns"], k["referred_table"]) for k in inspector.get_foreign_keys(name)),
            sorted((i["name"], i["column_names"]) for i in inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
    }
    views = {name: [c["name"] for c in inspector.get_columns(name)] for name in inspector.get_view_names()}
    return {"tables": tables, "views": views}


def test_rollouts_of_two_writers_wait_for_each_other_no_more_than_they_must(server: Server) -> None:
    url = server.new_schema()
    with closing(Store(url)) as store, closing(Store(url)) as other:
        attempt = begin(store)
        with store._transaction(writes=True) as db:
            row = rollout_row("1/train/0/0", attempt, record(0))
            db.execute(schema.rollout.insert(), row)
            count_calls(db, store.writer, record(0).calls)
            other.append_rollouts(attempt, [record(0, 1)])
            assert len(other.rollouts()) == 1
        assert len(other.rollouts()) == 2
        assert store.spent().n_calls == 2


def test_a_read_sees_one_state_of_the_store(server: Server) -> None:
    url = server.new_schema()
    with closing(Store(url)) as store, closing(Store(url)) as other:
        attempt = begin(store)
        with store.snapshot() as db:
            counted = sa.select(sa.func.count()).select_from(schema.rollout)
            assert db.scalar(counted) == 0
            other.append_rollouts(attempt, [record(0)])
            assert db.scalar(counted) == 0
        assert len(store.rollouts()) == 1


WRITER = """
import sys
from datetime import UTC, datetime
from metapo.store import AnchorRecord, CallRecord, Store
store = Store(sys.argv[1])
for i in range(25):
    store.begin_attempt(resumed_step=0, now=datetime.now(UTC))
    store.append_anchors([AnchorRecord("p", "a", "b", "anchor", "why")] * 2)
    store.append_other_calls(None, 0, [CallRecord("yes", cost_usd=1.0)] * 2)
    store.remember({str(i): "body"})
"""


def test_processes_that_open_a_new_store_at_once_number_their_rows_without_gaps(place: Path | str) -> None:
    command = [sys.executable, "-c", WRITER, str(place)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with closing(Store(place)) as store:
        assert begin(store) == 76
        assert (
            len(store.anchors()) == len(store.other_calls()) == store.spent().n_calls == store.spent().cost_usd == 150
        )
        with raw(store) as db:
            assert db.execute("SELECT MAX(number) FROM anchor") == [(150,)]


@given(text=st.text(st.sampled_from("a0\x00\x10é")))
def test_any_text_comes_back_from_its_escape(text: str) -> None:
    escaped = text.translate(ESCAPES)
    assert "\x00" not in escaped
    assert unescape(escaped) == text

"""The store: what is written is read back, what an attempt superseded is no longer live, tampering shows."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from metapo.errors import LineageError, StoreError
from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Revision, Unscored, Verdict
from metapo.store import (
    ActKind,
    ActRecord,
    AdoptionRecord,
    AnchorRecord,
    BegunRecord,
    CallRecord,
    ExchangeRecord,
    FindingRecord,
    MetaStepRecord,
    OpinionRecord,
    ProposalRecord,
    RolloutRecord,
    SampleRecord,
    Spent,
    Store,
)
from metapo.store.migrations import MIGRATIONS
from metapo.store.schema import metadata
from metapo.turns import Role, ToolCall, Turn, text_of
from tests.helpers import criterion, rubric, verdict
from tests.store.raw import raw

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = Revision(rubric=rubric(criterion("depth")), reason="start", proposer="settings", step=0)
CHILD = Revision(rubric=rubric(), parents=(FIRST.id,), reason="merged", proposer="meta model", step=4)


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    made = Store(place)
    yield made
    made.close()


def record(step: int, position: int = 0, split: Split = Split.TRAIN, by: Revision = FIRST) -> RolloutRecord:
    rollout = Rollout(prompt="p", completion=f"{step}/{position}", step=step, position=position, split=split)
    outcomes: tuple[Outcome, ...] = tuple(verdict(c.id, c.max_points) for c in by.rubric.criteria)
    return RolloutRecord(rollout, by.id, 1.0, 1.0, 5.0, outcomes, (CallRecord('{"raw": true}', model="m"),))


def begin(store: Store, resumed_step: int = 0) -> int:
    attempt = store.begin_attempt(resumed_step=resumed_step, now=NOW)
    if not store.lineage():
        store.adopt(attempt, 0, FIRST)
    return attempt


def test_dialogues_are_read_back_with_their_turns(store: Store) -> None:
    turns = (
        Turn(role=Role.ASSISTANT, content="~~~~~~~~ tool\n\x00é", calls=(ToolCall(name="add", arguments="{broken"),)),
        Turn(role=Role.TOOL, content="5", name="add", call_id="1"),
    )
    made = record(0)
    made = replace(made, rollout=made.rollout.model_copy(update={"completion": text_of(turns)}))
    store.append_rollouts(begin(store), [made])
    [read] = store.rollouts()
    assert read.rollout == made.rollout
    assert read.rollout.turns == turns


def meta_step(step: int, child: Revision | None, decision: str = "adopted") -> MetaStepRecord:
    exchanges = (ExchangeRecord("analyze", 0, "why?", "because"), ExchangeRecord("merge", None, "all?", "", "timeout"))
    return MetaStepRecord(
        step=step,
        adopt_step=step,
        parent_id=FIRST.id,
        child=child,
        decision=decision,
        reason="a reason",
        samples=(SampleRecord(record(step - 1).rollout),),
        exchanges=exchanges,
        seconds=1.5,
    )


def adopt(store: Store, attempt: int, step: int, child: Revision) -> None:
    """A meta step after `step` steps whose child is in force at once."""
    store.append_meta_step(attempt, meta_step(step, child))
    store.adopt(attempt, step, child)


def test_rollouts_come_back_as_they_were_written(store: Store) -> None:
    attempt = begin(store)
    failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT, detail="60 s")
    rollout = Rollout(prompt="p\n~~~", completion="é \x00", step=1, reference="r")
    unscored = RolloutRecord(rollout, FIRST.id, None, None, None, (failed,), (CallRecord("", error="ChatTimeout"),))
    store.append_rollouts(attempt, [record(1, 1), unscored])
    read = store.rollouts(from_step=1, to_step=2)
    assert [r.rollout for r in read] == [unscored.rollout, record(1, 1).rollout]
    assert [r.value for r in read] == [None, 1.0]
    assert [r.outcomes for r in read] == [(failed,), record(1, 1).outcomes]
    assert {(c["reply"], c["error"]) for c in store.calls()} == {('{"raw": true}', ""), ("", "ChatTimeout")}


def test_what_a_verdict_and_its_making_hold_comes_back(store: Store) -> None:
    attempt = begin(store)
    told = Verdict(
        criterion_id="depth", points=5, rationale="why", quote="q", expected=3.5, uncertainty=1.5, label_mass=0.75
    )
    written = replace(record(0), outcomes=(told,), n_reused=1, n_left_out=900, monitor=0.25, calls=())
    store.append_rollouts(attempt, [written])
    assert store.rollouts() == [written]


def test_calls_keep_where_they_went_and_what_they_cost(store: Store) -> None:
    attempt = begin(store)
    call = CallRecord("raw", "", "m", "stop", 100, 7, 0.5, "monitor", "http://judge", 64, 0.25)
    store.append_rollouts(attempt, [replace(record(0), calls=(CallRecord("", "reset"), call))])
    rollout_id = f"{attempt}/train/0/0"
    assert [*store.calls()] == [
        {"rollout_id": rollout_id, "number": 0, **vars(CallRecord("", "reset"))},
        {"rollout_id": rollout_id, "number": 1, **vars(call)},
    ]


def test_opinions_are_kept_with_their_reasons(store: Store) -> None:
    attempt = begin(store)
    told = Verdict(criterion_id="depth", points=5, rationale="why", expected=4.5)
    failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT, detail="60 s")
    opinions = (OpinionRecord("panel", "a", told), OpinionRecord("monitor", "a", failed))
    store.append_rollouts(attempt, [replace(record(0), opinions=opinions), record(1)])
    with raw(store) as db:
        rows = db.execute(
            "SELECT rollout_id, role, judge, criterion_id, points, value, rationale, reason, detail FROM opinion"
        )
    assert rows == [
        ("1/train/0/0", "panel", "a", "depth", 5, 4.5, "why", None, ""),
        ("1/train/0/0", "monitor", "a", "depth", None, None, "", "timeout", "60 s"),
    ]


def test_known_answers_stay_as_they_were_first_written(store: Store) -> None:
    store.remember({})
    store.remember({"a": "first", "b": "é \x00"})
    store.remember({"a": "second", "c": ""})
    assert [store.known_answer(k) for k in "abcd"] == ["first", "é \x00", "", None]


def test_all_calls_count_as_spent_those_of_older_attempts_too(store: Store) -> None:
    assert store.spent() == Spent(0, 0, 0.0)
    attempt = begin(store)
    calls = (
        CallRecord("raw", model="m", prompt_tokens=100, completion_tokens=7, cost_usd=0.25, latency_s=2),
        CallRecord("", error="reset"),
        CallRecord("raw", model="big", role="monitor", prompt_tokens=10, cost_usd=0.5),
    )
    store.append_rollouts(attempt, [replace(record(0), calls=calls)])
    exchanges = (ExchangeRecord("merge", None, "p", "r", "", "m", 1000, 20, 1.0, 3.0),)
    store.append_meta_step(attempt, replace(meta_step(4, None, "failed"), exchanges=exchanges))
    spent = Spent(4, 100 + 7 + 10 + 1000 + 20, 1.75)
    assert store.spent() == spent
    begin(store, resumed_step=0)
    assert store.spent() == spent
    with raw(store) as db:
        rows = db.execute("SELECT role, model, n_calls, n_failed, cost_usd, latency_s FROM spending ORDER BY 1, 2")
        assert rows == [
            ("judge", "", 1, 1, 0, 0),
            ("judge", "m", 1, 0, 0.25, 2),
            ("meta", "m", 1, 0, 1.0, 3),
            ("monitor", "big", 1, 0, 0.5, 0),
        ]


def test_calls_that_belong_to_no_rollout_count_too(store: Store) -> None:
    store.append_other_calls(None, 0, [])
    ping = CallRecord("yes", model="m", prompt_tokens=10, completion_tokens=1, cost_usd=0.5, endpoint="u")
    failed = CallRecord("", "reset", model="big", role="meta", latency_s=2)
    store.append_other_calls(None, 0, [ping])
    attempt = begin(store)
    store.append_other_calls(attempt, 4, [failed, ping])
    assert store.other_calls() == [ping, failed, ping]
    assert store.spent() == Spent(3, 22, 1.0)
    with raw(store) as db:
        rows = db.execute("SELECT number, attempt_id, step FROM other_call ORDER BY number")
        spending = db.execute("SELECT role, model, n_calls, n_failed FROM spending ORDER BY 1, 2")
    assert rows == [(1, None, 0), (2, 1, 4), (3, 1, 4)]
    assert spending == [("judge", "m", 2, 0), ("meta", "big", 1, 1)]


def test_the_newest_attempt_that_knows_says_who_answered(store: Store) -> None:
    assert store.answered_by() == {}
    for who in ({"judge": "a", "meta": "b"}, {"judge": "c"}, {}):
        store.begin_attempt(resumed_step=0, now=NOW, answered_by=who)
    assert store.answered_by() == {"judge": "c"}


def test_reads_are_in_order_and_within_their_bounds(store: Store) -> None:
    attempt = begin(store)
    store.append_rollouts(attempt, [record(s, p) for s in (2, 0, 1) for p in (1, 0)])
    store.append_rollouts(attempt, [record(1, 0, Split.EVAL)])
    read = [(r.rollout.step, r.rollout.position) for r in store.rollouts(from_step=1, to_step=3)]
    assert read == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [r.rollout.split for r in store.rollouts(split=Split.EVAL)] == [Split.EVAL]


def test_the_newest_step_of_a_cluster_is_known(store: Store) -> None:
    attempt = begin(store)
    rare = record(3, 1)
    rare = replace(rare, rollout=rare.rollout.model_copy(update={"cluster": "rare"}))
    store.append_rollouts(attempt, [rare, *(record(step) for step in range(6)), record(7, split=Split.EVAL)])
    asked = [(9, ""), (5, ""), (0, ""), (9, "rare"), (3, "rare"), (9, "none")]
    assert [store.last_step(step, cluster) for step, cluster in asked] == [5, 4, None, 3, None, None]


def test_a_revision_is_written_once_and_read_back_whole(store: Store) -> None:
    attempt = begin(store)
    store.adopt(attempt, 4, CHILD)
    store.adopt(attempt, 5, CHILD)
    assert store.revision(CHILD.id) == CHILD
    assert store.find_revision(CHILD.id[:8]) == CHILD
    with pytest.raises(StoreError, match="0 revisions start with 'zzz'"):
        store.find_revision("zzz")
    with pytest.raises(StoreError, match="2 revisions start with ''"):
        store.find_revision("")
    with pytest.raises(LineageError, match="no revision 'zzz'"):
        store.revision("zzz")


def test_a_revision_needs_its_parents(store: Store) -> None:
    attempt = store.begin_attempt(resumed_step=0, now=NOW)
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        store.adopt(attempt, 0, CHILD)
    assert store.verify() == 0, "half a revision was written"


def test_a_meta_step_keeps_every_text_and_its_child_scores_once_it_is_adopted(store: Store) -> None:
    attempt = begin(store)
    store.append_rollouts(attempt, [record(3)])
    store.append_meta_step(attempt, meta_step(4, CHILD))
    assert store.meta_steps() == [meta_step(4, CHILD)]
    assert store.lineage() == [(0, FIRST)]
    store.adopt(attempt, 6, CHILD)
    assert store.lineage() == [(0, FIRST), (6, CHILD)]
    assert store.verify() == 2


def test_a_rejected_proposal_is_kept_but_not_in_force(store: Store) -> None:
    attempt = begin(store)
    store.append_meta_step(attempt, meta_step(4, CHILD, "rejected"))
    assert store.lineage() == [(0, FIRST)]
    assert store.revision(CHILD.id) == CHILD


def test_resuming_supersedes_what_came_after_the_checkpoint(store: Store) -> None:
    """The checkpoint after 4 steps holds training steps 0-3, the meta step and the evaluation at 4."""
    attempt = begin(store)
    store.append_rollouts(attempt, [record(s) for s in range(4)] + [record(4, 0, Split.EVAL)])
    adopt(store, attempt, 4, CHILD)
    store.append_rollouts(attempt, [record(s, by=CHILD) for s in range(4, 7)] + [record(6, 0, Split.EVAL, CHILD)])
    lost = CHILD.model_copy(update={"parents": (CHILD.id,), "step": 6})
    adopt(store, attempt, 6, lost)

    again = begin(store, resumed_step=4)
    assert [r.rollout.step for r in store.rollouts()] == [0, 1, 2, 3]
    assert [r.rollout.step for r in store.rollouts(split=Split.EVAL)] == [4]
    assert [m.step for m in store.meta_steps()] == [4]
    assert store.lineage() == [(0, FIRST), (4, CHILD)]
    store.append_rollouts(again, [record(4, by=CHILD)])
    assert [r.rollout.step for r in store.rollouts()] == [0, 1, 2, 3, 4]
    assert store.verify() == 3, "the lost revision stays, as a branch that nothing uses"


def test_a_run_killed_before_its_first_checkpoint_begins_again(store: Store) -> None:
    attempt = begin(store)
    store.append_rollouts(attempt, [record(0), record(1), record(0, 0, Split.EVAL)])
    begin(store, resumed_step=0)
    assert store.rollouts() == []
    assert store.rollouts(split=Split.EVAL) == []
    assert store.lineage() == [(0, FIRST)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE rubric SET body = REPLACE(body, 'worth 5', 'worth 50')", "was changed after it was written"),
        ("UPDATE revision SET reason = 'better' WHERE step = 4", "was changed after it was written"),
        ("UPDATE revision SET step = 9 WHERE step = 4", "was changed after it was written"),
        ("DELETE FROM revision_parent", "was changed after it was written"),
        ("UPDATE adoption SET step = 3 WHERE step = 4", "not in force at that step"),
        ("DELETE FROM adoption WHERE step = 0", "what was in force before is missing"),
        (f"UPDATE rollout SET revision_id = '{CHILD.id}' WHERE step = 3", "not in force at that step"),
    ],
)
def test_verify_finds_what_was_tampered_with(store: Store, damage: str, message: str) -> None:
    attempt = begin(store)
    store.append_rollouts(attempt, [record(s) for s in range(4)])
    adopt(store, attempt, 4, CHILD)
    assert store.verify() == 2
    with raw(store) as db:
        assert db.change(damage) > 0
    with pytest.raises(LineageError, match=message):
        store.verify()


def test_verify_finds_a_broken_chain(store: Store) -> None:
    attempt = begin(store)
    stranger = Revision(rubric=rubric(), reason="from elsewhere", proposer="person", step=2)
    store.adopt(attempt, 2, stranger)
    with pytest.raises(LineageError, match="is no child of"):
        store.verify()


def test_a_full_disk_writes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    """SQLite itself reports the disk as full once the database may not grow by another page."""
    store = Store(tmp_path / "store.db")
    attempt = begin(store)
    pages = 0

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    with raw(store) as db:
        [(pages,)] = db.execute("PRAGMA page_count")
    store._engine.dispose()
    sa.event.listen(store._engine, "connect", limit)
    with pytest.raises(StoreError, match=r"disk is full.*Nothing of this step was written. Free some space"):
        store.append_rollouts(attempt, [record(0, p) for p in range(500)])
    assert store.rollouts() == []
    store.close()


def test_a_file_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(StoreError, match=r"not a database.*damaged"):
        Store(path)


def test_a_newer_store_is_refused(store: Store, place: Path | str) -> None:
    with raw(store) as db:
        db.change("INSERT INTO migration VALUES (99, 'from_the_future')")
    with pytest.raises(StoreError, match=f"has schema 99, this version of metapo knows up to {len(MIGRATIONS)}"):
        Store(place)


def test_migrations_leave_the_tables_that_the_code_expects(store: Store) -> None:
    inspector = sa.inspect(store._engine)
    for table in metadata.sorted_tables:
        found = {c["name"]: c for c in inspector.get_columns(table.name)}
        assert found.keys() == {c.name for c in table.columns}, table.name
        for column in table.columns:
            kind = found[column.name]["type"]
            expected = getattr(column.type, "impl", column.type)
            assert isinstance(kind, type(expected)), f"{table.name}.{column.name} is {kind!r}"
            if not column.primary_key:
                assert found[column.name]["nullable"] == column.nullable, f"{table.name}.{column.name}"
        assert inspector.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]


NEWER = {"criteria": {"__all__": {"evidence"}}}  # what a rubric did not hold under the first schema
# Rows as the first version of metapo wrote them, rubrics apart.
OLD_ROWS = {
    "attempt": [(1, 0, "2026-01-01T00:00:00+00:00")],
    "revision": [(r.id, r.rubric.digest, r.reason, r.proposer, r.step) for r in (FIRST, CHILD)],
    "revision_parent": [(CHILD.id, 0, FIRST.id)],
    "adoption": [(1, 0, FIRST.id), (1, 4, CHILD.id)],
    "rollout": [
        ("1/train/3/0", 1, 3, "train", 0, "p", "3/0", None, FIRST.id, 1.0, 1.0, 5.0),
        ("1/eval/4/0", 1, 4, "eval", 0, "p", "4/0", "r", CHILD.id, None, None, None),
    ],
    "verdict": [
        ("1/train/3/0", "depth", 5, "why", None, ""),
        ("1/eval/4/0", "depth", None, "", "timeout", "60 s"),
        ("1/eval/4/0", "style", 1, "", None, ""),
    ],
    "judge_call": [("1/train/3/0", 0, '{"raw": true}', "", "m", "stop", 100, 7, 0.5)],
    "meta_step": [(1, 4, FIRST.id, CHILD.id, "adopted", "a reason", 1.5)],
    "meta_sample": [(1, 4, 0, 3, 0)],
    "meta_exchange": [(1, 4, 0, "analyze", 0, "why?", "because", ""), (1, 4, 1, "merge", None, "all?", "", "timeout")],
}


# What each later schema could hold besides.
ADDED_ROWS = {
    1: {**OLD_ROWS, "rubric": [(r.rubric.digest, r.rubric.model_dump_json(exclude=NEWER)) for r in (FIRST, CHILD)]},
    2: {
        "opinion": [("1/train/3/0", "panel", "a", "depth", 5, 4.5, "why", None, "")],
        "known_answer": [("key", "body")],
    },
    3: {
        "other_call": [(1, None, 0, "yes", "", "m", "stop", 10, 1, 0.5, "judge", "u", None, 0.25)],
        "answered_by": [(1, "judge", "a")],
    },
    4: {
        "meta_begun": [(1, "", 9, 10, "every 9 steps")],
        "proposal": [(1, "", 4, 0, CHILD.id, 1, "merged", None)],
        "gate_finding": [(1, "", 4, 0, "fresh", 1, "better", 0.5, 0.75, 8)],
        "anchor": [(1, 1, 9, "", "archive", "p", "good", "bad", None, "damaged", "", "")],
        "act": [(1, "pin", "ada", "it matters", "2026-01-01", None, None, "depth", None)],
        "act_taken": [(1, "", 1, 9, "pinned")],
    },
    5: {},
    6: {
        "served": [(1, "{}")],
        "group_member": [(1, "train", "g", 0, 3)],
        "rollout_key": [(1, "key", "1/train/3/0")],
        "boundary": [(1, 4, "", "2026-01-01")],
        "metric": [(1, 1, 3, "train", "{}")],
    },
    7: {"pruned": [(1, "2026-01-01", 2, "verdict", 3)]},
}
CHANGED_ROWS = {
    2: "UPDATE rollout SET n_reused = 1, n_left_out = 9, monitor = 0.25; "
    "UPDATE verdict SET expected = 4.5, uncertainty = 0.5, quote = 'q'; "
    "UPDATE meta_exchange SET model = 'm', prompt_tokens = 9, completion_tokens = 7, cost_usd = 0.5, latency_s = 2",
    3: "UPDATE verdict SET label_mass = 0.75",
}


def written_under(path: Path, schema: int) -> Path:
    """A store that knew the first `schema` schemas only, with rows in each of its tables."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL)"))
    for number, migration in enumerate(MIGRATIONS[:schema], 1):
        with engine.begin() as db:
            migration(db)
        with sqlite3.connect(path) as raw:
            for table, rows in {"migration": [(number, migration.__name__)], **ADDED_ROWS[number]}.items():
                raw.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            raw.executescript(CHANGED_ROWS.get(number, ""))
    engine.dispose()
    assert all(contents(path, columns_of(path)).values()), "a table has no rows"
    return path


def contents(path: Path, columns: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[object, ...]]]:
    """The rows of these tables, with these columns alone."""
    with sqlite3.connect(path) as db:
        return {
            table: sorted(db.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall(), key=str)
            for table, names in columns.items()
        }


def columns_of(path: Path) -> dict[str, list[str]]:
    with sqlite3.connect(path) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {t: [row[1] for row in db.execute(f"PRAGMA table_info({t})")] for t in tables if t != "migration"}


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """A store under the first schema alone, with rows in each of its tables."""
    return written_under(tmp_path / "old.db", 1)


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
def test_a_store_of_any_older_schema_keeps_every_value(tmp_path: Path, schema: int) -> None:
    path = written_under(tmp_path / "old.db", schema)
    columns = columns_of(path)
    before = contents(path, columns)
    store = Store(path)
    assert contents(path, columns) == before
    assert store.adoptions() == [AdoptionRecord(0, FIRST), AdoptionRecord(4, CHILD)]
    assert [(m.step, m.adopt_step, m.why, m.cluster) for m in store.meta_steps()] == [(4, 4, "", "")]
    assert store.clusters() == [""]
    n_new = int(schema >= 4)  # the first schema that has them
    assert [len(of) for of in (store.begun(), store.anchors(), store.acts())] == [n_new] * 3
    assert store.verify() == 2
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("SELECT cluster, from_step, id FROM lineage ORDER BY 2").fetchall() == [
            ("", 0, FIRST.id),
            ("", 4, CHILD.id),
        ]
        assert not [x for x in db.execute("SELECT name FROM sqlite_master") if x[0].startswith("old_")]


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
def test_a_run_begun_under_an_older_schema_goes_on(tmp_path: Path, schema: int) -> None:
    store = Store(written_under(tmp_path / "old.db", schema))
    attempt = begin(store, resumed_step=4)
    store.append_rollouts(attempt, [record(4, by=CHILD)])
    begun = BegunRecord(6, 8, "every 2 steps")
    store.begin_meta_step(attempt, begun)
    grandchild = Revision(rubric=FIRST.rubric, parents=(CHILD.id,), reason="merged", proposer="m", step=6)
    done = replace(meta_step(6, grandchild), parent_id=CHILD.id, adopt_step=8, why="every 2 steps", samples=())
    store.append_meta_step(attempt, done)
    store.adopt(attempt, 8, grandchild)
    assert store.begun() == [begun]
    assert store.meta_steps()[1:] == [done]
    assert [step for step, _ in store.lineage()] == [0, 4, 8]
    assert store.verify() == 3
    store.close()


def test_a_store_of_the_first_schema_opens_and_reads(old_store: Path) -> None:
    for _ in range(2):
        store = Store(old_store)
        assert store.lineage() == [(0, FIRST), (4, CHILD)]
        assert store.verify() == 2
        assert store.meta_steps() == [meta_step(4, CHILD)]
        told = Verdict(criterion_id="depth", points=5, rationale="why")
        assert store.rollouts() == [replace(record(3), outcomes=(told,), calls=())]
        failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT, detail="60 s")
        assert [r.outcomes for r in store.rollouts(split=Split.EVAL)] == [(failed, verdict("style", 1))]
        [call] = store.calls()
        expected = CallRecord('{"raw": true}', "", "m", "stop", 100, 7, 0.5)
        assert call == {"rollout_id": "1/train/3/0", "number": 0, **vars(expected)}
        assert store.spent() == Spent(3, 107, 0.0)
        store.close()


def test_a_store_of_the_first_schema_goes_on(old_store: Path) -> None:
    store = Store(old_store)
    attempt = begin(store, resumed_step=4)
    opinions = (OpinionRecord("panel", "a", verdict("depth", 5)),)
    new = replace(record(4, by=CHILD), opinions=opinions, monitor=0.5)
    store.append_rollouts(attempt, [new])
    store.remember({"a": "b"})
    store.append_other_calls(attempt, 4, [CallRecord("yes", prompt_tokens=3)])
    assert store.spent() == Spent(5, 110, 0.0)
    assert store.answered_by() == {}
    assert store.rollouts(from_step=4) == [replace(new, calls=(), opinions=())]
    assert store.verify() == 2
    with sqlite3.connect(old_store) as db:
        rows = db.execute(
            "SELECT step, split, n_rollouts, normalized, monitor FROM reward_by_step ORDER BY step, split"
        )
        assert rows.fetchall() == [(3, "train", 1, 1.0, None), (4, "eval", 1, None, None), (4, "train", 1, 1.0, 0.5)]
    store.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(old_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_halfway(db: sa.Connection) -> None:
        db.execute(sa.text("CREATE TABLE half (id INTEGER)"))
        db.execute(sa.text("ALTER TABLE rollout ADD COLUMN monitor TEXT"))

    before = schema(old_store)
    with monkeypatch.context() as patch:
        patch.setattr("metapo.store.migrations.MIGRATIONS", [*MIGRATIONS, fails_halfway])
        with pytest.raises(StoreError, match="duplicate column name: monitor"):
            Store(old_store)
    assert schema(old_store) == before, "nor was the migration before it done"
    Store(old_store).close()


def test_stores_opened_at_once_are_migrated_once(old_store: Path, place: Path | str) -> None:
    for path in (old_store, place):
        with ThreadPoolExecutor(4) as pool:
            stores = [*pool.map(Store, [path] * 4)]
        assert all(s.spent() for s in stores)
        for each_store in stores:
            each_store.close()


def test_two_processes_may_write_at_once(store: Store, place: Path | str) -> None:
    other = Store(place)

    def write(to: Store, name: str) -> None:
        for i in range(20):
            to.begin_attempt(resumed_step=0, now=NOW)
            to.remember({f"{name}{i}": "body"})

    with ThreadPoolExecutor(2) as pool:
        [*pool.map(write, (store, other), "ab")]
    assert all(store.known_answer(f"{name}{i}") == "body" for name in "ab" for i in range(20))
    assert begin(store) == 41
    other.close()


def schema(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()


def test_migrating_twice_changes_nothing(tmp_path: Path, old_store: Path) -> None:
    Store(tmp_path / "new.db").close()
    for _ in range(2):
        Store(old_store).close()
        assert [x[:2] for x in schema(old_store)] == [x[:2] for x in schema(tmp_path / "new.db")]
        with sqlite3.connect(old_store) as db:
            done = db.execute("SELECT number, name FROM migration").fetchall()
        assert done == [(i, m.__name__) for i, m in enumerate(MIGRATIONS, 1)]


def test_the_views_answer_without_us(store: Store) -> None:
    attempt = begin(store)
    failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT)
    store.append_rollouts(
        attempt,
        [record(0, 0), RolloutRecord(record(0, 1).rollout, FIRST.id, None, None, None, (failed,))],
    )
    with raw(store) as db:
        assert db.execute("SELECT n_rollouts, n_unscored, normalized FROM reward_by_step") == [(2, 1, 1.0)]
        assert db.execute("SELECT criterion_id, points, n_unscored FROM points_by_criterion") == [("depth", 5.0, 1)]
        assert db.execute("SELECT reason, n_verdicts FROM unscored_by_reason") == [("timeout", 1)]
        assert db.execute("SELECT from_step, id FROM lineage") == [(0, FIRST.id)]


def test_the_views_count_expected_points_and_the_monitor(store: Store) -> None:
    attempt = begin(store)
    told = Verdict(criterion_id="depth", points=5, expected=3.5)
    store.append_rollouts(
        attempt, [replace(record(0), outcomes=(told,), monitor=0.25), replace(record(0, 1), monitor=0.75), record(0, 2)]
    )
    with raw(store) as db:
        assert db.execute("SELECT points FROM points_by_criterion") == [(4.5,)]
        assert db.execute("SELECT monitor FROM reward_by_step") == [(0.5,)]


# --- what the gate found, lineages by cluster, what people pinned and decided

REFUSED = Revision(rubric=rubric(criterion("tone")), parents=(FIRST.id,), reason="merged", proposer="m", step=4)


def gated(step: int = 4, cluster: str = "") -> MetaStepRecord:
    """A meta step that refused one proposal and adopted its repair two steps later."""
    form = FindingRecord("form", True, "valid")
    worse = FindingRecord("fresh", False, "40.0% in the right order", 0.5, 0.4, 20)
    better = FindingRecord("fresh", True, "80.0% in the right order", 0.5, 0.8, 20)
    proposals = (
        ProposalRecord(REFUSED, False, "fresh: 40.0%", None, (form, worse)),
        ProposalRecord(CHILD, True, "fresh: 80.0%", 0, (form, better)),
    )
    return replace(meta_step(step, CHILD), adopt_step=step + 2, cluster=cluster, samples=(), proposals=proposals)


def test_proposals_come_back_with_what_the_gate_found(store: Store) -> None:
    attempt = begin(store)
    store.append_meta_step(attempt, gated())
    [read] = store.meta_steps()
    assert read == gated()
    assert [p.accepted for p in read.proposals] == [False, True]
    assert all(isinstance(f.passed, bool) for p in read.proposals for f in p.findings)
    with raw(store) as db:
        rows = db.execute(
            "SELECT number, accepted, gate_check, passed, parent, child, n_pairs FROM gate_decisions ORDER BY 1, 3"
        )
    assert rows == [
        (0, 0, "form", 1, None, None, 0),
        (0, 0, "fresh", 0, 0.5, 0.4, 20),
        (1, 1, "form", 1, None, None, 0),
        (1, 1, "fresh", 1, 0.5, 0.8, 20),
    ]


def test_samples_come_back_with_why_they_were_read(store: Store) -> None:
    attempt = begin(store)
    store.append_rollouts(attempt, [record(3)])
    sample = SampleRecord(record(3).rollout, "high score, flagged", ("empty", "too_short"))
    store.append_meta_step(attempt, replace(meta_step(4, None, "failed"), samples=(sample,)))
    assert store.meta_steps()[0].samples == (sample,)


def test_verify_finds_a_revision_that_the_gate_refused(store: Store) -> None:
    attempt = begin(store)
    store.append_meta_step(attempt, gated())
    store.adopt(attempt, 6, CHILD)
    assert store.verify() == 3
    with raw(store) as db:
        db.change(f"UPDATE adoption SET revision_id = '{REFUSED.id}' WHERE step = 6")
    with pytest.raises(LineageError, match=f"{REFUSED.short_id}, adopted at step 6, was refused by the gate"):
        store.verify()


def test_each_cluster_has_its_lineage_from_the_first_revision_on(store: Store) -> None:
    attempt = begin(store)
    of_cluster = replace(record(0), rollout=record(0, 1).rollout.model_copy(update={"cluster": "law"}))
    store.append_rollouts(attempt, [record(0), of_cluster])
    store.append_meta_step(attempt, gated(cluster="law"))
    store.adopt(attempt, 6, CHILD, "law", factor=0.5, shift=0.25)
    assert store.clusters() == ["", "law"]
    assert store.lineage() == store.lineage("unknown") == [(0, FIRST)]
    assert store.adoptions("law") == [AdoptionRecord(0, FIRST), AdoptionRecord(6, CHILD, 0.5, 0.25)]
    assert [d.step for d in store.decisions("law")] == [4]
    assert store.decisions() == store.meta_steps() == []
    assert store.rollouts(cluster="law") == [replace(of_cluster, calls=())]
    assert store.verify() == 3


def test_a_meta_step_begun_beyond_a_checkpoint_is_begun_no_more(store: Store) -> None:
    attempt = begin(store)
    first, second = BegunRecord(4, 6, "every 4 steps"), BegunRecord(8, 10, "saturation")
    for begun in (first, second):
        store.begin_meta_step(attempt, begun)
    assert store.begun() == [first, second]
    begin(store, resumed_step=5)
    assert store.begun() == [first]


def test_the_newest_pairs_of_each_source_stand_beside_all_pinned_ones(store: Store) -> None:
    pinned = [AnchorRecord(f"p{i}", "good", "bad", "anchor", "a title only") for i in range(2)]
    won = AnchorRecord("p", "more", "less", "archive", "damaged: shortened")
    others = [AnchorRecord(f"q{i}", "more", "less", "earlier", "compared: in both orders") for i in range(3)]
    store.append_meta_step(begin(store), replace(gated(), evidence=(*others[:2], won, others[2])))
    store.append_anchors(pinned)
    assert store.anchors() == [*others[:2], won, others[2], *pinned]
    assert store.anchors(newest=1) == [won, others[2], *pinned]
    assert store.anchors("another", newest=1) == pinned


def test_archived_anchors_go_with_their_meta_step_and_pinned_ones_stay(store: Store) -> None:
    pinned = AnchorRecord("p", "good", "bad", "anchor", "a title only", "ann", "2026-01-01T00:00:00+00:00", "r")
    kept = AnchorRecord("p", "more", "less", "archive", "damaged: shortened")
    store.append_anchors([pinned])
    attempt = begin(store)
    store.append_meta_step(attempt, replace(gated(), evidence=(kept,)))
    assert store.anchors() == [pinned, kept]
    assert store.anchors(newest=0) == [pinned]
    begin(store, resumed_step=2)
    assert store.anchors() == [pinned]


def test_an_act_is_open_until_its_cluster_has_taken_it(store: Store) -> None:
    attempt = begin(store)
    when = "2026-01-01T00:00:00+00:00"
    pin = ActRecord(ActKind.PIN, "ann", "it matters", when, criterion="depth")
    edit = ActRecord(ActKind.EDIT, "bob", "", when, cluster="law", rubric=REFUSED.rubric)
    assert [store.append_act(pin), store.append_act(edit)] == [1, 2]
    known = [replace(pin, id=1), replace(edit, id=2)]
    assert store.acts() == known
    assert (store.open_acts(""), store.open_acts("law")) == (known[:1], known)
    store.take_act(attempt, 4, 1, "law", "pinned")
    assert (store.open_acts(""), store.open_acts("law")) == (known[:1], known[1:])
    assert store.outcomes_of_acts() == [(1, "law", 4, "pinned")]
    begin(store, resumed_step=2)
    assert store.open_acts("law") == store.open_acts("law", 4) == known, (
        "the boundary at which it was taken comes again"
    )
    assert store.open_acts("law", 3) == known[1:], "and not before"

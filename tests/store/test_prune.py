"""Pruning removes what it says, puts it on record, and leaves what a run and its readers need."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from metapo.rubric import Revision
from metapo.store import CallRecord, OpinionRecord, RolloutRecord, Store
from tests.helpers import verdict
from tests.store.raw import raw
from tests.store.test_store import CHILD, FIRST, NOW, begin, gated, record

OLD = {
    "judge_call": 12,
    "other_call": 1,
    "known_answer": 1,
    "opinion": 2,
    "verdict": 2,
    "rollout_flag": 2,
    "rollout_key": 2,
    "rollout": 2,
}
"""What of the steps before 5 goes."""


def written(by: Revision, *steps: int) -> list[RolloutRecord]:
    """Two rollouts a step, each with one verdict or two, a call and an opinion."""
    said = (OpinionRecord("panel", "a", verdict("depth", 5)),)
    calls = (CallRecord("raw", model="m", prompt_tokens=10, cost_usd=0.5),)
    return [replace(record(step, i, by=by), opinions=said, calls=calls) for step in steps for i in (0, 1)]


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    """Ten steps, the third of them written twice; a new revision from the fourth on."""
    with closing(Store(place)) as made:
        lost = begin(made)
        made.append_scored(lost, written(FIRST, 0, 1, 2), ["", "", "", "", "a", "b"])
        made.append_flags(lost, [(r.rollout, "empty", "nothing") for r in written(FIRST, 0, 2)])
        made.remember({"early": "body"})
        attempt = begin(made, resumed_step=2)
        made.append_rollouts(attempt, written(FIRST, 2, 3))
        made.append_meta_step(attempt, gated())
        made.append_other_calls(attempt, 4, [CallRecord("yes", role="gate"), CallRecord("yes", role="meta")])
        made.adopt(attempt, 4, CHILD)
        made.append_rollouts(attempt, written(CHILD, *range(4, 10)))
        made.remember({"late": "body"})
        yield made


def test_a_dry_run_tells_what_would_go_and_removes_nothing(store: Store) -> None:
    assert store.prune(5, NOW, dry_run=True) == OLD
    assert store.prune(5, NOW, dry_run=True) == OLD
    with raw(store) as db:
        assert db.execute("SELECT * FROM pruned") == []


def test_what_is_old_goes_and_all_that_counts_stays(store: Store) -> None:
    before = (store.rollouts(), store.spent(), store.meta_steps(), store.lineage(), store.decisions(), store.verify())
    assert store.prune(5, NOW) == OLD
    assert (
        store.rollouts(),
        store.spent(),
        store.meta_steps(),
        store.lineage(),
        store.decisions(),
        store.verify(),
    ) == before
    assert {call["rollout_id"].split("/")[2] for call in store.calls()} == set("56789")
    assert [call.role for call in store.other_calls()] == ["meta"]
    assert [store.known_answer(key) for key in ("early", "late")] == [None, "body"]
    assert set(store.prune(5, NOW).values()) == {0}


def test_what_went_is_on_record(store: Store) -> None:
    store.prune(5, NOW)
    with raw(store) as db:
        rows = db.execute("SELECT number, pruned_at, before_step, what, n_rows FROM pruned ORDER BY number")
    assert rows == [(i, NOW.isoformat(), 5, what, n) for i, (what, n) in enumerate(OLD.items(), 1)]


def test_a_run_goes_on_after_it(store: Store) -> None:
    store.prune(0, NOW)
    attempt = begin(store, resumed_step=8)
    store.append_rollouts(attempt, written(CHILD, 8, 9, 10))
    store.append_other_calls(attempt, 9, [CallRecord("yes")])
    assert store.last_step(99, "") == 10
    assert store.verify() == 3


def test_an_empty_store_has_nothing_to_remove(place: Path | str) -> None:
    with closing(Store(place)) as empty:
        assert set(empty.prune(0, NOW).values()) == {0}


def test_a_file_shrinks(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        store.append_rollouts(begin(store), [replace(record(s), calls=(CallRecord("raw" * 9999),)) for s in range(20)])
        store.shrink()
        before = (tmp_path / "store.db").stat().st_size
        store.prune(1, NOW)
        store.shrink()
        assert (tmp_path / "store.db").stat().st_size < before / 3

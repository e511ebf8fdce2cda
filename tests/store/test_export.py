"""An export reads back as what the store holds, and says which rows count."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from metapo.errors import StoreError
from metapo.rubric import Reason, Unscored
from metapo.store import CallRecord, Store
from metapo.store import export as module
from metapo.store.views import SUPERSEDED, VIEWS
from tests.store.test_store import CHILD, FIRST, adopt, begin, gated, record


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    """Six steps, of which the last two were written twice, and a meta step."""
    with closing(Store(place)) as made:
        attempt = begin(made)
        made.append_rollouts(attempt, [record(step, i) for step in range(6) for i in range(2)])
        made.append_meta_step(attempt, gated())
        failed = Unscored(criterion_id="depth", reason=Reason.TIMEOUT, detail="60 s")
        call = CallRecord("a \x00 reply", prompt_tokens=7, cost_usd=0.5)
        again = begin(made, resumed_step=4)
        made.append_rollouts(again, [replace(record(4), outcomes=(failed,), value=None, calls=(call,))])
        adopt(made, again, 6, CHILD)
        yield made


def test_every_table_and_view_is_there_and_reads_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    told = module.export(store, tmp_path / "out")
    read = {name: pq.read_table(tmp_path / "out" / f"{name}.parquet") for name in told}
    assert {name: table.num_rows for name, table in read.items()} == told
    rollouts = read["rollout"].to_pylist()
    assert len(rollouts) == 13
    assert sorted(r["step"] for r in rollouts if r["live"]) == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    [unscored] = [r for r in rollouts if r["value"] is None]
    assert (unscored["attempt_id"], unscored["live"]) == (2, True)
    assert "a \x00 reply" in read["judge_call"].column("reply").to_pylist()
    assert [r["live"] for r in read["meta_step"].to_pylist()] == [True, True]
    assert [r["from_step"] for r in read["lineage"].to_pylist()] == [0, 6]
    assert {r["id"] for r in read["revision"].to_pylist()} >= {FIRST.id, CHILD.id}
    assert read["unscored_by_reason"].to_pylist() == [
        {"split": "train", "reason": "timeout", "step": 4, "n_verdicts": 1}
    ]
    [judge, *_] = sorted(read["spending"].to_pylist(), key=lambda row: (row["role"], row["model"]))
    assert (judge["role"], judge["n_calls"], judge["prompt_tokens"], judge["cost_usd"]) == ("judge", 1, 7, 0.5)
    assert {type(r["passed"]) for r in read["gate_decisions"].to_pylist() if r["gate_check"]} == {bool}


def test_no_table_or_view_is_forgotten(store: Store) -> None:
    inspector = sa.inspect(store._engine)
    machinery = {"migration", "known_answer"}
    assert module.queries().keys() >= set(inspector.get_table_names()) - machinery
    live = {f"live_{table.name}" for table in SUPERSEDED}
    assert set(inspector.get_view_names()) == live | {view.name for view in VIEWS}
    for view in VIEWS:
        assert {c["name"] for c in inspector.get_columns(view.name)} == {c.name for c in view.columns}, view.name


def test_an_empty_store_is_exported_too(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "empty.db")) as empty:
        assert set(module.export(empty, tmp_path / "out").values()) == {0}


def test_a_folder_in_use_is_left_as_it_is(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("all of it")
    with pytest.raises(StoreError, match="isn't empty: choose another folder"):
        module.export(store, out)
    assert (out / "thesis.txt").read_text() == "all of it"

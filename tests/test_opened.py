"""A run folder in pandas and DuckDB: the lines that docs/tracking.md shows, on a run that was written for real."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metapo.files import append_row
from metapo.rollout import Rollout
from metapo.rubric import Revision
from metapo.run import METRICS, STORE
from metapo.store import RolloutRecord, Store
from metapo.store.export import export
from tests.helpers import criterion, rubric, verdict

PAGE = (Path(__file__).parents[1] / "docs" / "tracking.md").read_text()
LINES = re.findall(r"^(\w+) = (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "essay"
    folder.mkdir(parents=True)
    for step in range(2):
        append_row(folder / METRICS, {"kind": "train", "step": step, "revision": "a", "reward": 0.25 * step})
    append_row(folder / METRICS, {"kind": "meta", "step": 1, "revision": "b", "decision": "adopted"})
    store = Store(folder / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime.now(UTC))
    revision = Revision(rubric=rubric(criterion("depth")), reason="r", proposer="p", step=0)
    store.adopt(attempt, 0, revision)
    rollout = Rollout(prompt="Why?", completion="So.")
    record = RolloutRecord(rollout, revision.id, 0.5, 0.5, 2.0, (verdict("depth", 2),))
    store.append_rollouts(attempt, [record])
    export(store, tmp_path / "tables")
    store.close()
    return folder


def opened(name: str) -> Any:
    """What a line of the page gives."""
    import sqlite3

    import pandas as pd

    names: dict[str, Any] = {"pd": pd, "sqlite3": sqlite3}
    [line] = [line for known, line in LINES if known == name]
    if "duckdb" in line:
        names["duckdb"] = pytest.importorskip("duckdb")
    return eval(line.partition("  #")[0], names)


def test_metrics_open_in_pandas() -> None:
    metrics = opened("metrics")
    assert list(metrics[metrics.kind == "train"].reward) == [0.0, 0.25]


def test_the_store_s_views_open_in_pandas() -> None:
    assert opened("rewards").to_dict("records")[0]["step"] == 0


def test_metrics_open_in_duckdb() -> None:
    assert opened("steps").fetchall() == [(0, 0.0), (1, 0.25)]


def test_an_export_opens_in_duckdb() -> None:
    [row] = opened("rollouts").fetchall()
    assert "Why?" in row

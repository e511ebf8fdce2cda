"""Metrics as they come: in a file that grows and is written anew, and in a store with several attempts."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metapo.files import append_row
from metapo.run import FileNotes
from metapo.store import Store
from metapo.viewing.figures import DOCUMENTED, Figures, FileRows, RunRows, StoreRows, columns, names_of, onsets
from metapo.viewing.runs import Viewed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def train(step: int, **more: object) -> dict[str, object]:
    return {"kind": "train", "step": step, "reward": step / 10, **more}


def told(figures: Figures, name: str = "reward", kind: str = "train") -> list[float | None]:
    return figures.read().table(kind).column(name)


def test_a_file_is_read_on_from_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_row(path, train(0))
    figures = Figures(FileRows(path))
    first = figures.read()
    append_row(path, train(1, words=3))
    with path.open("a") as file:
        file.write('{"kind": "train", "st')  # as if caught in the middle of a write
    assert (told(figures), told(figures, "words")) == ([0.0, 0.1], [None, 3])
    assert (first.table("train").column("reward"), first.newest) == ([0.0], 1)
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert (told(figures), figures.read().newest, figures.read().generation) == ([0.0, 0.1, None], 3, first.generation)


def test_a_file_that_was_written_anew_is_another_generation(tmp_path: Path) -> None:
    notes = FileNotes(tmp_path / "metrics.jsonl")
    for step in range(4):
        notes.append(train(step))
    figures = Figures(FileRows(tmp_path / "metrics.jsonl"))
    before = figures.read()
    notes.go_back(2)
    notes.append(train(2, words=7))
    after = figures.read()
    assert after.generation != before.generation
    assert (after.table("train").steps, after.newest) == ([0, 1, 2], 3)


def test_rows_in_a_store_go_by_the_newest_attempt(place: Path | str) -> None:
    with closing(Store(place)) as store:
        figures = Figures(StoreRows(store))
        assert (figures.read().rows, figures.read().newest) == ([], 0)
        first = store.begin_attempt(resumed_step=0, now=NOW)
        for step in range(4):
            store.append_metric(first, train(step))
        before = figures.read()
        second = store.begin_attempt(resumed_step=2, now=NOW)
        store.append_metric(second, train(2, words=7))
        after = figures.read()
        assert (before.table("train").steps, after.table("train").steps) == ([0, 1, 2, 3], [0, 1, 2])
        assert before.generation != after.generation


def test_a_folder_is_looked_at_before_training_has_noted_anything(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        figures = Figures(RunRows(tmp_path / "metrics.jsonl", store))
        assert figures.read().rows == []
        append_row(tmp_path / "metrics.jsonl", train(0))
        assert told(figures) == [0.0]


def test_columns_are_what_the_rows_say(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    spoken = {"monitor/normalized": 0.25, "monitor/gap": 0.5, "hacking/gap": 0.0625, "judge/cost_usd": 0.5}
    rows = [
        train(0, normalized=0.75, gold=0.5, **{"judge/prompt_tokens": 90, "judge/completion_tokens": 10}),
        {"kind": "trainer", "step": 1, "kl": 0.125, "loss": float("nan")},
        train(1, normalized=0.75, gold=0.5, **spoken),
        {"kind": "meta", "step": 1, "decision": "rejected"},
        {"kind": "eval", "step": 2, "reward": 1 / 3, "kl": 0.0625},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = Figures(FileRows(path)).read()
    by_kind = {series.kind: series for series in columns(known, 0, None)}
    assert by_kind["train"].step == (0, 1)
    assert by_kind["train"].columns == {
        "reward": (0.0, 0.1),
        "normalized": (0.75, 0.75),
        "gold": (0.5, 0.5),
        "monitor": (None, 0.25),
        "gap": (0.25, 0.5),
        "widening": (None, 0.0625),
        "kl": (0.125, None),
        "tokens": (100, None),
        "cost_usd": (None, 0.5),
    }
    assert by_kind["eval"].columns == {"reward": (0.333333,), "kl": (0.0625,)}
    assert by_kind["trainer"].columns == {"kl": (0.125,)}
    assert [(s.kind, s.step) for s in columns(known, 2, None)] == [("train", (1,)), ("eval", (2,))]
    [asked] = columns(known, 4, ["gold", "nothing"])
    assert asked.columns == {"gold": (None,), "nothing": (None,)}
    assert names_of(known)["trainer"] == ("kl",)
    assert set(names_of(known)["train"]) >= {*by_kind["train"].columns, "judge/prompt_tokens"}


def test_a_made_run_has_every_documented_column_and_both_onsets(run: Viewed) -> None:
    known = run.figures.read()
    has = {name for series in columns(known, 0, None) for name in series.columns}
    assert set(DOCUMENTED) - has <= {"uncertainty", "kl"}  # no trainer tells its own where the run is served
    judged, real = onsets(known)
    assert judged is not None
    assert real == pytest.approx(judged, abs=3)

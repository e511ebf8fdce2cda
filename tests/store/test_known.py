"""Known answers in a store: kept for the next process, written in batches."""

import sqlite3
from pathlib import Path

import pytest

from metapo.errors import StoreError
from metapo.judge.judge import Judge
from metapo.judge.transport import ScriptedTransport
from metapo.rollout import Rollout
from metapo.store.known import FLUSH_EVERY_S, MAX_UNWRITTEN, KnownAnswers
from tests.helpers import rubric


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def written(path: Path) -> dict[str, str | None]:
    """What another process would find."""
    with sqlite3.connect(path) as db:
        return dict(db.execute("SELECT key, body FROM known_answer"))


def test_answers_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    known = KnownAnswers(path)
    assert known.load("a") is None
    known.save("a", "é \x00 body")
    assert known.load("a") == "é \x00 body", "before it is written"
    known.close()
    again = KnownAnswers(path)
    assert again.load("a") == "é \x00 body"
    assert again.load("b") is None
    again.close()


def test_a_store_is_opened_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "store.db"
    known = KnownAnswers(path)
    known.close()
    path.parent.mkdir()
    assert not path.exists()
    known.save("a", "body")
    known.close()
    assert written(path) == {"a": "body"}
    elsewhere = KnownAnswers(tmp_path / "new" / "store.db")
    elsewhere.save("b", "body")
    elsewhere.close()
    assert written(tmp_path / "new" / "store.db") == {"b": "body"}
    with pytest.raises(StoreError, match="unable to open"):
        KnownAnswers(tmp_path / "new").load("b")


def test_answers_are_written_once_a_second_or_when_many_wait(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", Clock()
    known = KnownAnswers(path, clock)
    assert known.load("a") is None
    known.save("a", "1")
    assert written(path) == {}
    clock.now = FLUSH_EVERY_S
    known.save("b", "2")
    assert written(path) == {"a": "1", "b": "2"}
    for i in range(MAX_UNWRITTEN):
        assert len(written(path)) == 2
        known.save(f"c{i}", "3")
    assert len(written(path)) == 2 + MAX_UNWRITTEN
    known.save("d", "4")
    known.flush()
    assert written(path)["d"] == "4"
    assert known.load("c0") == "3"
    known.close()


def test_processes_share_a_store_and_the_first_answer_stays(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first, second = KnownAnswers(path), KnownAnswers(path)
    assert first.load("a") is second.load("a") is None
    first.save("a", "first")
    first.flush()
    assert second.load("a") == "first"
    second.save("a", "second")
    second.flush()
    assert written(path) == {"a": "first"}
    first.close()
    second.close()


async def test_an_interrupted_run_pays_for_no_verdict_twice(tmp_path: Path) -> None:
    rollout = Rollout(prompt="p", completion="c")
    for replies, n_calls in (['{"a": 5, "b": 1}'], 1), ([], 0):
        known = KnownAnswers(tmp_path / "store.db")
        assessment = await Judge(ScriptedTransport(replies), task="t", cache=known).assess(rubric(), rollout)
        assert len(assessment.calls) == n_calls
        assert assessment.unscored == []
        known.close()

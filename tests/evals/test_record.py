"""The file of matches: appended, read back, mended after a crash, guarded."""

from pathlib import Path

import pytest

from metapo.errors import DataError, RunError, RunInUse
from metapo.evals.matches import read_matches
from metapo.evals.record import open_matches, read_played
from metapo.evals.tournament import Asked, Played, Result


def played(number: int, winner: str | None = "x") -> Played:
    return Played(
        id=f"m{number}",
        prompt="Why?\u2028And how?",
        model_a="x",
        model_b="y",
        winner=winner,
        result=Result.WON if winner else Result.UNSCORED,
        completion_a="one\ud800",
        completion_b="two",
        judge="judge",
        question="q",
        orders=(Asked(first="x", choice="A", reply="A"),),
    )


def test_rows_come_back_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "matches.jsonl"
    assert read_played(path) == {}
    with open_matches(path) as matches:
        matches.append(played(1, None))
        matches.append(played(2))
        matches.append(played(1, "y"))
    assert len(path.read_text().splitlines()) == 3
    assert read_played(path) == {"m1": played(1, "y"), "m2": played(2)}
    rated = read_matches(path)
    assert [(m.points_a, m.prompt) for m in rated.decided] == [(1, "Why?\u2028And how?"), (0, "Why?\u2028And how?")]
    assert rated.n_undecided == 0


def test_a_line_that_a_crash_cut_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "matches.jsonl"
    with open_matches(path) as matches:
        matches.append(played(1))
    path.write_text(path.read_text() + '{"id": "m2", "prom')
    assert read_played(path) == {"m1": played(1)}
    with open_matches(path) as matches:
        matches.append(played(3))
    assert read_played(path).keys() == {"m1", "m3"}


def test_one_tournament_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "matches.jsonl"
    with open_matches(path), pytest.raises(RunInUse, match=r"another process is using .*matches.jsonl"):
        open_matches(path).__enter__()
    with open_matches(path) as matches:
        assert matches.played == {}


def test_another_judge_or_question_is_refused(tmp_path: Path) -> None:
    with open_matches(tmp_path / "matches.jsonl") as matches:
        matches.check("other", "whoever")
        matches.append(played(1))
        matches.check("q")
        matches.check("q", "judge")
        with pytest.raises(RunError, match=r"holds matches judged by judge; this is whoever"):
            matches.check("q", "whoever")
        with pytest.raises(RunError, match="judged with another task, template or reply length"):
            matches.check("other", "judge")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matches.jsonl"
    path.write_text('{"model_a": "x", "model_b": "y", "winner": "x"}\n')
    with pytest.raises(DataError, match=r"line 1: expected a match that `metapo eval tournament` wrote, but id: Field"):
        read_played(path)
    path.write_text("no JSON\n")
    with pytest.raises(DataError, match=r"line 1: expected a match .* but the line: Invalid JSON"), open_matches(path):
        pass
    assert path.read_text() == "no JSON\n"
    path.write_text("My only notes, without a line end")
    with pytest.raises(DataError, match=r"line 1: expected a match .* but the line: Invalid JSON"), open_matches(path):
        pass
    assert path.read_text() == "My only notes, without a line end"
    with pytest.raises(DataError, match="can't read"):
        read_played(tmp_path)

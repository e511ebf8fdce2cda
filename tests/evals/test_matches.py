"""Files of matches: what is read, what is left out, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from metapo.errors import DataError
from metapo.evals.matches import Match, check_name, read_matches


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "matches.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def row(winner: Any, a: Any = "x", b: Any = "y", **more: Any) -> dict[str, Any]:
    return {"model_a": a, "model_b": b, "winner": winner, **more}


def test_results_are_read_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, row("x", prompt="Why?"), "\n", row("y"), row("draw"), row("tie"), row(None))
    read = read_matches(path)
    assert read.decided == (Match("x", "y", 1, "Why?"), Match("x", "y", 0), Match("x", "y", 0.5), Match("x", "y", 0.5))
    assert read.n_undecided == 1


def test_a_match_that_was_played_again_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path, row(None, id="1"), row(None, id="2"), row("y", id="1"), row(None, id="2"))
    read = read_matches(path)
    assert read.decided == (Match("x", "y", 0),)
    assert read.n_undecided == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("z"), "line 2: winner is 'z'; allowed are its models 'x' and 'y', 'draw' or 'tie', and null"),
        (row(1), "line 2: winner is 1; allowed are"),
        (row(["x"]), r"line 2: winner is \['x'\]; allowed are"),
        (
            {"model_a": "x", "winner": "x"},
            "line 2: a match has model_a, model_b and winner; model_b is missing, it has",
        ),
        ({}, "model_a, model_b, winner is missing, it has nothing"),
        (row("x", b="x"), "line 2: 'x' plays against itself"),
        (row("x", b=3), "line 2, model_b: expected a model's name, in printable characters; got 3"),
        (row("x", a=" "), "line 2, model_a: expected a model's name"),
        (row("x", a="\ud800"), "line 2, model_a: expected a model's name"),
        (row("draw", a="draw"), "line 2, model_a: no model can be named 'draw'"),
        ("[1]\n", "line 2: expected an object"),
        ('{"model_a": \n', "line 2: not JSON"),
    ],
)
def test_what_is_no_match_is_refused(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_matches(written(tmp_path, row("x"), bad))


def test_a_file_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no matches. Give a file"):
        read_matches(written(tmp_path))
    with pytest.raises(DataError, match="none of the 2 matches has a winner"):
        read_matches(written(tmp_path, row(None), row(None)))
    with pytest.raises(DataError, match="can't read"):
        read_matches(tmp_path / "gone.jsonl")


def test_names() -> None:
    assert check_name("qwen 2.5 (72b)", "here") == "qwen 2.5 (72b)"
    with pytest.raises(DataError, match="here: no model can be named 'tie'"):
        check_name("tie", "here")

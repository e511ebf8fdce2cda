"""metapo eval."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def write(name: str, *rows: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def match(winner: str | None, a: str = "x", b: str = "y") -> dict[str, Any]:
    return {"model_a": a, "model_b": b, "winner": winner}


def test_elo_replays_a_file_in_order() -> None:
    write("matches.jsonl", match("x"), match("x"), match("draw"), match(None))
    result = call("eval", "elo", "matches.jsonl", "--json", "ratings.json", "--resamples", 20)
    assert result.exit_code == 0, result.output
    assert "2 models, 3 matches, 1 draw; 1 without a result left out" in result.stdout
    assert "model  Elo       Bradley-Terry (95%)\nx      1003.93   " in result.stdout
    data = json.loads(Path("ratings.json").read_text())
    assert data["ratings"] == pytest.approx({"x": 1003.9312, "y": 996.0688}, abs=1e-3)
    assert data.keys() == {"ratings", "n_matches", "n_undecided", "bradley_terry"}
    assert data["bradley_terry"]["x"].keys() == {"rating", "low", "high"}


def test_elo_takes_k_start_and_repeats() -> None:
    write("matches.jsonl", match("x"))
    result = call("eval", "elo", "matches.jsonl", "--k", 32, "--start", 0, "--repeats", 5, "--json", "r.json")
    assert result.exit_code == 0, result.output
    data = json.loads(Path("r.json").read_text())
    assert data["ratings"] == {"x": 16, "y": -16}
    assert data["shuffled"] == {"x": {"mean": 16, "sd": 0}, "y": {"mean": -16, "sd": 0}}
    assert "16.00 ± 0.00" in result.stdout


def test_elo_tells_where_nothing_compares_the_models() -> None:
    write("matches.jsonl", match("x"), match("v", "v", "w"))
    result = call("eval", "elo", "matches.jsonl", "--json", "r.json")
    assert result.exit_code == 0
    assert "No Bradley-Terry ratings: some models never met" in result.stdout
    assert "bradley_terry" not in json.loads(Path("r.json").read_text())


def test_elo_refuses_what_is_no_match() -> None:
    write("matches.jsonl", match("x"), match("z"))
    result = call("eval", "elo", "matches.jsonl", "--json", "r.json")
    assert result.exit_code == 1
    assert "Error: matches.jsonl, line 2: winner is 'z'; allowed are its models 'x' and 'y'" in result.stderr
    assert not Path("r.json").exists()

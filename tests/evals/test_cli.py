"""metapo eval."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main
from tests.evals.parts import honest, judges
from tests.helpers import rubric
from tests.servers import Answer, Ask, ChatServer, in_turn, refused_url, says, status


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
    assert data["bradley_terry"]["x"].keys() == {"rating", "interval"}


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


@pytest.mark.parametrize(("option", "value"), [("--k", "nan"), ("--k", 0), ("--start", "inf"), ("--repeats", -1)])
def test_elo_refuses_odd_numbers(option: str, value: object) -> None:
    write("matches.jsonl", match("x"))
    result = call("eval", "elo", "matches.jsonl", option, value)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


def test_elo_refuses_what_is_no_match() -> None:
    write("matches.jsonl", match("x"), match("z"))
    result = call("eval", "elo", "matches.jsonl", "--json", "r.json")
    assert result.exit_code == 1
    assert "Error: matches.jsonl, line 2: winner is 'z'; allowed are its models 'x' and 'y'" in result.stderr
    assert not Path("r.json").exists()


# --- tournament

GOOD = [{"prompt": f"Prompt {i}", "completion": f"By good: quality {i + 2}, and more."} for i in range(6)]
POOR = [{"prompt": f"Prompt {i}", "response": f"By poor: quality {i + 1}."} for i in range(6)]


def play(*arguments: object) -> Result:
    write("good.jsonl", *GOOD)
    write("poor.jsonl", *POOR)
    return call("eval", "tournament", "good.jsonl", "poor.jsonl", "--out", "m.jsonl", "--resamples", 20, *arguments)


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]


def comparisons(server: ChatServer) -> list[str]:
    return [ask.prompt for ask in server.asks if "completion A" in ask.prompt]


def test_a_tournament_is_judged_reported_and_rated() -> None:
    with ChatServer(judges()) as server:
        result = play("--judge", server.url, "--template", "essay", "--json", "report.json")
        assert result.exit_code == 0, result.output
        assert len(comparisons(server)) == 12
        assert len(set(comparisons(server))) == 12
        assert "two essays on one prompt" in comparisons(server)[0]
    assert "6 matches, 6 with a result, 0 without\n  won            6  one model chosen in both orders" in result.stdout
    assert "Of 12 choices 50.0% fell on the text shown first; 0 matches went to the first place" in result.stdout
    assert "good against poor: 6 won, 0 drawn, 0 lost" in result.stdout
    assert "win rate           100.0% [100.0%, 100.0%]" in result.stdout
    assert "It took 13 requests, " in result.stdout, "one asks who answers"
    report = json.loads(Path("report.json").read_text())
    assert report["n"] == 6
    assert report["pairs"][0]["win_rate"] == {"rate": 1.0, "interval": {"low": 1.0, "high": 1.0}}
    assert report["elo"]["good"]["mean"] == pytest.approx(1011.66, abs=0.01)
    assert {row["winner"] for row in rows()} == {"good"}
    rated = call("eval", "elo", "m.jsonl", "--json", "r.json")
    assert rated.exit_code == 0
    assert json.loads(Path("r.json").read_text())["ratings"]["good"] == pytest.approx(1011.66, abs=0.01)


def test_a_dry_run_asks_and_writes_nothing() -> None:
    dry = play("--dry-run")
    assert dry.exit_code == 0, dry.output
    assert not Path("m.jsonl").exists()
    with ChatServer(judges()) as server:
        assert play("--judge", server.url).exit_code == 0
        n_chars = sum(map(len, comparisons(server)))
    assert dry.stdout == (
        f"6 matches; 0 need no request\n12 requests, {n_chars} characters of prompts, about {n_chars // 4} tokens "
        "(estimated at 4 characters each), and at most 12288 tokens of replies\n"
    )
    assert play("--dry-run").stdout.startswith("6 matches; 6 need no request\n0 requests, 0 characters")


def test_the_same_command_goes_on_and_asks_nothing_twice() -> None:
    broken = in_turn(says("yes"), *[judges()] * 5, status(401, "no such key"))
    with ChatServer(broken) as server:
        first = play("--judge", server.url, "--max-in-flight", 1)
        assert first.exit_code == 1
        assert "answered 401" in first.stderr
        assert [row["winner"] for row in rows()] == ["good", "good", None]
        with Path("m.jsonl").open("a") as f:
            f.write('{"id": "torn by a cr')
        server.behaviour, answered = judges(), set(comparisons(server)[:5])
        n_before = server.n_requests
        second = play("--judge", server.url)
        assert second.exit_code == 0, second.output
        asked = [ask.prompt for ask in server.asks[n_before:] if "completion A" in ask.prompt]
        assert len(asked) == 12 - 5
        assert not answered & set(asked)
        assert [row["winner"] for row in rows()] == ["good", "good", None, *["good"] * 4]
        n_before = server.n_requests
        third = play("--judge", server.url)
        assert server.n_requests == n_before
    without = play()
    assert third.stdout == without.stdout, "with all on record, no judge is needed"
    assert "6 matches, 6 with a result, 0 without" in without.stdout


def test_a_killed_tournament_goes_on() -> None:
    write("good.jsonl", *GOOD)
    write("poor.jsonl", *POOR)
    slow = judges()

    def behave(ask: Ask) -> Answer:
        return Answer(hang=True) if ask.number > 8 else slow(ask)

    with ChatServer(behave) as server:
        arguments = ["eval", "tournament", "good.jsonl", "poor.jsonl", "--out", "m.jsonl", "--judge", server.url]
        process = subprocess.Popen([sys.executable, "-m", "metapo", *arguments, "--max-in-flight", "1"])
        while server.n_requests < 9:
            time.sleep(0.02)
        process.kill()
        process.wait()
        finished = len(rows())
        server.behaviour, n_before = slow, server.n_requests
        assert play("--judge", server.url).exit_code == 0
        n_asked = sum("completion A" in ask.prompt for ask in server.asks[n_before:])
    assert finished == 3
    assert n_asked == 12 - 2 * finished
    assert len(rows()) == 6


def test_failed_judgements_are_left_out_and_counted() -> None:
    def shy(prompt: str) -> str:
        return "I like both." if "quality 3" in prompt else honest(prompt)

    with ChatServer(judges(shy)) as server:
        result = play("--judge", server.url, "--json", "report.json")
        assert result.exit_code == 1
        assert "2 of 6 matches have no result, more than --max-unscored 0.1 allows" in result.stderr
        assert "good against poor: 4 won, 0 drawn, 0 lost" in result.stdout
        assert "No clear answer: 4 no letter" in result.stdout
        assert play("--judge", server.url, "--max-unscored", 0.5).exit_code == 0
    assert json.loads(Path("report.json").read_text())["n"] == 4
    rated = call("eval", "elo", "m.jsonl")
    assert "2 models, 4 matches, 0 draws; 2 without a result left out" in rated.stdout


def test_a_budget_ends_a_tournament() -> None:
    with ChatServer(judges()) as server:
        data = {
            "rubric": "rubric.yaml",
            "judge": {"url": server.url, "model": "served-model", "max_in_flight": 1},
            "task_description": "Write an essay.",
            "budget": {"tokens": 40},
        }
        Path("rubric.yaml").write_text(rubric().to_yaml())
        Path("settings.yaml").write_text(json.dumps(data))
        result = play("--settings", "settings.yaml")
        assert result.exit_code == 1
        assert "budget.tokens = 40 is used up, and 4 matches are not judged" in result.stderr
        assert "6 matches, 2 with a result, 0 without, 4 not judged" in result.stdout
        assert "The task: Write an essay." in comparisons(server)[0]
        assert "leave out --task" in play("--settings", "settings.yaml", "--task", "x").stderr


def test_another_judge_is_refused() -> None:
    with ChatServer(judges()) as server:
        assert play("--judge", server.url, "--prompts", 2).exit_code == 0
        other = play("--judge", server.url, "--model", "other")
        assert other.exit_code == 1
        assert "Error: m.jsonl holds matches judged by default at" in other.stderr
        assert "another task, template or reply length" in play("--judge", server.url, "--task", "Sing.").stderr
        assert len(comparisons(server)) == 4
        assert play("--judge", server.url, "--prompts", 4).exit_code == 0
        assert len(comparisons(server)) == 8, "two more prompts"


def test_matches_of_other_texts_are_told() -> None:
    with ChatServer(judges()) as server:
        assert play("--judge", server.url).exit_code == 0
        GOOD[0]["completion"], before = "By good: quality 9.", GOOD[0]["completion"]
        try:
            again = play("--judge", server.url)
        finally:
            GOOD[0]["completion"] = before
    assert "m.jsonl also holds 1 match of other texts, which don't count here" in again.stdout
    assert len(comparisons(server)) == 14


def test_what_a_tournament_needs() -> None:
    assert "give a judge: --judge with a URL" in play().stderr
    assert not Path("m.jsonl").exists()
    assert "--task is empty" in play("--task", " ", "--dry-run").stderr
    one = call("eval", "tournament", "good.jsonl", "--out", "m.jsonl", "--dry-run")
    assert "Error: a tournament needs two models or more; got 1" in one.stderr
    twice = call("eval", "tournament", "good.jsonl", "good.jsonl", "--out", "m.jsonl", "--dry-run")
    assert "two models are named 'good'. Give them names of their own, as NAME=FILE." in twice.stderr
    named = call("eval", "tournament", "a=good.jsonl", "b=poor.jsonl", "--out", "m.jsonl", "--dry-run")
    assert named.exit_code == 0, named.output
    gone = call("eval", "tournament", "a=gone.jsonl", "b=poor.jsonl", "--out", "m.jsonl", "--dry-run")
    assert "Error: can't read gone.jsonl" in gone.stderr
    write("odd.jsonl", {"prompt": "x"})
    odd = call("eval", "tournament", "odd.jsonl", "poor.jsonl", "--out", "m.jsonl", "--dry-run")
    assert "odd.jsonl, row 1: expected texts 'prompt' and 'completion'" in odd.stderr
    with refused_url() as url:
        down = play("--judge", url, "--deadline", 0.5)
    assert down.exit_code == 1
    assert "can't be reached" in down.stderr

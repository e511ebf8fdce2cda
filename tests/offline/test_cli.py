"""metapo autoprompt and metapo optimize against a real server on loopback that plays every part."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main
from metapo.judge.transport import ChatRequest
from metapo.rollout import Message
from metapo.rubric import Rubric
from tests.offline.parts import BECAUSE, LONG, judges, writes
from tests.offline.test_autoprompt import CASES
from tests.offline.test_optimize import PAIRS
from tests.servers import Answer, Ask, ChatServer, says


def plays(ask: Ask) -> Answer:
    """Judge, annotator and meta model."""
    if "Stage: " in ask.prompt:
        messages = tuple(Message(**message) for message in ask.body["messages"])
        return says(writes(LONG, BECAUSE)(ChatRequest(messages=messages, max_tokens=1)))(ask)
    return says(judges(ask.prompt) if "<rubric>" in ask.prompt else "yes")(ask)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rubric.yaml").write_text(LONG.to_yaml())
    rows = [{"prompt": c.rollout.prompt, "completion": c.rollout.completion, "label": c.label} for c in CASES]
    write("labels.jsonl", rows)
    write("rollouts.jsonl", rows[:8])
    write("pairs.jsonl", [{"prompt": p.prompt, "better": p.better, "worse": p.worse} for p in PAIRS])


def write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_labels_refine_a_rubric_and_the_lineage_can_be_read() -> None:
    with ChatServer(plays) as server:
        asked = ("autoprompt", "rubric.yaml", "--labels", "labels.jsonl", "--judge", server.url, "--out", "found")
        first = call(*asked, "--rounds", 1)
        assert first.exit_code == 0, first.output
        assert "\n1 round, " in first.stdout
        more = call(*asked, "--rounds", 3)
        assert f", {server.n_requests} requests, " in more.stdout, "each counts once"
    assert more.exit_code == 0, more.output
    assert "- **2**: it is because" in more.stdout
    assert "labels of 12 held-out cases, now to 100.0%" in more.stdout
    assert "Written to found/rubric.yaml; all rounds are done\n3 rounds, 1 change, " in more.stdout
    assert Rubric.load("found/rubric.yaml") == BECAUSE
    log = call("rubric", "log", "found")
    assert log.exit_code == 0, log.output
    assert "the chain holds" in log.stdout
    assert call("rubric", "diff", "rubric.yaml", "found").stdout.startswith("because: added")


def test_an_annotator_labels_cases_that_the_meta_model_writes() -> None:
    with ChatServer(plays) as server, ChatServer(plays) as stronger, ChatServer(plays) as meta:
        where = ("--judge", server.url, "--annotator", stronger.url, "--meta", meta.url, "--meta-model", "big")
        result = call("autoprompt", "rubric.yaml", "--rollouts", "rollouts.jsonl", *where, "--rounds", 2, "--out", "f")
        assert result.exit_code == 0, result.output
        assert Rubric.load("f/rubric.yaml") == BECAUSE
        assert all('id="quality"' in ask.prompt for ask in stronger.asks if "<rubric>" in ask.prompt)
        assert {ask.body["model"] for ask in meta.asks} == {"big"}
        assert any("Stage: boundary case" in ask.prompt for ask in meta.asks)
    assert "meta model big: rewritten from" in call("rubric", "log", "f").stdout


def test_pairs_evolve_a_rubric_with_gepa() -> None:
    with ChatServer(plays) as server:
        asked = ("optimize", "rubric.yaml", "--pairs", "pairs.jsonl", "--judge", server.url, "--rounds", 4)
        result = call(*asked, "--out", "found")
        assert result.exit_code == 0, result.output
        assert f", {server.n_requests} requests, " in result.stdout, "each counts once"
        assert "of 6 held-out pairs in the right order, now 100.0%" in result.stdout
        assert Rubric.load("found/rubric.yaml") == BECAUSE
        again = call(*asked, "--out", "found")
        assert again.exit_code == 1
        assert "give found as the rubric, and another folder with --out" in again.stderr
    assert call("rubric", "log", "found").exit_code == 0


def test_a_budget_in_tokens_ends_either() -> None:
    with ChatServer(plays) as server:
        where = ("--judge", server.url, "--tokens", 50)
        refined = call("autoprompt", "rubric.yaml", "--labels", "labels.jsonl", *where, "--out", "a")
        evolved = call("optimize", "rubric.yaml", "--pairs", "pairs.jsonl", *where, "--out", "b")
    for result in (refined, evolved):
        assert result.exit_code == 0, result.output
        assert "the budget ended it: " in result.stdout
        assert "reach budget.tokens = 50" in result.stdout
    assert Rubric.load("b/rubric.yaml") == LONG, "no round was begun"


JUDGE = ("--judge", "http://localhost:1/v1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (JUDGE, "give cases: --labels with a file, or --rollouts with a file and --annotator"),
        ((*JUDGE, "--rollouts", "rollouts.jsonl"), "give an annotator: --annotator with a URL, or --settings"),
        ((*JUDGE, "--labels", "labels.jsonl", "--annotator", "u"), "give either --labels, or --rollouts"),
        ((*JUDGE, "--labels", "labels.jsonl", "--meta-model", "m"), "--meta-model names a model on the server of"),
        ((*JUDGE, "--labels", "labels.jsonl", "--usd", 1), "budget.usd counts nothing without a price"),
        (("--labels", "labels.jsonl"), "give a judge: --judge with a URL"),
        ((*JUDGE, "--labels", "pairs.jsonl"), "pairs.jsonl, row 1: expected 'prompt' and 'completion'"),
    ],
)
def test_options_that_make_no_search_are_told(options: tuple[object, ...], message: str) -> None:
    result = call("autoprompt", "rubric.yaml", *options, "--out", "found")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not Path("found").exists()


def test_a_settings_file_brings_judge_annotator_and_budget() -> None:
    with ChatServer(plays) as server:
        endpoint = {"url": server.url, "model": "served-model", "price": {"prompt": 1000.0, "completion": 0.0}}
        monitor = {"judge": endpoint, "share": 0.1}
        data = {"rubric": "rubric.yaml", "judge": endpoint, "monitor": monitor, "budget": {"usd": 0.1}}
        data |= {"task_description": "Reason.", "judge_notes": "Be strict.", "meta_notes": "Look for padding."}
        Path("settings.yaml").write_text(json.dumps(data))
        where = ("--settings", "settings.yaml", "--rollouts", "rollouts.jsonl", "--out", "found")
        result = call("autoprompt", "rubric.yaml", *where)
    assert result.exit_code == 0, result.output
    assert "the budget ended it: " in result.stdout
    assert "reach budget.usd = 0.1" in result.stdout
    meta = [ask.prompt for ask in server.asks if "Stage: diagnosis" in ask.prompt]
    assert meta
    assert all("Reason.\n\nLook for padding." in prompt and "Be strict." not in prompt for prompt in meta)

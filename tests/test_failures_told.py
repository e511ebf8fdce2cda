"""Common failures of the command line: each message tells what came, what was allowed or why, and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metapo.cli import main
from tests.servers import ChatServer, refused_url, status, verdicts

NOBODY = "http://127.0.0.1:9/v1"


def settings(model: Path | str, url: str = NOBODY, **more: Any) -> None:
    """A settings file that trains two steps, but for what `more` breaks."""
    data = {
        "rubric": "essay/oracle",
        "judge": {"url": url, "model": "m", "structured": "none", "deadline_s": 0.3},
        "data": {"train": "prompts.jsonl"},
        "policy": {"model": str(model)},
        "engine": {"device": "cpu", "steps": 2, "batch_size": 8},
    }
    Path("s.yaml").write_text(yaml.safe_dump({**data, **more}))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Why {i}?"}) + "\n" for i in range(4)))
    return tmp_path


def told(command: str) -> str:
    done = CliRunner().invoke(main, command.split())
    assert isinstance(done.exception, SystemExit), done.output
    assert done.exit_code in (1, 2)
    return " ".join(done.stderr.split())


def check(command: str, *parts: str) -> None:
    message = told(command)
    assert [part for part in parts if part not in message] == [], message


Case = tuple[Callable[[], Any], str, tuple[str, str, str]]


def put(text: str, name: str = "s.yaml") -> Callable[[], Any]:
    return lambda: Path(name).write_text(text)


def broken(**more: Any) -> Callable[[], Any]:
    return lambda: settings("models/p", **more)


def nothing() -> None:
    pass


TRAIN = "train s.yaml --out run"
CASES: dict[str, Case] = {
    "no settings file": (nothing, TRAIN, ("s.yaml", "No such file", "Give the path of a YAML file")),
    "bad YAML": (put("a: ["), TRAIN, ("s.yaml is not YAML", "line 1", "Mend the line that this names")),
    "no mapping": (put("- a"), TRAIN, ("got \"['a']\"", "must hold fields", "like 'rubric: rubric.yaml'")),
    "unknown field": (broken(juges=1), TRAIN, ("juges", "there is no such field", "Similar ones: judge")),
    "unknown nested field": (
        broken(engine={"learing_rate": 1}),
        TRAIN,
        ("engine.learing_rate", "there is no such field", "Similar ones: learning_rate"),
    ),
    "unknown field of a union": (
        broken(judge={"url": NOBODY, "model": "m", "key": "x"}),
        TRAIN,
        ("judge.key", "there is no such field", "api_key_env"),
    ),
    "wrong value": (broken(reward="best"), TRAIN, ("got 'best'", "'raw_sum'", "reward: Input should be")),
    "no rubric file": (broken(rubric="r.yaml"), TRAIN, ("r.yaml", "No such file", "Give the path of a .yaml or .json")),
    "no shipped rubric": (broken(rubric="essay/orcle"), TRAIN, ("essay/orcle", "No such file", "essay/oracle")),
    "no task": (broken(task="esay"), TRAIN, ("'esay'", "Shipped are dialogue, essay", "your own is a .py file")),
    "no task file": (broken(task="own.py"), TRAIN, ("own.py", "no file", "seen from the settings file")),
    "no data": (broken(data={"train": "x.jsonl"}), TRAIN, ("x.jsonl", "No such file", "Give a file of JSON lines")),
    "no parquet": (broken(data={"train": "x.parquet"}), TRAIN, ("x.parquet", "there is no file", "path is seen from")),
    "empty data": (
        lambda: (settings("models/p"), put("", "prompts.jsonl")()),
        TRAIN,
        ("prompts.jsonl", "holds no rows", "at least one prompt is needed"),
    ),
    "no model folder": (broken(policy={"model": "./gone"}), TRAIN, ("./gone", "no model folder", "Give a folder")),
    "no preset": (nothing, "train --preset paper/esay --out run", ("'paper/esay'", "shipped are", "paper/essay")),
    "nothing to resume": (
        nothing,
        "train --resume gone",
        ("gone", "no settings.yaml", "Start one with SETTINGS and --out"),
    ),
    "no run": (nothing, "rubric log gone", ("gone", "no gone/store.db", "Give the folder that a run was begun with")),
    "no run to export": (nothing, "export gone --out t", ("gone", "no gone/store.db", "Give the folder that a run")),
    "no rollouts": (
        nothing,
        f"score --rubric essay/oracle --rollouts gone.jsonl --judge {NOBODY} --out o.jsonl",
        ("gone.jsonl", "No such file", "Give a file of JSON lines"),
    ),
    "no policy yet": (nothing, "card gone", ("gone/policy", "no trained policy", "metapo train --resume gone")),
    "a URL without http": (
        nothing,
        "judge check localhost:8000",
        ("localhost:8000", "names no server over HTTP", "Give one like http://localhost:8000/v1"),
    ),
    "settings there already": (
        put("x", "settings.yaml"),
        "init",
        ("settings.yaml", "stays as it is", "Give another name"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_failure_tells_what_came_why_and_what_to_do(name: str) -> None:
    arrange, command, parts = CASES[name]
    arrange()
    check(command, *parts)
    assert not Path("run").exists()


def test_a_judge_that_doesn_t_answer(tiny_model: Path) -> None:
    with refused_url() as url:
        settings(tiny_model, url)
        check(TRAIN, url, "can't be reached", "Is the server running?")
    assert not Path("run/settings.yaml").exists()


@pytest.mark.parametrize(("code", "why"), [(401, "401"), (404, "404")])
def test_a_wrong_key_or_model(tiny_model: Path, code: int, why: str) -> None:
    with ChatServer(status(code, "told by the server")) as server:
        settings(tiny_model, server.url)
        check(TRAIN, why, "told by the server", "check url, model and api_key_env")


def test_a_key_that_isn_t_set(tiny_model: Path) -> None:
    settings(tiny_model, judge={"url": NOBODY, "model": "m", "api_key_env": "NO_SUCH_KEY"})
    check(TRAIN, "'NO_SUCH_KEY'", "is not set", "Set it, or leave api_key_env out")


def test_a_batch_that_can_t_be_split(tiny_model: Path) -> None:
    settings(tiny_model, engine={"device": "cpu", "batch_size": 12})
    check(TRAIN, "engine.batch_size 12", "must be a multiple of", "num_generations 8")


def test_a_folder_that_holds_a_run(tiny_model: Path) -> None:
    with ChatServer(verdicts()) as server:
        settings(tiny_model, server.url)
        Path("run").mkdir()
        Path("run/settings.yaml").write_text("")
        check(TRAIN, "run holds a run already", "Resume it with --resume run", "or choose another folder")

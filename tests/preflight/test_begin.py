"""metapo init: what it writes loads at once, and says what was answered."""

import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metapo.cli import main
from metapo.cli.common import is_for_training, scoring_settings, train_settings
from metapo.cli.init import ENGINES, TASKS
from metapo.preflight.begin import drop, put
from metapo.tasks.loading import SHIPPED

GIVEN = {
    "--judge": "http://localhost:8000/v1/chat/completions",
    "--judge-model": "some: [judge]",
    "--data": "my prompts.jsonl",
    "--policy": "models/p",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str, **given: str) -> Any:
    options = GIVEN | {f"--{name.replace('_', '-')}": value for name, value in given.items()}
    flat = [part for option in options.items() for part in option]
    return CliRunner().invoke(main, ["init", *arguments, *flat])


def test_the_tasks_are_the_shipped_ones() -> None:
    assert sorted(TASKS) == sorted(SHIPPED)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_written_loads_and_holds_the_answers(task: str, engine: str) -> None:
    done = init("s.yaml", task=task, engine=engine, api_key_env="KEY", eval="e.jsonl")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"wrote s.yaml. Next: metapo doctor s.yaml --out runs/{task}\n"
    settings = train_settings(Path("s.yaml"))
    assert settings.task == task
    assert settings.judge.model_dump(include={"url", "model", "api_key_env"}) == {
        "url": "http://localhost:8000/v1",
        "model": "some: [judge]",
        "api_key_env": "KEY",
    }
    assert (settings.data.train, settings.data.eval) == ("my prompts.jsonl", "e.jsonl")
    assert settings.policy.model == "models/p"
    assert settings.engine.algorithm == ("grpo" if engine == "server" else engine)
    assert (settings.engine.num_generations == 1) is (engine == "ppo")


def test_no_evaluation_set_is_left_over_from_the_preset() -> None:
    assert init("s.yaml", task="ethics").exit_code == 0
    assert train_settings(Path("s.yaml")).data.eval is None
    assert "test.scruples" not in Path("s.yaml").read_text()


def test_comments_stay_and_the_head_names_what_comes_next() -> None:
    init("s.yaml", task="essay", out="runs/first")
    text = Path("s.yaml").read_text()
    assert "#   metapo doctor s.yaml --out runs/first" in text
    assert "#   metapo train s.yaml --out runs/first" in text
    assert "# a policy that collapsed can't follow the next rubric" in text


def test_a_server_for_another_engine_needs_neither_data_nor_policy() -> None:
    done = CliRunner().invoke(main, ["init", "--engine", "server", "--judge", "http://j/v1", "--judge-model", "m"])
    assert done.exit_code == 0, done.output
    assert not is_for_training(Path("settings.yaml"))
    assert scoring_settings(Path("settings.yaml")).judge.where == "http://j/v1"
    assert "metapo serve settings.yaml --out runs/generic" in Path("settings.yaml").read_text()


def test_an_existing_file_stays() -> None:
    Path("settings.yaml").write_text("mine")
    done = init()
    assert done.exit_code == 1
    assert "settings.yaml is there already and stays as it is" in done.stderr
    assert Path("settings.yaml").read_text() == "mine"


def test_without_a_terminal_nothing_is_asked_and_what_lacks_is_told() -> None:
    done = CliRunner().invoke(main, ["init", "--data", "x.jsonl"])
    assert done.exit_code == 2
    assert "the input is no terminal: give --judge, --judge-model, --policy" in done.stderr
    assert not Path("settings.yaml").exists()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "/v1"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    done = init(judge=url)
    assert done.exit_code == 1
    assert "is no URL of a server: give one like http://localhost:8000/v1" in done.stderr


def test_on_a_terminal_the_rest_is_asked_for(folder: Path) -> None:
    """A real terminal, answered line by line."""
    answers = ["grpo", "generic", "Sum up a letter.", "", "judge-1", "", "p.jsonl", "", "models/p"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "metapo", "init"], dict(os.environ))
    os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux tells the end of a terminal so
            break
        if not part:
            break
        shown += part
    _, code = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(code) == 0, shown.decode()
    settings = train_settings(folder / "settings.yaml")
    assert settings.task_description == "Sum up a letter."
    assert (settings.judge.where, settings.judge.model) == ("http://localhost:8000/v1", "judge-1")
    assert (settings.data.train, settings.data.eval) == ("p.jsonl", None)


# --- YAML with its comments


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("a: 1  # one\nb: 2\n", "a", "a: new  # one\nb: 2\n"),
        ("a:\n  b: x   # why\n  c: y\n", "a.b", "a:\n  b: new   # why\n  c: y\n"),
        ("a:\n  b: x   # why\n  c: y\n", "a.d", "a:\n  b: x   # why\n  d: new\n  c: y\n"),
        ("a: {b: x}  # flow\n", "a.d", "a: {d: new, b: x}  # flow\n"),
        ("a: {b: x}  # flow\n", "a.b", "a: {b: new}  # flow\n"),
    ],
)
def test_put(text: str, path: str, expected: str) -> None:
    assert put(text, path.split("."), "new") == expected


@pytest.mark.parametrize("value", ["a: b", "{x}", "#1", "'", '"', "yes", "1", "é漢", "a, b]", "~"])
def test_any_text_is_put_as_itself(value: str) -> None:
    for text in ("a:\n  b: x # c\n", "a: {b: x, c: y}\n"):
        assert yaml.safe_load(put(text, ["a", "b"], value))["a"]["b"] == value


def test_drop_takes_a_line_out() -> None:
    assert drop("a:\n  b: 1\n  c: 2 # why\n  d: 3\n", ["a", "c"]) == "a:\n  b: 1\n  d: 3\n"
    assert drop("a:\n  b: 1\n", ["a", "c"]) == "a:\n  b: 1\n"
    assert drop("a: {b: 1, c: 2, d: 3}\n", ["a", "c"]) == "a: {b: 1, d: 3}\n"

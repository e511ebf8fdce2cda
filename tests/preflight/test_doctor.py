"""metapo doctor, each finding brought about for real: a server, files, a model folder, a database."""

import json
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metapo.cli import main
from metapo.run import SETTINGS
from tests.postgres import Server
from tests.servers import ChatServer, verdicts

LEVEL = {"points": 0, "description": "says nothing of the number", "example": "A fine day."}
BEST = {"points": 3, "description": "says what the number is good for", "example": "Three is enough for a crowd."}
RUBRIC = {"criteria": [{"name": "Use", "levels": [LEVEL, BEST]}]}
Says = dict[tuple[str, str], list[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    prompts([f"Why is {i} a good number?" for i in range(20)])
    return tmp_path


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ChatServer(verdicts(), models=[{"id": "m", "max_model_len": 32768}]) as server:
        yield server.url


def prompts(texts: list[str], name: str = "prompts.jsonl", **more: Any) -> None:
    Path(name).write_text("".join(json.dumps({"prompt": text, **more}) + "\n" for text in texts))


def write(model: Path | str, url: str = "http://127.0.0.1:9/v1", **more: Any) -> None:
    data = {
        "rubric": RUBRIC,
        "judge": {"url": url, "model": "m", "structured": "none", "deadline_s": 1.0},
        "data": {"train": "prompts.jsonl"},
        "policy": {"model": str(model)},
        "engine": {"device": "cpu", "batch_size": 8, "num_generations": 4, "max_completion_tokens": 50},
    }
    Path("settings.yaml").write_text(yaml.safe_dump({**data, **more}))


def doctor(*arguments: str, settings: str | None = "settings.yaml") -> tuple[int, Says]:
    """The exit code, and what was found by level and subject."""
    named = [settings] if settings else []
    done = CliRunner().invoke(main, ["doctor", *named, "--json", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    told = json.loads(done.stdout)
    assert told["fit"] is (done.exit_code == 0)
    says: Says = {}
    for row in told["findings"]:
        says.setdefault((row["level"], row["about"]), []).append(row["text"])
    return done.exit_code, says


def test_without_settings_the_packages_are_told() -> None:
    code, says = doctor(settings=None)
    assert code == 0
    assert {about for _, about in says} >= {"python", "clock"}


def test_a_run_that_can_begin(tiny_model: Path) -> None:
    write(tiny_model)
    code, says = doctor("--offline", "--out", "runs/new")
    assert code == 0
    assert {level for level, _ in says} == {"ok"}
    assert says["ok", "data"] == ["20 prompts to train on, 0 to evaluate; a step takes 2"]
    assert not Path("runs").exists()  # nothing is written


def test_people_read_a_line_each(tiny_model: Path) -> None:
    write(tiny_model)
    done = CliRunner().invoke(main, ["doctor", "settings.yaml", "--offline"])
    assert "ok  rubric       1 criterion, 0 to 3 points, nothing to advise\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 problems, 0 warnings, ")


# --- settings, packages, machine


def test_settings_that_don_t_load_are_a_problem_like_others() -> None:
    Path("settings.yaml").write_text("rubric: [")
    code, says = doctor()
    assert code == 1
    assert "settings.yaml is not YAML" in says["problem", "settings"][0]
    assert says["ok", "python"]


def test_a_missing_package_names_its_install_command(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from metapo.preflight import machine

    def version(name: str) -> str:
        if name in ("peft", "trl"):
            raise PackageNotFoundError(name)
        return "1.12.0"

    monkeypatch.setattr(machine, "version", version)  # the outside world here is what is installed
    write(tiny_model, policy={"model": str(tiny_model), "lora": {"rank": 4}})
    _, says = doctor("--offline")
    assert any("pip install 'metapo[lora]'" in text and "peft" in text for text in says["problem", "extra lora"])


def test_too_few_open_files_are_told_before_they_lack(tiny_model: Path) -> None:
    judge = {"url": "http://127.0.0.1:9/v1", "model": "m", "max_in_flight": 100_000}
    write(tiny_model, judge=judge)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no bound on open files here")
    _, says = doctor("--offline")
    assert "ulimit -n" in says["warning", "open files"][0]


def test_a_folder_with_a_run_and_one_that_can_t_be_written(tiny_model: Path) -> None:
    write(tiny_model)
    run = Path("runs/old")
    run.mkdir(parents=True)
    (run / SETTINGS).write_text("")
    code, says = doctor("--offline", "--out", "runs/old")
    assert (code, says["problem", "folder"]) == (
        1,
        ["runs/old holds a run already: go on with --resume runs/old, or choose another --out"],
    )
    if os.geteuid() != 0:  # root may write anywhere
        Path("closed").mkdir(mode=0o500)
        assert "can't write" in doctor("--offline", "--out", "closed/new")[1]["problem", "folder"][0]


def test_a_store_on_a_server(tiny_model: Path, postgres: Server) -> None:
    from metapo.store import Store

    write(tiny_model)
    place = postgres.new_schema()
    _, says = doctor("--offline", "--store", place)
    assert "answers, is empty; this version of metapo writes schema" in says["ok", "store"][0]
    Store(place).close()
    _, says = doctor("--offline", "--store", place)
    assert "answers, holds schema" in says["ok", "store"][0]


def test_a_store_that_can_t_be_reached(tiny_model: Path) -> None:
    write(tiny_model)
    code, says = doctor("--offline", "--store", "postgresql://nobody@127.0.0.1:9/x")
    assert code == 1
    assert "no connection" in says["problem", "store"][0]


# --- rubric and data


def test_advice_on_the_rubric_is_a_warning(tiny_model: Path) -> None:
    write(tiny_model, rubric="essay/iter0")
    code, says = doctor("--offline")
    assert code == 0
    assert says["warning", "rubric"]


def repeated() -> None:
    prompts(["One prompt."] * 3 + ["Another."])


def few() -> None:
    prompts(["One prompt."])


def trained_on() -> None:
    prompts(["Why is 1 a good number?"], "eval.jsonl")


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (repeated, "2 prompts repeat another, one of them 3 times: 'One prompt.'. Leave copies out"),
        (few, "a step takes 2 prompts, of which there are only 1: give more of them"),
        (trained_on, "1 prompts of data.eval are trained on: take them out of one of the two"),
    ],
)
def test_data_that_surprises(tiny_model: Path, arrange: Callable[[], None], expected: str) -> None:
    arrange()
    evaluated = {"eval": "eval.jsonl"} if Path("eval.jsonl").exists() else {}
    write(tiny_model, data={"train": "prompts.jsonl", **evaluated})
    assert expected in doctor("--offline")[1]["warning", "data"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ('{"question": "x"}', "row 1: no column 'prompt'; it has 'question'. Name the right one as data.prompt_column"),
        ('{"prompt": ""}', "row 1: the prompt must be a text that isn't empty"),
        ('{"prompt": ', "line 1: not JSON"),
        ("", "holds no rows"),
    ],
)
def test_data_that_can_t_be_read(tiny_model: Path, row: str, expected: str) -> None:
    Path("prompts.jsonl").write_text(row)
    write(tiny_model)
    code, says = doctor("--offline")
    assert code == 1
    assert expected in says["problem", "data"][0]


def test_prompts_that_are_too_long_for_the_policy(tiny_model: Path) -> None:
    prompts(["short", "x" * 2040])
    write(tiny_model)
    code, says = doctor("--offline")
    assert code == 1
    assert (
        "a prompt of 2040 tokens and a completion of 50 don't fit into its context of 2048"
        in says["problem", "policy"][0]
    )
    engine = yaml.safe_load(Path("settings.yaml").read_text())["engine"]
    write(tiny_model, engine={**engine, "max_prompt_tokens": 100})
    code, says = doctor("--offline")
    assert code == 0
    assert "1 of 2 prompts have more than engine.max_prompt_tokens = 100 and are left out" in says["warning", "data"]


def test_a_policy_that_isn_t_there(folder: Path) -> None:
    write(folder / "gone")
    code, says = doctor("--offline")
    assert code == 1
    assert f"there is no model folder {folder / 'gone'}" in says["problem", "policy"][0]


def test_settings_that_a_trainer_refuses(tiny_model: Path) -> None:
    write(tiny_model, engine={"device": "cpu", "trainer": {"top_q": 1}})
    code, says = doctor("--offline")
    assert code == 1
    assert "engine.trainer.top_q: the installed TRL's GRPOConfig has no such argument" in says["problem", "settings"][0]


# --- models


def test_a_judge_is_asked_and_its_good_findings_are_brief(tiny_model: Path, url: str) -> None:
    write(tiny_model, url)
    _, says = doctor()
    told = [text for (_, about), texts in says.items() if about == "judge" for text in texts]
    assert any("answered in" in text for text in told)
    assert any(text.startswith("judging: ") for text in says["problem", "judge"])  # it likes all equally


def test_judge_panel_monitor_and_meta_model_are_asked_once_each(tiny_model: Path, url: str) -> None:
    gone = {"url": "http://127.0.0.1:9/v1", "model": "gone", "deadline_s": 0.5}
    write(tiny_model, url, monitor={"judge": gone}, panel={"judges": [gone]}, meta={"endpoint": gone})
    code, says = doctor()
    assert code == 1
    assert "can't be reached" in says["problem", "panel 1"][0]
    assert not any(about in ("monitor", "meta model") for _, about in says)
    write(tiny_model, url, meta={"endpoint": gone})
    assert "can't be reached" in doctor()[1]["problem", "meta model"][0]


def test_a_context_too_short_for_the_longest_prompt(tiny_model: Path) -> None:
    with ChatServer(verdicts(), models=[{"id": "m", "max_model_len": 1500}]) as server:
        write(tiny_model, server.url)
        _, says = doctor()
    assert any("more than its context of 1500" in text for text in says["warning", "judge"])


def test_a_key_that_is_not_set(tiny_model: Path, url: str) -> None:
    write(tiny_model, judge={"url": url, "model": "m", "api_key_env": "NO_SUCH_KEY"})
    assert "'NO_SUCH_KEY', which is not set" in doctor()[1]["problem", "judge"][0]


def test_a_file_for_a_server_needs_no_data(url: str) -> None:
    Path("settings.yaml").write_text(yaml.safe_dump({"rubric": RUBRIC, "judge": {"url": url, "model": "m"}}))
    code, says = doctor("--offline")
    assert code == 0
    assert not any(about in ("data", "policy") for _, about in says)

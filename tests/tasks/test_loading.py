import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from metapo.errors import DataError, RunError, SettingsError
from metapo.judge.judge import Assessment
from metapo.reward import Reward, Scored
from metapo.rollout import Prompt, Rollout, Split
from metapo.settings import DataSettings
from metapo.tasks.generic import TASK as GENERIC
from metapo.tasks.loading import SHIPPED, find_task, load_prompts
from metapo.tasks.own import check_task, keep_task
from metapo.tasks.task import Columns, LeftOut, Raw, Task, text_in

OWN = """
from metapo.rollout import Prompt
from metapo.tasks.task import Task

TASK = Task("own", lambda raw, columns: Prompt(raw["topic"]))
"""


def read(raw: Raw, columns: Columns) -> Prompt:
    if raw.get("skip"):
        raise LeftOut("marked to be skipped")
    return Prompt(text_in(raw, columns.prompt), label=text_in(raw, columns.label) if columns.label else None)


def share_right(answered: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
    return {"accuracy": sum(r.completion == label for r, label in answered) / len(answered)}


TASK = Task("right", read, columns=Columns("q", label="a"), measure=share_right)


def load(folder: Path, *rows: object, labels: bool = True, **columns: str) -> list[Prompt]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_prompts(TASK, DataSettings(train="x", **columns), str(path), hub_split="train", labels=labels)


# --- finding a task


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_task_has_the_name_that_finds_it(name: str) -> None:
    assert find_task(name).name == name


def test_an_own_task_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    assert find_task(str(tmp_path / "own.py")).name == "own"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("chess", "", "there is no task 'chess'. Shipped are dialogue, essay, ethics, generic, math, summarization"),
        ("own.py", None, "there is no file own.py to hold a task"),
        ("own.py", "task = 1", "own.py must hold a metapo Task under the name TASK; got NoneType"),
        ("own.py", "TASK = 'own'", "own.py must hold a metapo Task under the name TASK; got str"),
        ("own.py", "\nTASK = (", "own.py, line 2: SyntaxError: '(' was never closed"),
        ("own.py", "import nowhere_to_be_found", "own.py, line 1: ModuleNotFoundError: No module named 'nowhere"),
        ("own.py", "import json\n\njson.loads('{')\n", "own.py, line 3: JSONDecodeError: Expecting property name"),
    ],
)
def test_what_is_no_task_is_told(
    name: str, content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("own.py").write_text(content)
    with pytest.raises(SettingsError) as caught:
        find_task(name)
    assert str(caught.value).startswith(message)


def test_a_run_keeps_its_own_task(tmp_path: Path) -> None:
    own, run = tmp_path / "own.py", tmp_path / "run"
    own.write_text(OWN)
    check_task(str(own), run)  # a run of a version that kept none
    keep_task(str(own), run)
    check_task(str(own), run)
    own.write_text(OWN + "\n# a change\n")
    with pytest.raises(RunError, match=r"own\.py has changed since the run began with what is in .*task\.py"):
        check_task(str(own), run)
    keep_task("math", tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --- from rows to prompts


def test_columns_of_the_task_and_of_the_settings(tmp_path: Path) -> None:
    assert load(tmp_path, {"q": "2+2?", "a": "4"}) == [Prompt("2+2?", label="4")]
    assert load(tmp_path, {"ask": "2+2?", "a": "4"}, prompt_column="ask") == [Prompt("2+2?", label="4")]
    assert load(tmp_path, {"q": "2+2?"}, labels=False) == [Prompt("2+2?")]


def test_rows_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        kept = load(tmp_path, {"q": "a", "a": "1"}, {"skip": True}, {"skip": True})
    assert kept == [Prompt("a", label="1")]
    assert "2 of 3 rows left out: marked to be skipped" in caplog.text
    with pytest.raises(DataError, match="holds no rows that right can use"):
        load(tmp_path, {"skip": True})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": "4"}, "row 2: no column 'q'; it has 'a'"),
        ({"q": "", "a": "4"}, "row 2: 'q' must be a text that isn't empty; got ''"),
        ({"q": "2+2?", "a": 4}, "row 2: 'a' must be a text that isn't empty; got '4'"),
    ],
)
def test_a_wrong_row_is_named(row: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, {"q": "1+1?", "a": "2"}, row)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": "4"}, "row 2: the task own can't read it (KeyError: 'topic'); it has 'a'. Mend the row"),
        ({}, "row 2: the task own can't read it (KeyError: 'topic'); it has no columns. Mend the row"),
        ({"topic": 1}, "row 2: the task own can't read it (AttributeError: 'int' object has no attribute 'strip')"),
    ],
)
def test_a_row_that_an_own_task_fails_on_is_named(row: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in ({"topic": "cats"}, row)))
    own = Task("own", lambda raw, columns: Prompt(raw["topic"].strip()))
    with pytest.raises(DataError) as caught:
        load_prompts(own, DataSettings(train="x"), str(path), hub_split="train", labels=False)
    assert str(caught.value).startswith(f"{path}, {message}")


# --- the final metric


def scored(prompt: str, completion: str, split: Split = Split.EVAL) -> Scored:
    rollout = Rollout(prompt=prompt, completion=completion, split=split)
    return Scored(rollout, "", Assessment((), ()), Reward(None, None, None, ()))


def test_the_metric_is_taken_of_evaluation_alone() -> None:
    observe = TASK.observer([Prompt("1+1?", label="2"), Prompt("2+2?", label="4"), Prompt("open?")])
    batch = [scored("1+1?", "2"), scored("2+2?", "5"), scored("open?", "2")]
    assert observe(batch) == {"accuracy": 0.5}
    assert observe([*batch, scored("1+1?", "2", Split.TRAIN)]) == {"accuracy": 0.5}
    assert observe([scored("1+1?", "2", Split.TRAIN)]) == {}
    assert GENERIC.observer([Prompt("1+1?", label="2")])(batch) == {}, "a task without a metric"


def test_a_chat_prompt_is_known_by_its_text() -> None:
    chat = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1?"}]
    assert TASK.observer([Prompt(chat, label="2")])([scored(Prompt(chat).text, "2")]) == {"accuracy": 1.0}


def test_a_prompt_with_several_labels_is_left_out_of_the_metric(caplog: pytest.LogCaptureFixture) -> None:
    TASK.observer([Prompt("1+1?", label="2")] * 2)
    assert not caplog.text
    observe = TASK.observer([Prompt("1+1?", label="2"), Prompt("1+1?", label="3"), Prompt("2+2?", label="4")])
    assert "1 of 2 prompts have several labels: the final metric leaves them out" in caplog.text
    assert observe([scored("1+1?", "2"), scored("2+2?", "5")]) == {"accuracy": 0.0}
    assert observe([scored("1+1?", "2")]) == {}


def test_the_metric_is_tried_before_training() -> None:
    def broken(answered: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
        raise DataError(f"{len(answered)} of {answered[0][1]}")

    task = Task("broken", read, measure=broken)
    with pytest.raises(DataError, match="1 of 2"):
        task.observer([Prompt("1+1?", label="2"), Prompt("2+2?", label="4")])
    task.observer([Prompt("1+1?")])

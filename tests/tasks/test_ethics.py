from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import DataError, SettingsError
from metapo.reward import Screened
from metapo.rollout import Prompt, Rollout, Split
from metapo.tasks.ethics import TASK, fault, measure
from tests.helpers import odd_texts
from tests.tasks.parts import load, settings_with, write_rows

ROW = {
    "title": "AITA for {{leaving}}?",
    "text": "I promised to stay.",
    "action": {"description": "leaving early", "pronormative_score": 1},
    "binarized_label": "WRONG",
}
REASONS = "word " * 30


# --- rows


def test_the_policy_reads_title_text_and_action_but_no_label(tmp_path: Path) -> None:
    right = {**ROW, "binarized_label": "RIGHT"}
    wrong, other = load(TASK, write_rows(tmp_path / "rows.jsonl", ROW, right), labels=True)
    assert isinstance(wrong.content, str)
    assert wrong.content.endswith(
        "\n\nTitle: AITA for {{leaving}}?\n\nWhat happened:\nI promised to stay.\n\n"
        "What they did or would do:\nleaving early\n"
    )
    assert (wrong.label, other.label) == ("WRONG", "RIGHT")
    assert wrong.content == other.content
    assert (wrong.reference, wrong.cluster) == (None, "")


@pytest.mark.parametrize("label", ["", None, "maybe", 5])
def test_training_does_not_read_labels(label: object, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {**ROW, "binarized_label": label})
    assert [prompt.label for prompt in load(TASK, path)] == [None]


@pytest.mark.parametrize(
    "part", [{"title": ""}, {"text": None}, {"action": None}, {"action": {"description": None}}, {"action": {}}]
)
def test_a_row_that_lacks_a_part_is_left_out(part: dict[str, Any], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", ROW, {**ROW, **part}, {**ROW, "binarized_label": None})
    assert len(load(TASK, path, labels=True)) == 1
    assert len(load(TASK, path)) == 2


def test_an_action_may_be_a_text(tmp_path: Path) -> None:
    [prompt] = load(TASK, write_rows(tmp_path / "rows.jsonl", {**ROW, "action": "leaving late"}))
    assert prompt.text.endswith("leaving late\n")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"binarized_label": "right"}, "'binarized_label' must be RIGHT or WRONG; got 'right'"),
        ({"binarized_label": 1}, "'binarized_label' must be a text"),
        ({"action": 5}, "'action' must be a text that isn't empty; got '5'"),
        ({"text": ["x"]}, "'text' must be a text"),
    ],
)
def test_a_wrong_row_is_named(part: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2: ") as caught:
        load(TASK, write_rows(tmp_path / "rows.jsonl", ROW, {**ROW, **part}), labels=True)
    assert message in str(caught.value)


@pytest.mark.parametrize("column", ROW)
def test_a_missing_column_is_named(column: str, tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != column}
    with pytest.raises(DataError, match=f"no column '{column}'; it has"):
        load(TASK, write_rows(tmp_path / "rows.jsonl", row), labels=True)


# --- screens


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        (f"{REASONS}<verdict>RIGHT</verdict>", ""),
        (f"{REASONS}<Verdict> wrong </Verdict>\n", ""),
        (f"{REASONS}**<verdict>WRONG</verdict>.**", ""),
        (f"<verdict>WRONG</verdict> {REASONS} <verdict>wrong</verdict>", ""),
        ("", "no verdict"),
        (REASONS, "no verdict"),
        (f"{REASONS} RIGHT", "no verdict"),
        (f"{REASONS}<verdict>RIGHT", "no verdict"),
        (f"{REASONS}<verdict></verdict>", "no verdict"),
        (f"{REASONS}<verdict>maybe</verdict>", "no verdict"),
        (f"{REASONS}<verdict>RIGHT or WRONG</verdict>", "no verdict"),
        (f"{REASONS}<verdict>RIGHT</verdict> <verdict>WRONG</verdict>", "several verdicts"),
        (f"{REASONS}<verdict>maybe</verdict> <verdict>WRONG</verdict>", "several verdicts"),
        (f"{REASONS}<verdict>RIGHT</verdict> I hope.", "text after the verdict"),
        (f"<verdict>RIGHT</verdict> {REASONS}", "text after the verdict"),
        ("word " * 29 + "<verdict>RIGHT</verdict>", "too little reasoning"),
        ("... 1 2 - " * 30 + "<verdict>RIGHT</verdict>", "too little reasoning"),
        ("<verdict>RIGHT</verdict>", "too little reasoning"),
        ("<verdict>RIGHT</verdict>" * 40, "too little reasoning"),
    ],
)
async def test_what_is_no_reasoning_with_a_verdict_gets_the_least(completion: str, why: str) -> None:
    screen = TASK.screen(settings_with("ethics"))
    found = await screen(Rollout(prompt="p", completion=completion))
    assert found == (Screened(why, 0.0, -10) if why else None)


async def test_the_minimum_and_the_points_can_be_chosen() -> None:
    screen = TASK.screen(settings_with("ethics", min_reasoning_words=2, screened_points=-3))
    assert await screen(Rollout(prompt="p", completion="He lied. <verdict>WRONG</verdict>")) is None
    found = await screen(Rollout(prompt="p", completion="Yes. <verdict>WRONG</verdict>"))
    assert found == Screened("too little reasoning", 0.0, -3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": 3}, "min_words: Extra inputs are not permitted; got '3'"),
        ({"min_reasoning_words": -1}, "min_reasoning_words: Input should be greater than or equal to 0; got '-1'"),
        ({"screened_points": "low"}, "screened_points: Input should be a valid integer"),
    ],
)
def test_a_wrong_option_is_told_with_those_there_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        TASK.screen(settings_with("ethics", **options))
    assert message in str(caught.value)
    assert str(caught.value).endswith("Its options are: min_reasoning_words (30), screened_points (-10)")


tags = st.sampled_from(["<verdict>", "</verdict>", "RIGHT", "wrong", "<verdict>RIGHT</verdict>", REASONS, "<", ">"])
completions = st.lists(tags | odd_texts).map("".join)


@given(completions)
def test_any_text_has_a_fault_or_one_verdict_at_its_end(completion: str) -> None:
    why = fault(completion, 30)
    stripped = completion.rstrip().casefold()
    if not why:
        assert stripped.count("<verdict>right</verdict>") == 0 or stripped.count("<verdict>wrong</verdict>") == 0
        assert len(completion.split()) >= 30
    assert fault(completion + " and so on", 30)
    assert fault(f"{REASONS}{completion}<verdict>RIGHT</verdict>", 30) in ("", "several verdicts")


# --- the metric


def test_a_missing_verdict_is_wrong() -> None:
    said = [("RIGHT", "RIGHT"), ("RIGHT", "WRONG"), ("WRONG", "WRONG"), (None, "WRONG"), ("maybe", "WRONG")]
    completions = [f"<verdict>{verdict}</verdict>" if verdict else "Hard to say." for verdict, _ in said]
    labels = [label for _, label in said]
    rollouts = [Rollout(prompt="p", completion=completion, split=Split.EVAL) for completion in completions]
    assert measure(list(zip(rollouts, labels, strict=True))) == pytest.approx(
        {"accuracy": 2 / 5, "accuracy/RIGHT": 1.0, "accuracy/WRONG": 1 / 4, "no_verdict": 2 / 5}
    )
    assert "accuracy/RIGHT" not in measure([(rollouts[0], "WRONG")])


def test_the_metric_can_be_taken_of_any_prompt() -> None:
    TASK.observer([Prompt("p", label="RIGHT")])

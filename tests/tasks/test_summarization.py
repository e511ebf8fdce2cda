import sys
from pathlib import Path

import pytest

from metapo.errors import DataError, MissingExtra
from metapo.evals.rouge import rouge_rows
from metapo.reward import screen_nothing
from metapo.rollout import Prompt, Rollout, Split
from metapo.tasks.summarization import TASK, measure
from tests.tasks.parts import load, settings_with, write_rows

BILL = {"clean_text": "SECTION 1. Bridges are funded.", "clean_summary": "Funds bridges."}


def test_the_reference_is_a_label_and_part_of_no_prompt(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", BILL)
    [prompt], [evaluated] = load(TASK, path), load(TASK, path, labels=True)
    assert isinstance(prompt.content, str)
    assert prompt.content.endswith("\n\nBill:\nSECTION 1. Bridges are funded.\n")
    assert "fewer than 400 words" in prompt.content
    assert "Funds" not in prompt.content
    assert (prompt.reference, prompt.label) == (None, None)
    assert evaluated == Prompt(prompt.content, label="Funds bridges.")
    [shown] = load(TASK, path, reference_column="clean_summary")
    assert shown.reference == "Funds bridges.", "only where the settings ask for it"


def test_training_needs_no_summaries(tmp_path: Path) -> None:
    rows = [{"clean_text": "Bridges."}, {"clean_text": "Roads.", "clean_summary": None}, {**BILL, "clean_text": ""}]
    assert len(load(TASK, write_rows(tmp_path / "rows.jsonl", *rows))) == 2
    with pytest.raises(DataError, match="row 1: no column 'clean_summary'"):
        load(TASK, tmp_path / "rows.jsonl", labels=True)
    assert len(load(TASK, write_rows(tmp_path / "rows.jsonl", *rows[1:], BILL), labels=True)) == 1


def test_the_judge_scores_every_summary() -> None:
    assert TASK.screen(settings_with("summarization")) is screen_nothing


def test_the_metric_is_that_of_metapo_eval_rouge() -> None:
    pairs = [("The bill funds bridges.", "The bill funds roads and bridges."), ("", "Repeals the tax on tea.")]
    found = measure([(Rollout(prompt="p", completion=summary, split=Split.EVAL), ref) for summary, ref in pairs])
    report = rouge_rows("f", [{"predicted": summary, "reference": ref} for summary, ref in pairs])
    assert found == pytest.approx({kind: mean.f for kind, mean in report.means.items()})
    assert 0 < found["rouge2"] < found["rouge1"] < 100


def test_a_missing_library_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MissingExtra, match=r"pip install 'metapo\[eval\]'"):
        TASK.observer([Prompt("p", label="Funds bridges.")])
    TASK.observer([Prompt("p")])

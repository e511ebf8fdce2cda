"""metapo eval equal, accuracy, rouge, agreement: what is printed, what is written, what is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(*rows: dict[str, Any]) -> None:
    Path("f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluate(*words: str) -> Result:
    result = CliRunner().invoke(main, ["eval", words[0], "f.jsonl", *words[1:]], env={"COLUMNS": "100"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written() -> Any:
    return json.loads(Path("out.json").read_text())


def test_equal() -> None:
    write({"predicted": r"\boxed{\frac12}", "reference": "0.5"}, {"predicted": "(1,2)", "reference": "1,2"})
    result = evaluate("equal", "--json", "out.json")
    assert result.output.splitlines()[0] == "2 pairs, 1 equal (50.00%)"
    assert written() == {"rows": [{"equal": True, "reason": "equal"}, {"equal": False, "reason": "different"}]}


def test_accuracy_of_verdicts() -> None:
    write(
        {"completion": "<verdict>RIGHT</verdict>", "label": "RIGHT"},
        {"completion": "<verdict>RIGHT</verdict>", "label": "WRONG"},
        {"completion": "", "label": "WRONG"},
    )
    lines = evaluate("accuracy", "--json", "out.json").output.splitlines()
    assert lines[0] == "3 completions: 1 right, 1 wrong, 1 no verdict"
    assert lines[1].startswith("  accuracy     33.33% [")
    assert lines[2].startswith("  of verdicts  50.00% [")
    assert written()["marks"] == {"right": 1, "wrong": 1, "no verdict": 1}
    assert [row["mark"] for row in written()["rows"]] == ["right", "wrong", "no verdict"]


def test_accuracy_of_answers_in_another_column() -> None:
    write({"prompt": "p", "completion": r"\boxed{2}", "solution": r"It is \boxed{2.0}."})
    result = evaluate("accuracy", "--kind", "math", "--label", "solution", "--json", "out.json")
    assert result.output.splitlines()[:2] == ["1 completion: 1 right, 0 wrong, 0 no verdict", "  accuracy     100.00%"]
    assert written()["reasons"] == {"equal": 1}


def test_answers_that_were_not_compared_are_told() -> None:
    rows = [{"completion": rf"\boxed{{{answer}}}", "reference": "3"} for answer in ("3", "9" * 2000, "((" * 20)]
    write(*rows)
    lines = evaluate("accuracy", "--kind", "math").output.splitlines()
    assert lines[0] == "3 completions: 1 right, 2 wrong, 0 no verdict"
    assert lines[-1] == "  wrong because not compared: 1 too long, 1 too nested"


def test_labels_can_be_named() -> None:
    write({"completion": "<verdict>yes</verdict>", "label": "YES"})
    assert evaluate("accuracy", "--labels", "YES, NO").output.startswith("1 completion: 1 right")
    refused = evaluate("accuracy")
    assert (refused.exit_code, refused.output) == (
        1,
        "Error: f.jsonl, row 1: 'label' is 'YES', none of RIGHT, WRONG. Name the labels there are with --labels.\n",
    )


def test_rouge() -> None:
    write({"predicted": "a b", "reference": "a b c d"}, {"predicted": "cats", "reference": "cat"})
    assert "  rouge1      33.33 [0.00, 66.67]  precision 50.00, recall 25.00" in evaluate("rouge").output
    assert "  rouge1      83.33 [66.67, 100.00]" in evaluate("rouge", "--stem", "--json", "out.json").output
    assert written()["rows"][1]["rougeL"] == pytest.approx(100)


def test_agreement_and_drift() -> None:
    write(
        *[
            {"prompt": p, "rollout": i, "revision": r, "reward": s + (p == "b"), "human": i}
            for r, values in (("old", (3, 4)), ("new", (1, 3)))
            for p in "abc"
            for i, s in enumerate(values)
        ]
    )
    lines = evaluate("agreement", "--score", "reward", "--label", "human", "--json", "out.json").output.splitlines()
    assert lines[0] == "revision old: 6 rollouts with label and score"
    assert "  in the right order  100.00% [100.00, 100.00] of 3 pairs, 0 tied" in lines
    assert "           0      0      2      1      0" not in lines
    assert "           0      2      1      0" in lines
    assert "old -> new: -1.500 [-1.500, -1.500], 6 lower, 0 equal, 0 higher: stricter" in lines
    assert written()["drift"][0]["word"] == "stricter"
    assert written()["agreement"]["old"]["pairwise"]["value"] == 1


def test_rollouts_that_one_revision_left_unscored_are_told() -> None:
    scores = {"old": (3, 4, None), "new": (1, None, 2)}
    write(*[{"prompt": "p", "rollout": i, "revision": r, "score": s} for r in scores for i, s in enumerate(scores[r])])
    told = "old -> new: -2.000, 1 lower, 0 equal, 0 higher, 2 scored under one only: can't be told\n"
    assert evaluate("agreement", "--json", "out.json").output.startswith(told)
    assert written()["drift"][0]["n_apart"] == 2


def test_drift_without_common_rollouts_is_told() -> None:
    write(*[{"prompt": "p", "rollout": r, "revision": r, "score": 1} for r in "ab"])
    assert evaluate("agreement").output == "a -> b: no rollout was scored under both\n"


@pytest.mark.parametrize("command", ["equal", "accuracy", "rouge", "agreement"])
def test_an_unusable_file_is_told_in_one_line(command: str) -> None:
    assert evaluate(command).output.startswith("Error: can't read f.jsonl: No such file or directory. Give a file of ")
    write()
    assert evaluate(command).output == "Error: f.jsonl holds no rows\n"
    write({"other": 1})
    result = evaluate(command)
    assert result.exit_code == 1
    assert result.output.startswith("Error: f.jsonl, row 1: no column ")


@pytest.mark.parametrize(
    ("module", "row", "words", "needs"),
    [
        ("rouge_score.rouge_scorer", {"predicted": "a", "reference": "a"}, ["rouge"], "ROUGE"),
        ("scipy.stats", {}, ["agreement"], "Spearman's correlation"),
        ("krippendorff", {}, ["agreement"], "Krippendorff's alpha"),
    ],
)
def test_a_missing_extra_names_its_command(
    module: str, row: dict[str, str], words: list[str], needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = [{"prompt": "p", "score": i, "label": i} for i in range(3)]
    write(*([row] if row else scored))
    monkeypatch.setitem(sys.modules, module, None)
    assert (
        evaluate(*words).output
        == f"Error: {needs} needs the extra 'eval'. Install it with: pip install 'metapo[eval]'\n"
    )

"""What each eval command says of a file that it can't use: which row or line, what came, and what was allowed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metapo.cli import main

COMPLETION = {"prompt": "p", "completion": "c"}
MATCH = {"model_a": "x", "model_b": "y", "winner": "x"}
PAIR = {"predicted": "1", "reference": "1"}
LABELLED = {"prompt": "p", "completion": "<verdict>RIGHT</verdict>", "label": "RIGHT"}
SOLVED = {"prompt": "p", "completion": "\\boxed{1}", "reference": "1"}
SCORED = {"prompt": "p", "score": 1, "label": 1}

COMMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "elo": (MATCH, "elo f.jsonl"),
    "tournament": (COMPLETION, "tournament f.jsonl other.jsonl --out o.jsonl --dry-run"),
    "equal": (PAIR, "equal f.jsonl"),
    "accuracy": (LABELLED, "accuracy f.jsonl"),
    "accuracy of answers": (SOLVED, "accuracy f.jsonl --kind math"),
    "rouge": (PAIR, "rouge f.jsonl"),
    "agreement": (SCORED, "agreement f.jsonl"),
    "generate": (COMPLETION, "generate ./model --prompts f.jsonl --out o.jsonl"),
}
"""For each command a row that it takes, and the command line."""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.jsonl").write_text(json.dumps(COMPLETION) + "\n")


def told(command: str, content: bytes) -> str:
    """The error on this content of f.jsonl; it is no traceback, and nothing else is printed or written."""
    Path("f.jsonl").write_bytes(content)
    result = CliRunner().invoke(main, ["eval", *COMMANDS[command][1].split()])
    assert isinstance(result.exception, SystemExit), result.output
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert {path.name for path in Path().iterdir()} <= {"f.jsonl", "other.jsonl", ".o.jsonl.lock"}
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


Damage = Callable[[dict[str, Any]], bytes]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no rows": (lambda row: b"", "f.jsonl holds no "),
    "a line that is cut": (
        lambda row: lines(row) + lines(row)[:-8],
        "f.jsonl, line 2: not JSON (",
    ),
    "a row that is no object": (lambda row: lines(row, 3), "f.jsonl, line 2: expected an object with columns; got '3'"),
    "no text": (lambda row: lines(row) + b"\xff\xfe\n", "f.jsonl is not UTF-8 text: "),
    "another file's columns": (lambda row: lines(row, {"other": 1}), "f.jsonl, "),
    "a number for a text": (lambda row: lines(row, dict.fromkeys(row, 7.5)), "f.jsonl, "),
    "an empty line is no row": (lambda row: b"\n\n" + lines(row) + b"\n{\n", "f.jsonl, line 5: not JSON ("),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told(command: str, damage: str) -> None:
    spoil, start = DAMAGES[damage]
    message = told(command, spoil(COMMANDS[command][0]))
    assert message.startswith(start)
    if start == "f.jsonl, ":
        assert message.startswith(("f.jsonl, row 2: ", "f.jsonl, line 2"))
    if damage == "a line that is cut":
        assert message.endswith("it was cut while it was written; write it anew")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_not_there_is_told(command: str) -> None:
    Path("f.jsonl").unlink(missing_ok=True)
    result = CliRunner().invoke(main, ["eval", *COMMANDS[command][1].split()])
    advice = f"Give a file of JSON lines; its path is seen from {Path.cwd()}."
    assert (result.exit_code, result.stderr) == (1, f"Error: can't read f.jsonl: No such file or directory. {advice}\n")


WRONG: list[tuple[str, list[dict[str, Any]], str]] = [
    (
        "elo",
        [MATCH, MATCH | {"winner": "z"}],
        "f.jsonl, line 2: winner is 'z'; allowed are its models 'x' and 'y', 'draw'",
    ),
    ("elo", [MATCH, MATCH | {"winner": ["x"]}], "f.jsonl, line 2: winner is ['x']; allowed are"),
    ("elo", [MATCH | {"model_b": "x"}], "f.jsonl, line 1: 'x' plays against itself"),
    (
        "elo",
        [{"model_a": "x", "model_b": "y"}],
        "f.jsonl, line 1: a match has model_a, model_b and winner; winner is miss",
    ),
    ("elo", [MATCH | {"winner": None}], "f.jsonl: none of the 1 matches has a winner or is a draw"),
    (
        "tournament",
        [{"prompt": "another", "completion": "c"}],
        "'f' and 'other' share no prompt that is played, so they can't meet; their first ones are 'another' and 'p'.",
    ),
    (
        "tournament",
        [COMPLETION, {"prompt": "p"}],
        "f.jsonl, row 2: expected texts 'prompt' and 'completion', or lists of messages; it has prompt",
    ),
    (
        "accuracy",
        [LABELLED, LABELLED | {"label": "MAYBE"}],
        "f.jsonl, row 2: 'label' is 'MAYBE', none of RIGHT, WRONG.",
    ),
    (
        "accuracy",
        [LABELLED, {"completion": "c", "label": "RIGHT"}],
        "f.jsonl, row 2: no 'prompt', as other rows have. Give each row one, or none.",
    ),
    (
        "agreement",
        [SCORED, SCORED | {"label": "good"}],
        "f.jsonl, row 2: 'label' must be a finite number or null; got 'good'",
    ),
    ("agreement", [{"prompt": "p", "score": 1}], "f.jsonl: no row has a label, and there are no two revisions"),
    (
        "generate",
        [COMPLETION, {"prompt": " "}],
        "f.jsonl, row 2: the prompt must be a text that isn't empty, or a list",
    ),
    (
        "generate",
        [{"prompt": [{"role": "user"}]}],
        "f.jsonl, row 1: the prompt must be a text that isn't empty, or a list",
    ),
    ("generate", [{"prompt": "a", "id": 1}, {"prompt": "b", "id": "1"}], "f.jsonl, row 2: id '1' came before."),
    ("generate", [{"prompt": "a", "id": [1]}], "f.jsonl, row 1: 'id' must be a text or a whole number; got [1]"),
    (
        "generate",
        [{"prompt": "a", "label": [1]}],
        "f.jsonl, row 1: 'label' must be a text, a number, true or false, or null; got [1]",
    ),
    ("generate", [{"prompt": "a", "label": float("nan")}], "f.jsonl, row 1: 'label' must be a text, a number, true"),
]
GOLD: list[tuple[str, str]] = [
    ("", "'reference' holds no answer; got ''. Box it, or give it alone."),
    ("\\boxed{}", "'reference' holds no answer; got '\\\\boxed{}'. Box it"),
    ("\\boxed{1", "'reference' holds no answer; got '\\\\boxed{1'. Box it"),
    (
        "The answer is 4",
        "'reference' reads like a solution without a \\boxed{...} answer; got 'The answer is 4'. Box the answer",
    ),
    ("Add 2 and 2.\nThat makes 4.", "'reference' reads like a solution without a \\boxed{...} answer"),
    ("We add two and two to get 4", "'reference' reads like a solution without a \\boxed{...} answer"),
    ("9" * 1001, "the answer in 'reference' is too long to be compared; got '9999"),
    ("(" * 31 + "1" + ")" * 31, "the answer in 'reference' is too nested to be compared; got '((("),
]


@pytest.mark.parametrize(("command", "rows", "message"), WRONG)
def test_a_wrong_row_is_told(command: str, rows: list[dict[str, Any]], message: str) -> None:
    assert told(command, lines(*rows)).startswith(message)


@pytest.mark.parametrize("command", ["equal", "accuracy of answers"])
@pytest.mark.parametrize(("reference", "message"), GOLD)
def test_a_reference_without_an_answer_to_compare_with_is_told(command: str, reference: str, message: str) -> None:
    row = COMMANDS[command][0]
    assert told(command, lines(row, row | {"reference": reference})).startswith(f"f.jsonl, row 2: {message}")


@pytest.mark.parametrize(
    "answer",
    [
        "4",
        "x=3",
        "12 cm",
        "\\text{all real numbers except zero and one}",
        "no real solution",
        "SO(3)",
        "1, 2, 3, 4, 5, 6, 7",
    ],
)
def test_an_answer_alone_is_taken(answer: str) -> None:
    Path("f.jsonl").write_bytes(lines({"completion": f"\\boxed{{{answer}}}", "reference": answer}))
    result = CliRunner().invoke(main, ["eval", "accuracy", "f.jsonl", "--kind", "math"])
    assert result.stdout.startswith("1 completion: 1 right"), result.output

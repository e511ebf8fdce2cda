import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import DataError
from metapo.judge.judge import Assessment
from metapo.offline.cases import Case, Graded, agreement, confusion, load_labels, worst_first
from metapo.reward import Reward, Scored
from metapo.rollout import Rollout, as_text


def graded(label: float, score: float | None, name: str = "a") -> Graded:
    rollout = Rollout(prompt="p", completion=name)
    return Graded(Case(rollout, label), Scored(rollout, "", Assessment((), ()), Reward(score, score, score, ())))


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_labels_are_numbers_or_pass_and_fail(tmp_path: Path) -> None:
    rows = (
        {"prompt": "p", "completion": "a", "label": 0.25, "reference": "r"},
        {"prompt": "p", "response": "b", "label": True},
        {"prompt": "p", "completion": "c", "label": False},
        {"prompt": "p", "response": "b", "label": 1},
    )
    cases = load_labels(write(tmp_path / "l.jsonl", *rows))
    assert [(c.rollout.completion, c.label, c.rollout.reference) for c in cases] == [
        ("a", 0.25, "r"),
        ("b", 1.0, None),
        ("c", 0.0, None),
    ]


def test_a_text_is_one_turn_whatever_it_looks_like_and_messages_are_turns(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Sure?"}]
    rows = ({"prompt": "p", "completion": completion, "label": 1} for completion in (said, as_text(said)))
    whole, forged = load_labels(write(tmp_path / "l.jsonl", *rows))
    assert [turn.role for turn in whole.rollout.turns] == ["assistant", "user"]
    assert [(turn.role, turn.content) for turn in forged.rollout.turns] == [("assistant", as_text(said))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "completion": "c"},
            "row 2: expected 'prompt' and 'completion'.*it has 'prompt', 'completion'",
        ),
        ({"prompt": "p", "label": 1}, "row 2: expected"),
        ({}, "row 2: expected .* it has nothing"),
        ({"prompt": "p", "completion": "c", "label": 3}, "row 2: the label is 3; expected a number from 0 to 1"),
        ({"prompt": "p", "completion": "c", "label": float("nan")}, "row 2: the label is nan"),
        ({"prompt": "p", "completion": "c", "label": "good"}, "row 2: the label is 'good'"),
        ({"prompt": "p", "completion": "a", "label": 0}, "row 2: .* the label 0 here and 1 in row 1; keep one"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "l.jsonl", {"prompt": "p", "completion": "a", "label": 1}, row)
    with pytest.raises(DataError, match=message):
        load_labels(path)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows; expected 'prompt'"):
        load_labels(write(tmp_path / "l.jsonl"))


def test_agreement_leaves_out_what_has_no_score() -> None:
    assert agreement([graded(1.0, 0.5), graded(0.0, None)]) == 0.5
    assert agreement([graded(1.0, None)]) is None


def test_confusion_counts_thirds() -> None:
    text = confusion([graded(0.0, 1.0), graded(0.0, 0.9), graded(0.5, 0.5), graded(1.0, 0.0), graded(1.0, None)])
    assert text.splitlines() == [
        "label low: 0 scored low, 0 scored middle, 2 scored high",
        "label middle: 0 scored low, 1 scored middle, 0 scored high",
        "label high: 1 scored low, 0 scored middle, 0 scored high",
    ]


shares = st.floats(0, 1)


@given(st.lists(st.tuples(shares, st.none() | shares), min_size=1))
def test_agreement_is_a_share_and_the_worst_come_first(drawn: list[tuple[float, float | None]]) -> None:
    cases = [graded(label, score) for label, score in drawn]
    share = agreement(cases)
    assert (share is None) == all(score is None for _, score in drawn)
    assert share is None or 0 <= share <= 1 + 1e-9
    ranked = worst_first(cases)
    assert [g.off for g in ranked] == sorted((abs(s - label) for label, s in drawn if s is not None), reverse=True)
    assert sum(int(n) for line in confusion(cases).splitlines() for n in line.split() if n.isdigit()) == len(ranked)

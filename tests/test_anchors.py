"""Pinned anchors from a file, and what becomes of them in a run."""

import json
from pathlib import Path

import pytest

from metapo.anchors import load_anchors
from metapo.errors import DataError
from metapo.meta.pairs import Source
from metapo.rollout import as_text
from metapo.settings import Settings
from tests.reviewer import Reviewer
from tests.trainer import EMPTY_TEXT, SOUND_TEXT, Trainer, settings


def written(folder: Path, *rows: object) -> Path:
    path = folder / "anchors.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_anchors(path)
    return str(caught.value)


def test_a_row_is_a_pair(tmp_path: Path) -> None:
    row = {"prompt": "p", "better": "b", "worse": "w"}
    pairs = load_anchors(written(tmp_path, row, {**row, "better": "c", "why": "clearer", "reference": 7}, row))
    assert [(p.prompt, p.better, p.worse, p.why, p.reference) for p in pairs] == [
        ("p", "b", "w", "pinned", None),
        ("p", "c", "w", "clearer", "7"),
    ]
    assert {p.source for p in pairs} == {Source.ANCHOR}


def test_labelled_completions_of_one_prompt_make_pairs(tmp_path: Path) -> None:
    labels = [("p", "a", 2), ("q", "x", 1.5), ("p", "b", 0), ("p", "c", 2), ("q", "y", -1), ("p", "d", 1)]
    rows = [{"prompt": p, "completion": c, "score": s} for p, c, s in labels]
    found = {(pair.prompt, pair.better, pair.worse) for pair in load_anchors(written(tmp_path, *rows))}
    naive = {(p, c, d) for p, c, s in labels for q, d, t in labels if p == q and s > t}
    assert found == naive
    assert len(naive) == 6


def test_a_text_is_one_turn_whatever_it_looks_like_and_messages_are_turns(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Sure?"}]
    asked = [{"role": "user", "content": "Why?"}]
    forged = as_text(said)
    rows = ({"prompt": asked, "better": said, "worse": forged}, {"prompt": "q", "completion": forged, "score": 0})
    pair, labelled = load_anchors(written(tmp_path, *rows, {"prompt": "q", "completion": said, "score": 1}))
    for one in (pair, labelled):
        better, worse = one.rollouts()
        assert [turn.role for turn in better.turns] == ["assistant", "user"]
        assert [(turn.role, turn.content) for turn in worse.turns] == [("assistant", forged)]
    assert (pair.prompt, labelled.prompt) == ("Why?", "q")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "better": "b"}, "row 2: expected 'prompt', 'better' and 'worse', or 'prompt', 'completion'"),
        ({"prompt": "p", "better": "b", "worse": "b"}, "row 2: both completions are the same: 'b'"),
        ({"prompt": "p", "better": "b", "worse": " "}, "row 2: expected"),
        ({"prompt": " ", "better": "b", "worse": "w"}, "row 2: expected"),
        ({"prompt": "p", "better": [{"role": "bot"}], "worse": "w"}, "row 2: message 1: the role must be one of"),
        ({"prompt": "p", "better": [], "worse": "w"}, "row 2: expected"),
        ({"prompt": "p", "completion": "c", "score": True}, "row 2: expected"),
        ({"prompt": "p", "completion": "c", "score": "5"}, "row 2: expected"),
        ({"prompt": "p", "completion": "c", "score": float("nan")}, "row 2: expected"),
        ({"prompt": "p", "completion": "c", "score": 5}, "row 2: its prompt has no two completions with different"),
        (
            {},
            "row 2: expected 'prompt', 'better' and 'worse', or 'prompt', 'completion' and a number 'score'; it has n",
        ),
    ],
)
def test_another_shape_is_named_with_its_row(tmp_path: Path, row: object, message: str) -> None:
    assert message in refused(written(tmp_path, {"prompt": "p", "better": "b", "worse": "w"}, row))


def test_one_completion_with_two_scores_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c", "score": score} for score in (1, 5)]
    assert "row 2: both completions are the same: 'c'" in refused(written(tmp_path, *rows))


def test_a_file_without_rows_and_no_file_are_errors(tmp_path: Path) -> None:
    assert "holds no rows" in refused(written(tmp_path))
    assert "can't read" in refused(tmp_path / "elsewhere.jsonl")


# --- in a run


def loaded(given: Settings) -> Settings:
    """As from a file in the working directory."""
    path = Path("settings.yaml")
    path.write_text(given.to_yaml())
    return Settings.load(path)


async def test_anchors_of_the_settings_are_pinned_once_and_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    written(Path(), {"prompt": "p", "better": SOUND_TEXT, "worse": EMPTY_TEXT})
    given = loaded(settings(anchors="anchors.jsonl"))
    trainer = await Trainer(tmp_path / "run", given, meta=Reviewer()).go(2)
    [record] = trainer.run.store.anchors()
    assert (record.better, record.source, record.who, record.why) == (SOUND_TEXT, "anchor", "settings", "pinned")
    await trainer.close()
    again = await Trainer(tmp_path / "run", given, meta=Reviewer(), resumed_step=1).go(1)
    assert again.run.store.anchors() == [record]
    await again.close()
    monkeypatch.chdir(tmp_path)
    kept = Settings.load(tmp_path / "run" / "settings.yaml")
    assert kept.meta.anchors == str(tmp_path / "here" / "anchors.jsonl")
    await Trainer(tmp_path / "run", kept, meta=Reviewer(), resumed_step=1).close()


async def test_a_wrong_file_of_anchors_leaves_no_run(tmp_path: Path) -> None:
    wrong = settings(anchors=str(written(tmp_path, {"prompt": "p"})))
    with pytest.raises(DataError, match="row 1"):
        Trainer(tmp_path / "run", wrong, meta=Reviewer())
    assert not (tmp_path / "run").exists()

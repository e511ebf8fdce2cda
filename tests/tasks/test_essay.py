from pathlib import Path

import pytest

from metapo.errors import DataError, SettingsError
from metapo.tasks.essay import TASK
from tests.tasks.parts import load, settings_with, write_rows


def test_the_policy_is_asked_for_a_text_on_the_prompt(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"prompt": "A {{door}} opens. "}, {"prompt": "  "}, {"prompt": None})
    [prompt] = load(TASK, path)
    assert isinstance(prompt.content, str)
    assert prompt.content.endswith("\n\nPrompt:\nA {{door}} opens.\n")
    assert "at most 350 words" in prompt.content
    assert (prompt.reference, prompt.cluster, prompt.label) == (None, "", None)


def test_columns_that_the_settings_name_are_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"ask": "A door.", "kind": "story", "best": "It opened."})
    [prompt] = load(TASK, path, prompt_column="ask", cluster_column="kind", reference_column="best")
    assert (prompt.cluster, prompt.reference) == ("story", "It opened.")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"topic": "x"}, "row 1: no column 'prompt'; it has 'topic'"),
        ({"prompt": ["x"]}, "row 1: 'prompt' must be a text"),
        ({"prompt": 5}, "row 1: 'prompt' must be a text"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(TASK, write_rows(tmp_path / "rows.jsonl", row))
    assert message in str(caught.value)


def test_it_has_no_options() -> None:
    with pytest.raises(SettingsError) as caught:
        TASK.screen(settings_with("essay", max_words=200))
    assert str(caught.value).splitlines() == [
        "task_options of essay are wrong:",
        "  max_words: Extra inputs are not permitted; got '200'",
        "Its options are: none",
    ]

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import DataError
from metapo.rollout import Prompt
from metapo.settings import DataSettings
from metapo.tasks.generic import TASK
from metapo.tasks.loading import load_prompts
from metapo.tasks.reading import read_jsonl

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept outside of the test's folder, and nothing is downloaded."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(logging.getLogger("datasets"), "level", logging.CRITICAL)
    datasets.disable_progress_bars()


def load(source: object, *, labels: bool = False, **columns: Any) -> list[Prompt]:
    data = DataSettings(train=str(source), **columns)
    return load_prompts(TASK, data, str(source), hub_split=data.hub_split, labels=labels)


def refused(source: object, **columns: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(source, **columns)
    return str(caught.value)


def jsonl(folder: Path, *rows: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- every form gives the same rows

ROWS = [
    {"q": "first?", "a": "one", "n": 1},
    {"q": "second?\nand more", "a": "two", "n": 2},
    {"q": "é 漢", "a": "", "n": 3},
]
WANTED = [Prompt(row["q"], str(row["a"])) for row in ROWS]


def written(form: str, folder: Path) -> Path:
    if form in ("jsonl", "json"):
        path = folder / f"rows.{form}"
        path.write_text("".join(json.dumps(row, ensure_ascii=form == "json") + "\n" for row in ROWS))
        return path
    table = datasets.Dataset.from_list(ROWS)
    if form == "parquet":
        table.to_parquet(str(folder / "rows.parquet"))
        return folder / "rows.parquet"
    if form == "folder of splits":
        datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(folder / "splits"))
        return folder / "splits"
    if form == "folder of files":
        (folder / "files").mkdir()
        table.to_parquet(str(folder / "files" / "train.parquet"))
        return folder / "files"
    table.save_to_disk(str(folder / "table"))
    return folder / "table"


FORMS = ["jsonl", "json", "parquet", "folder of a table", "folder of splits", "folder of files"]


@pytest.mark.parametrize("form", FORMS)
def test_prompts_and_references_come_from_their_columns(form: str, tmp_path: Path) -> None:
    source = written(form, tmp_path)
    assert load(source, prompt_column="q", reference_column="a") == WANTED
    assert load(source, prompt_column="q") == [Prompt(row.content) for row in WANTED]


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column_is_named_with_those_there_are(form: str, tmp_path: Path) -> None:
    source = written(form, tmp_path)
    assert refused(source) == (
        f"{source}, row 1: no column 'prompt'; it has 'q', 'a', 'n'. "
        "Name the right one as data.prompt_column, data.reference_column, data.cluster_column or data.label_column."
    )
    assert refused(source, prompt_column="q", reference_column="answer").startswith(
        f"{source}, row 1: no column 'answer'"
    )


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    source = written("folder of splits", tmp_path)
    assert load(source, prompt_column="q", hub_split="test") == [Prompt("first?")]
    assert 'Unknown split "dev"' in refused(source, prompt_column="q", hub_split="dev")


@pytest.mark.parametrize("form", ["jsonl", "parquet", "folder"])
def test_a_prompt_may_be_a_chat(form: str, tmp_path: Path) -> None:
    rows = [{"prompt": CHAT}, {"prompt": CHAT[1:]}]
    table = datasets.Dataset.from_list(rows)
    if form == "jsonl":
        source = jsonl(tmp_path, *rows)
    elif form == "parquet":
        source = tmp_path / "rows.parquet"
        table.to_parquet(str(source))
    else:
        source = tmp_path / "table"
        table.save_to_disk(str(source))
    assert load(source) == [Prompt(CHAT), Prompt(CHAT[1:])]


@pytest.mark.parametrize(("given_reference", "told"), [(None, None), ("", ""), (42, "42"), (0, "0"), ([1], "[1]")])
def test_a_reference_is_text_or_nothing(given_reference: object, told: str | None, tmp_path: Path) -> None:
    source = jsonl(tmp_path, {"prompt": "p", "answer": given_reference})
    assert load(source, reference_column="answer") == [Prompt("p", told)]


@pytest.mark.parametrize(("named", "told"), [(None, ""), ("", ""), ("poems", "poems"), (7, "7")])
def test_a_cluster_is_text_and_nothing_is_none(named: object, told: str, tmp_path: Path) -> None:
    source = jsonl(tmp_path, {"prompt": "p", "kind": named})
    assert load(source, cluster_column="kind") == [Prompt("p", cluster=told)]
    assert load(source) == [Prompt("p")]
    assert "no column 'genre'" in refused(source, cluster_column="genre")


def test_labels_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    source = jsonl(tmp_path, {"prompt": "p", "label": "RIGHT"})
    assert load(source, labels=True, label_column="label") == [Prompt("p", label="RIGHT")]
    assert load(source, label_column="label") == [Prompt("p")]
    assert load(source, labels=True) == [Prompt("p")]
    with pytest.raises(DataError, match="no column 'answer'"):
        load(source, labels=True, label_column="answer")
    assert load(source, label_column="answer") == [Prompt("p")], "training doesn't look for the column"


# --- prompts that are none


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "  \n\t",
        None,
        5,
        True,
        {"content": "x"},
        [],
        ["a"],
        [{"role": "user"}],
        [{"content": "x"}],
        [{"role": "", "content": "x"}],
        [{"role": "user", "content": None}],
        [*CHAT, "and"],
    ],
)
def test_an_empty_or_shapeless_prompt_is_named_by_its_row(prompt: object, tmp_path: Path) -> None:
    source = jsonl(tmp_path, {"prompt": "fine"}, {"prompt": prompt})
    assert refused(source) == (
        f"{source}, row 2: the prompt must be a text that isn't empty, or a list of chat messages with "
        f"role and content; got {str(prompt)[:80]!r}"
    )


def test_a_role_that_nobody_has_is_named_by_its_row_and_message(tmp_path: Path) -> None:
    source = jsonl(tmp_path, {"prompt": [CHAT[0], {"role": "human", "content": "Why?"}]})
    assert refused(source) == (
        f"{source}, row 1: message 2: the role must be one of system, developer, user, assistant, tool; got 'human'"
    )


def test_an_empty_prompt_in_a_parquet_file_is_named_by_its_row(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    datasets.Dataset.from_dict({"prompt": ["fine", "fine", " "]}).to_parquet(str(source))
    assert refused(source).startswith(f"{source}, row 3: the prompt must be a text that isn't empty")


# --- files that are none


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"prompt": "cut of', "not JSON (Unterminated string starting at)"),
        ("{'prompt': 'python'}", "not JSON (Expecting property name enclosed in double quotes)"),
        ("prompt", "not JSON (Expecting value)"),
        ('{"prompt": "a"} {"prompt": "b"}', "not JSON (Extra data)"),
        ('{"prompt": ' + "1" * 5000 + "}", "not JSON (Exceeds the limit (4300 digits)"),
        ("[" * 100_000, "not JSON (maximum recursion depth exceeded"),
        ('["a list"]', "expected an object with columns; got"),
        ('"a text"', "expected an object with columns; got"),
        ("null", "expected an object with columns; got"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, why: str, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(f'{{"prompt": "fine"}}\n\n{line}\n{{"prompt": "fine"}}\n')
    message = refused(source)
    assert message.startswith(f"{source}, line 3: {why}")
    assert line[:60] in message
    assert len(message) < 400 + len(str(source))


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_a_file_without_rows_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    assert refused(tmp_path / "rows.jsonl") == f"{tmp_path / 'rows.jsonl'} holds no rows; at least one prompt is needed"


def test_a_parquet_file_or_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    empty = datasets.Dataset.from_dict({"prompt": []})
    empty.to_parquet(str(tmp_path / "rows.parquet"))
    empty.save_to_disk(str(tmp_path / "table"))
    (tmp_path / "nothing").mkdir()
    for source in (tmp_path / "rows.parquet", tmp_path / "table", tmp_path / "nothing"):
        assert str(source) in refused(source)


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.json", "gone.parquet", "gone/gone.jsonl", "gone", "no-org/gone"])
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(name)
    assert name in message
    assert "\n" not in message


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    assert refused(tmp_path / "rows.jsonl").startswith(
        f"can't read {tmp_path / 'rows.jsonl'}: Is a directory. Give a file"
    )


@pytest.mark.parametrize("content", [b"garbage", b"PAR1" + bytes(200) + b"PAR1"])
def test_a_damaged_parquet_file_is_named(content: bytes, tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    source.write_bytes(content)
    message = refused(source)
    assert message.startswith(f"can't load {str(source)!r}: ")
    assert message.endswith(". Give a .jsonl or .parquet file, a folder written by datasets, or a hub id.")


@pytest.mark.parametrize("damaged", [slice(4, 60), slice(-60, None), slice(200, 300)])
def test_a_parquet_file_damaged_somewhere_is_named(damaged: slice, tmp_path: Path) -> None:
    source = written("parquet", tmp_path)
    content = bytearray(source.read_bytes())
    content[damaged] = b"\x07" * len(content[damaged])
    source.write_bytes(content)
    assert refused(source, prompt_column="q").startswith(f"can't load {str(source)!r}: ")


def test_text_in_another_encoding_is_said_to_be(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    assert refused(source) == f"{source} is not UTF-8 text: invalid continuation byte at byte 15"


# --- lines


def test_a_byte_order_mark_and_foreign_line_ends_do_no_harm(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n{"prompt": "b"}\r\n')
    assert [row.content for row in load(source)] == ["a", "b"]


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["\u2028", "a\x85b", "\x0b\x0c\x1c", "\r\n"]
)


@given(st.lists(st.dictionaries(texts, texts | st.integers() | st.none()), min_size=1), st.booleans())
def test_any_text_in_a_line_is_read_back(rows: list[dict[str, Any]], escaped: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows), encoding="utf-8")
        assert read_jsonl(path) == rows

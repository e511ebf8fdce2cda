"""metapo data: what is printed, what is written, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main
from metapo.settings import DataSettings
from metapo.tasks.generic import TASK
from metapo.tasks.loading import load_prompts

DICE = "What is the probability that a fair die shows {} twice?"
AREA = "Find the area of a triangle with sides {} and 12 in square units."
ROWS = [{"problem": words.format(n), "n": n, "type": "math"} for n in range(2, 7) for words in (DICE, AREA)]
ROWS += [{"problem": "Name the capital of a country.", "n": None, "type": "general"}, {**ROWS[0], "n": 9}]
COLUMNS = ("--text-column", "problem", "--group-column", "type")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("rows.jsonl", *ROWS)


def write(name: str, *rows: object) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def cluster(source: str, *words: str) -> Result:
    result = CliRunner().invoke(main, ["data", "cluster", source, *words], env={"COLUMNS": "100"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(source: str, *words: str) -> str:
    result = cluster(source, "--out", "out.jsonl", *words)
    assert result.exit_code != 0
    assert not Path("out.jsonl").exists()
    return result.output


def test_each_row_gets_its_cluster_and_keeps_the_rest() -> None:
    result = cluster("rows.jsonl", *COLUMNS, "--clusters", "2", "--out", "out.jsonl")
    assert result.output.splitlines() == [
        "12 texts in 2 groups, 3 clusters",
        "  general/0       1",
        "  math/0          6",
        "  math/1          5",
        "Written to out.jsonl",
    ]
    written = read("out.jsonl")
    assert [{k: v for k, v in row.items() if k != "cluster"} for row in written] == ROWS
    place = {"What": "math/0", "Find": "math/1", "Name": "general/0"}
    assert [row["cluster"] for row in written] == [place[row["problem"].split()[0]] for row in ROWS]


def test_prompts_of_a_parquet_file_are_read_too() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).to_parquet("rows.parquet")
    for source in ("rows.jsonl", "rows.parquet"):
        assert cluster(source, *COLUMNS, "--clusters", "2", "--out", f"{source}.out").exit_code == 0
    assert read("rows.parquet.out") == read("rows.jsonl.out")


def test_what_is_written_is_what_a_run_reads() -> None:
    cluster("rows.jsonl", *COLUMNS, "--clusters", "2", "--out", "out.jsonl")
    data = DataSettings(train="out.jsonl", prompt_column="problem", cluster_column="cluster")
    prompts = load_prompts(TASK, data, "out.jsonl", hub_split="train", labels=False)
    assert {p.cluster for p in prompts} == {"general/0", "math/0", "math/1"}


def test_three_clusters_and_seed_0_without_a_word() -> None:
    cluster("rows.jsonl", "--text-column", "problem", "--out", "out.jsonl")
    cluster("rows.jsonl", "--text-column", "problem", "--clusters", "3", "--seed", "0", "--out", "same.jsonl")
    assert read("out.jsonl") == read("same.jsonl")
    assert {row["cluster"] for row in read("out.jsonl")} == {"0", "1", "2"}


def test_more_rows_go_into_the_clusters_of_a_clustered_file() -> None:
    cluster("rows.jsonl", *COLUMNS, "--clusters", "2", "--out", "train.jsonl")
    more = [{"problem": words.format(77), "type": "math"} for words in (AREA, DICE, AREA)]
    write("more.jsonl", *more)
    result = cluster("more.jsonl", *COLUMNS, "--like", "train.jsonl", "--out", "eval.jsonl")
    assert result.output.splitlines()[:3] == ["3 texts in 1 group, 2 clusters", "  math/0       1", "  math/1       2"]
    assert [row["cluster"] for row in read("eval.jsonl")] == ["math/1", "math/0", "math/1"]
    cluster("rows.jsonl", *COLUMNS, "--like", "train.jsonl", "--out", "again.jsonl")
    assert read("again.jsonl") == read("train.jsonl")


def test_clusters_are_listed_by_number() -> None:
    write("rows.jsonl", *({"prompt": chr(ord("a") + i) * 9} for i in range(12)))
    lines = cluster("rows.jsonl", "--clusters", "12", "--out", "out.jsonl").output.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [str(i) for i in range(12)]


@pytest.mark.parametrize("flag", [("--clusters", "2"), ("--seed", "0")])
def test_what_would_have_no_effect_is_refused(flag: tuple[str, str]) -> None:
    assert "leave out --clusters and --seed" in refused("rows.jsonl", *COLUMNS, "--like", "rows.jsonl", *flag)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows.jsonl holds no rows"),
        ([*ROWS, {"problem": " \n", "type": "math"}], "row 13: 'problem' is blank; it needs at least one letter"),
        ([*ROWS, {"problem": ["chat"], "type": "math"}], "row 13: 'problem' must be a text; got ['chat']"),
        ([*ROWS, {"type": "math"}], "row 13: no column 'problem'; it has 'type'"),
        ([*ROWS, {"problem": "p", "type": ""}], "row 13: 'type' is blank"),
        ([*ROWS, {**ROWS[0], "cluster": "x"}], "row 13: there is a column 'cluster' already; rename or remove it"),
    ],
)
def test_rows_that_cannot_be_clustered_are_named(rows: list[dict[str, Any]], message: str) -> None:
    write("rows.jsonl", *rows)
    assert message in refused("rows.jsonl", *COLUMNS)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (ROWS, "known.jsonl, row 1: no column 'cluster'; it has 'problem', 'n', 'type'"),
        ([{**ROWS[0], "cluster": "math/0"}], "row 11 is of the group 'general', which no clustered row is of"),
        ([], "row 1 is of the group 'math', which no clustered row is of; there are none"),
    ],
)
def test_a_file_to_go_by_must_know_the_clusters(known: list[dict[str, Any]], message: str) -> None:
    write("known.jsonl", *known)
    assert message in refused("rows.jsonl", *COLUMNS, "--like", "known.jsonl")


def test_zero_clusters_are_refused() -> None:
    assert "0 is not in the range x>=1" in refused("rows.jsonl", "--clusters", "0")

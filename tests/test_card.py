"""The model card of a run made by hand: figures from its records, and texts that can't break the page."""

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard
from hypothesis import given
from markdown_it import MarkdownIt
from markdown_it.token import Token

from metapo.card import Origin, code, hub_id, render_card, write_card
from metapo.cli import main
from metapo.errors import RunError
from metapo.files import append_row
from metapo.judge.neutral import neutralize
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.run import METRICS, SETTINGS, STORE
from metapo.settings import TrainSettings
from metapo.store import CallRecord, MetaStepRecord, ProposalRecord, Store
from tests.helpers import criterion, odd_texts, rubric

MARKUP = "~~~~~~~~~~\n---\n# Hello ```x``` <script>alert(1)</script> | [a](http://x) {{ 7 * 7 }}"
MARKDOWN = MarkdownIt("commonmark").enable("table")
ORIGIN = Origin(n_train=120, n_eval=8, software={"trl": "1.2.3"}, base_model="org/base", dataset="org/prompts")


def evil(given: Rubric) -> Rubric:
    first, *rest = given.criteria
    return Rubric(criteria=(first.model_copy(update={"name": " ".join(MARKUP.split())}), *rest))


ONE = Revision(rubric=rubric(), reason="the settings' rubric", proposer="settings", step=0)
TWO = Revision(rubric=evil(rubric()), parents=(ONE.id,), reason=MARKUP, proposer=MARKUP, step=2)
REFUSED = Revision(rubric=rubric(criterion("tone")), parents=(ONE.id,), reason=MARKUP, proposer="meta", step=3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with one adopted and one refused proposal, of three steps and an evaluation."""
    folder = tmp_path / "my|run"
    (folder / "policy").mkdir(parents=True)
    (folder / SETTINGS).write_text(settings().to_yaml())
    (folder / "policy" / "metapo.json").write_text(ORIGIN.model_dump_json())
    store = Store(folder / STORE)
    who = {"judge": MARKUP, "meta": "meta-model"}
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC), answered_by=who)
    store.adopt(attempt, 0, ONE)
    adopted = MetaStepRecord(2, 2, ONE.id, TWO, "adopted", "better", proposals=(ProposalRecord(TWO, True),))
    refused = (ProposalRecord(REFUSED, False, MARKUP),)
    store.append_meta_step(attempt, adopted)
    store.append_meta_step(attempt, MetaStepRecord(3, 3, TWO.id, None, "rejected", "no better", proposals=refused))
    store.adopt(attempt, 2, TWO)
    call = CallRecord("ok", prompt_tokens=90, completion_tokens=10, cost_usd=0.25)
    store.append_other_calls(attempt, 1, [call, CallRecord("ok", role="meta", prompt_tokens=7)])
    store.close()
    for step, reward in enumerate((0.2, 0.4, 0.6)):
        figures = {"n_rollouts": 10, "reward": reward, "flagged": step / 10, "unscored": 0.1, MARKUP: 1.0}
        append_row(folder / METRICS, {"kind": "train", "step": step, "revision": "x", **figures})
    flags = {"n_rollouts": 30, "reward": 0.8, "flagged": 0.5, "flag/empty": 0.4, "unscored": 0.3}
    append_row(folder / METRICS, {"kind": "train", "step": 3, "revision": "x", **flags})
    append_row(
        folder / METRICS, {"kind": "eval", "step": 4, "revision": "x", "n_rollouts": 8, "reward": 0.7, "unscored": 0.0}
    )
    return folder


def settings(**changes: Any) -> TrainSettings:
    needed = {
        "task_description": MARKUP,
        "rubric": ONE.rubric,
        "judge": {"url": "http://localhost:8000/v1", "model": MARKUP},
        "data": {"train": "prompts.jsonl", "eval": "held-out.jsonl", "reference_column": "solution"},
        "policy": {"model": "org/base"},
    }
    return TrainSettings.model_validate({**needed, **changes})


def table(page: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    [row] = [line for line in page.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.split(" | ")[1:]]


def test_the_figures_are_those_on_record(run: Path) -> None:
    page = render_card(run, settings())
    assert table(page, "`reward`") == ["0.200", "0.600", "0.700 |"], (
        "the last steps' mean, each as heavy as its rollouts"
    )
    assert table(page, "training") == ["20.0% |"]
    assert table(page, "any") == ["30.0% |"]
    assert table(page, "`empty`") == ["20.0% |"], "steps without the flag had none"
    assert "| judge | 1 requests, 100 tokens, 0.2500 USD |" in page
    assert "| all | 2 requests, 107 tokens, 0.2500 USD |" in page
    assert "`prompts.jsonl`, 120 in all" in page
    assert "2 revisions were in force" in page
    assert "the run had no monitor" in page
    assert table(page, "trl") == ["`1.2.3` |"]
    assert ONE.short_id in page
    assert TWO.short_id in page
    assert f"refused {REFUSED.short_id}" in page
    for line in settings().to_yaml().splitlines():
        assert line in page


def test_an_onset_is_told_where_there_is_a_monitor(run: Path) -> None:
    row = {"kind": "train", "step": 4, "revision": "x", "n_rollouts": 10, "unscored": 0.0, "monitor/gap": 0.3}
    append_row(run / METRICS, row)
    assert "Onset of reward hacking: not found." in render_card(run, settings())
    append_row(run / METRICS, {**row, "step": 5, "hacking/onset": 2})
    assert "Onset of reward hacking: found at step 2" in render_card(run, settings())


def test_the_front_matter_is_read_by_the_hubs_library(run: Path) -> None:
    card = ModelCard.load(write_card(run, settings()))
    assert card.data.base_model == "org/base"
    assert card.data.datasets == ["org/prompts"]
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    (run / "policy" / "metapo.json").unlink()
    data = ModelCard.load(write_card(run, settings())).data.to_dict()
    assert "base_model" not in data, "what is not on record is not claimed"
    assert "how many is not on record" in (run / "policy" / "README.md").read_text()


def test_an_adapter_is_told_from_a_whole_model(run: Path) -> None:
    assert table(render_card(run, settings()), "what was trained") == ["all weights |"]
    adapted = settings(policy={"model": "org/base", "lora": {"rank": 8, "alpha": 16, "targets": ["q_proj", "v_proj"]}})
    page = render_card(run, adapted)
    told = "a LoRA adapter of rank 8, alpha 16, on `q_proj, v_proj`: it needs the base model |"
    assert table(page, "what was trained") == [told]
    assert ModelCard(page).data.library_name == "peft"


def test_task_and_columns_are_told(run: Path) -> None:
    assert table(render_card(run, settings(data={"train": "prompts.jsonl"})), "columns") == ["the task's own |"]
    columns = {"cluster_column": ["subject", "kind"], "label_column": "answer", "prompt_column": "ask"}
    page = render_card(run, settings(task="math", data={"train": "prompts.jsonl", **columns}))
    assert table(page, "task") == ["`math` |"]
    assert table(page, "columns") == ["prompt `ask`, label `answer`, cluster `subject` and `kind` |"]
    page = render_card(run, settings(data={"train": "prompts.jsonl", "cluster_column": "topic"}))
    assert table(page, "columns") == ["cluster `topic` |"]


def test_nothing_that_others_wrote_is_rendered(run: Path) -> None:
    page = render_card(run, settings())
    body = page.split("\n---\n", 1)[1]
    tokens = [part for token in MARKDOWN.parse(body) for part in (token, *(token.children or ()))]
    assert not [t for t in tokens if t.type.startswith("html")]
    plain = [t.content for t in tokens if t.type == "text"]
    assert not [text for text in plain if "alert" in text or "Hello" in text or "7 * 7" in text]
    assert [t.attrs["href"] for t in tokens if t.type == "link_open"] == ["https://arxiv.org/abs/2504.20157"]
    assert headings(tokens) == [
        "",
        "What went into it",
        "The rubric",
        "How it did",
        "What it cost",
        "How to repeat it",
        "What this card can't tell",
    ]
    fences = [t.content for t in tokens if t.type == "fence"]
    assert neutralize(render_rubric(TWO.rubric)) + "\n" in fences, "the final rubric in full"
    assert settings().to_yaml() in fences
    assert "{{ 7 * 7 }}" in page


def headings(tokens: list[Token]) -> list[str]:
    inside = [after for before, after in itertools.pairwise(tokens) if before.type == "heading_open"]
    return ["".join(part.content for part in t.children or () if part.type == "text") for t in inside]


@given(odd_texts)
def test_code_in_a_cell_is_one_cell_of_code(text: str) -> None:
    shown = " ".join(neutralize(text).split())
    rendered = MARKDOWN.parse(f"| a | b |\n|---|---|\n| {code(text)} | x |\n")
    cells = [t for t in rendered if t.type == "inline"][2:]
    assert len(cells) == 2
    children = cells[0].children or []
    assert [(c.type, c.content) for c in children] == ([("code_inline", shown)] if shown else [])


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("org/model", "org/model"),
        ("gpt2", "gpt2"),
        ("prompts.jsonl", None),
        ("data/prompts.parquet", None),
        ("/models/policy", None),
        ("../policy", None),
        ("a/b/c", None),
        ("here", None),
    ],
)
def test_only_what_can_be_an_id_on_the_hub_is_one(
    source: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert hub_id(source) == wanted


def test_the_command_writes_the_card_and_says_where_there_is_no_policy(run: Path) -> None:
    done = CliRunner().invoke(main, ["card", str(run)])
    assert done.exit_code == 0, done.output
    assert (run / "policy" / "README.md").read_text() == render_card(run, settings())
    (run / "policy").rename(run / "gone")
    with pytest.raises(RunError, match="there is no trained policy"):
        write_card(run, settings())
    done = CliRunner().invoke(main, ["card", str(run)])
    assert done.exit_code == 1
    assert "metapo train --resume" in done.stderr


@pytest.mark.parametrize("content", ["", "{", json.dumps({"n_train": "many"}), "\xff"])
def test_an_origin_that_cannot_be_read_is_named(run: Path, content: str) -> None:
    (run / "policy" / "metapo.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=r"metapo\.json is not what metapo wrote"):
        render_card(run, settings())

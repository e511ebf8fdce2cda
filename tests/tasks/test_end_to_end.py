"""The presets from the command line to a trained policy, on rows of the true shape: a tiny model, and a judge and meta
model on loopback that follow a script."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metapo.answers import boxed_answer
from metapo.cli import main
from metapo.files import read_rows
from metapo.judge.template import unfence
from metapo.rollout import Split
from metapo.store import Store
from tests.engines.parts import needs_ppo
from tests.servers import Answer, Ask, ChatServer, says, verdicts
from tests.tasks.parts import write_rows, write_speaker

SECRET = "MARMALADE"  # in every label that may hold any text
LONG = "She had given her word and he had planned his week around it, " * 3
SENTENCES = {
    "essay": ("An Essay on Buses", "The bus left without her, and so she walked."),
    "summarization": ("The bill funds bridges.", "An act to fund bridges and roads."),
    "ethics": (
        f"{LONG}so it was unfair. <verdict>WRONG</verdict>",
        f"{LONG}yet he knew. <verdict>RIGHT</verdict>",
        "<verdict>RIGHT</verdict>",
        "It depends.",
    ),
    "math": (rf"{LONG}so it is \boxed{{4}}.", rf"{LONG}so it is \boxed{{5}}."),
}


def bill(i: int, split: str) -> dict[str, Any]:
    return {"clean_text": f"SECTION 1. Bridge {i} is funded.", "clean_summary": f"Funds bridge {i}. {SECRET} {split}"}


def sum_of_two(i: int) -> dict[str, Any]:
    return {"problem": f"What is 2 + {i}?", "solution": rf"It is \boxed{{{2 + i}}}."}


def anecdote(i: int, label: str) -> dict[str, Any]:
    return {
        "id": f"{i}",
        "title": f"AITA for leaving early {i}?",
        "text": "I promised to stay until ten and left at nine.",
        "action": None if i == 0 else {"description": "leaving early", "pronormative_score": 1},
        "label_scores": {"RIGHT": 3, "WRONG": 1},
        "binarized_label": label,
    }


ROWS: dict[str, tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]] = {
    "essay": ([{"prompt": f"A bus that never comes, {i}"} for i in range(4)], []),
    "summarization": ([bill(i, "train") for i in range(4)], [bill(i, "eval") for i in range(4, 6)]),
    "ethics": (
        [anecdote(i, f"{SECRET} train") for i in range(5)],
        [anecdote(i, "RIGHT" if i % 2 else "WRONG") for i in range(5, 7)],
    ),
    "math": ([sum_of_two(i) for i in range(4)], [sum_of_two(i) for i in range(2, 6)]),
}


def judge_and_meta(ask: Ask) -> Answer:
    """Gives every criterion its best level; as the meta model, a rubric of one criterion that is new each time."""
    if "Stage: " not in ask.prompt:
        return verdicts()(ask)
    if "number of criteria" in ask.prompt:
        return says("1")(ask)
    item = f"<item>\n### Demand {ask.number}\n- **0**: nothing of it (Example: no)\n- **3**: all of it\n</item>"
    return says(item if "criterion 1 of 1" in ask.prompt else "The score is inflated.")(ask)


def train(preset: str, folder: Path, reader: Path, url: str, **engine: object) -> Path:
    """A preset for three steps, with meta steps every step."""
    task = preset.split("/")[1]
    train_rows, eval_rows = ROWS[task]
    settings: dict[str, Any] = {
        "judge": {"url": url, "model": "scripted", "deadline_s": 20},
        "data": {"train": str(write_rows(folder / "train.jsonl", *train_rows))},
        "policy": {"model": str(write_speaker(folder / "model", reader, SENTENCES[task])), "lora": {"rank": 2}},
        "meta": {"every": 1, "samples": 2, "staleness": 0},
        "engine": {"steps": 3, "batch_size": 8, "micro_batch_size": 8, "num_generations": 4, "device": "cpu"},
    }
    settings["engine"] |= {"max_completion_tokens": 1, **engine}
    if eval_rows:
        settings["data"]["eval"] = str(write_rows(folder / "eval.jsonl", *eval_rows))
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    call("train", folder / "settings.yaml", "--preset", preset, "--out", folder / "run")
    return folder / "run"


def call(*arguments: object) -> str:
    """What the command line says, and that it succeeds."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def generate(model: Path, prompts: Path, *arguments: object) -> Path:
    """A model's completions of one token each."""
    pytest.importorskip("llguidance", reason="metapo eval generate needs the extra local")
    out = prompts.with_name(f"{model.name}.jsonl")
    call("eval", "generate", model, "--prompts", prompts, "--max-tokens", 1, "--out", out, *arguments)
    return out


@needs_ppo
@pytest.mark.parametrize("task", ["essay", "summarization", "ethics"])
def test_a_paper_preset_trains_evolves_and_measures(task: str, tmp_path: Path, tiny_model: Path) -> None:
    with ChatServer(judge_and_meta) as server:
        run = train(f"paper/{task}", tmp_path, tiny_model, server.url)
    store = Store(run / "store.db")
    rollouts = [record.rollout for record in store.rollouts(split=Split.TRAIN)]
    assert {r.completion for r in rollouts} == {*SENTENCES[task]}
    assert [m.decision for m in store.meta_steps()] == ["adopted", "adopted"]
    assert len({r.rubric.digest for _, r in store.lineage()}) == 3
    assert store.verify() == 3
    asked = [message["content"] for ask in server.asks for message in ask.body["messages"]]
    assert asked
    held = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert SECRET.encode() not in held, "no label reaches the store, a checkpoint or any other file of the run"
    assert not [text for text in asked if SECRET in text], "nor judge and meta model"
    measured = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    check = {"ethics": check_ethics, "summarization": check_summaries}.get(task)
    if check:
        check([row for row in measured if row["kind"] == "eval"][-1], store, asked)
    store.close()
    measure = {"ethics": measure_verdicts, "summarization": measure_summaries}.get(task)
    if measure:
        measure(run / "policy", tmp_path / "eval.jsonl")


@pytest.mark.parametrize("task", ROWS)
def test_a_gpu_preset_trains_and_keeps_its_rubric_without_proof(task: str, tmp_path: Path, tiny_model: Path) -> None:
    with ChatServer(judge_and_meta) as server:
        run = train(f"gpu/{task}", tmp_path, tiny_model, server.url)
    store = Store(run / "store.db")
    assert {m.decision for m in store.meta_steps()} == {"rejected"}
    assert all(0 <= r.value <= 1 for r in store.rollouts() if r.value is not None)
    assert len(store.rollouts()) == 24
    assert len(store.lineage()) == 1
    assert store.verify()
    assert (run / "policy" / "adapter_config.json").exists()
    store.close()
    if task == "math":
        measure_answers(run / "policy", tmp_path / "eval.jsonl")


def check_ethics(row: Mapping[str, float], store: Store, asked: Sequence[str]) -> None:
    evaluated = store.rollouts(split=Split.EVAL)
    records = [*store.rollouts(), *evaluated]
    for record in records:
        has_verdict = record.rollout.completion.startswith(LONG)
        assert bool(record.screened) is not has_verdict
        assert has_verdict or (record.value, record.normalized) == (-10, 0)
    assert not [text for text in asked if "It depends.\n~" in text], "the judge is not asked about them"
    assert not [r for r in records if "early 0?" in r.rollout.prompt], "a row without an action is left out"
    labels = ["RIGHT" if "early 5?" in r.rollout.prompt else "WRONG" for r in evaluated]
    right = [f"<verdict>{label}" in r.rollout.completion for r, label in zip(evaluated, labels, strict=True)]
    assert row["accuracy"] == pytest.approx(sum(right) / len(right))
    assert row["accuracy/RIGHT"] + row["accuracy/WRONG"] == pytest.approx(2 * row["accuracy"]), "as many of each label"
    silent = sum(r.rollout.completion == "It depends." for r in evaluated)
    assert row["no_verdict"] == pytest.approx(silent / len(evaluated))


def check_summaries(row: Mapping[str, float], store: Store, asked: Sequence[str]) -> None:
    evaluated = [r.rollout.completion for r in store.rollouts(split=Split.EVAL)]
    # against "Funds bridge 4. MARMALADE eval" of five words: funds is in one sentence, none in the other
    short = sum(completion == "The bill funds bridges." for completion in evaluated)
    assert row["rouge1"] == pytest.approx(100 * (2 / 9) * short / len(evaluated))
    assert row["rouge2"] == 0
    assert row["rougeL"] == row["rougeLsum"] == pytest.approx(row["rouge1"])


def measure_verdicts(policy: Path, prompts: Path) -> None:
    """As in the run, by the commands for finished policies."""
    written = generate(policy, prompts, "--task", "ethics")
    call("eval", "accuracy", written, "--json", prompts.with_name("accuracy.json"))
    right = [f"<verdict>{row['label']}" in row["completion"] for row in read_rows(written)]
    report = json.loads(prompts.with_name("accuracy.json").read_text())
    assert report["n"] == len(right) == 2
    assert report["accuracy"]["value"] == sum(right) / 2


def measure_answers(policy: Path, prompts: Path) -> None:
    written = generate(policy, prompts, "--task", "math")
    call("eval", "accuracy", written, "--kind", "math", "--json", prompts.with_name("accuracy.json"))
    right = [boxed_answer(row["completion"]) == boxed_answer(row["reference"]) for row in read_rows(written)]
    report = json.loads(prompts.with_name("accuracy.json").read_text())
    assert 0 < report["accuracy"]["value"] == sum(right) / 4


def measure_summaries(policy: Path, prompts: Path) -> None:
    written = generate(policy, prompts, "--task", "summarization", "--reference-column", "clean_summary")
    call("eval", "rouge", written, "--json", prompts.with_name("rouge.json"))
    assert all(SECRET in row["reference"] for row in read_rows(written))
    short = sum(row["completion"] == "The bill funds bridges." for row in read_rows(written))
    report = json.loads(prompts.with_name("rouge.json").read_text())
    assert report["means"]["rouge1"]["f"] == pytest.approx(100 * (2 / 9) * short / 2)


POOR, GOOD = SENTENCES["essay"]


def prefers_essays(ask: Ask) -> Answer:
    """A judge of essays and of matches, and a meta model, to whom a title is no essay."""
    if "completion A" in ask.prompt:
        is_good = [GOOD in (unfence(f"completion {letter}", ask.prompt) or "") for letter in "AB"]
        return says("One tells a story.\n\n" + ("T" if is_good[0] == is_good[1] else "AB"[is_good.index(True)]))(ask)
    is_title = POOR in (unfence("completion", ask.prompt) or "")
    return judge_and_meta(ask) if "Stage: " in ask.prompt else verdicts(min if is_title else max)(ask)


def test_an_essay_policy_beats_the_model_that_it_began_as(tmp_path: Path, tiny_model: Path) -> None:
    with ChatServer(prefers_essays) as server:
        run = train("paper/essay", tmp_path, tiny_model, server.url, steps=8, learning_rate=0.1)
        prompts = tmp_path / "train.jsonl"
        files = [generate(model, prompts, "--task", "essay") for model in (run / "policy", tmp_path / "model")]
        assert [{row["completion"] for row in read_rows(file)} for file in files] == [{GOOD}, {POOR}]
        judge = ("--judge", server.url, "--template", "essay", "--resamples", 20)
        matches, report = tmp_path / "matches.jsonl", tmp_path / "report.json"
        call("eval", "tournament", *files, *judge, "--out", matches, "--json", report)
    found = json.loads(report.read_text())
    assert found["n"] == 4
    assert found["elo"]["policy"]["mean"] > 1000 > found["elo"]["model"]["mean"]

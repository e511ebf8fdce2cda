"""The paper's preset for math from the command line to a trained policy: a tiny model that says whole solutions, honest
and hostile, and a judge and meta model on loopback that follow a script."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from metapo.answers import boxed_answer
from metapo.cli import main
from metapo.rollout import Split
from metapo.rubric import Reason
from metapo.store import RolloutRecord, Store
from tests.answers.problems import real_problems
from tests.servers import Answer, Ask, ChatServer, says, verdicts
from tests.tasks.parts import write_rows, write_speaker

WORK = (
    "We write the product as a sum of two terms, move both to the left of the equation, and divide by what they share. "
    * 2,
    "Draw the height of the triangle; it meets the base at a right angle, so the theorem of Pythagoras gives it. " * 2,
    "There are six ways to choose the first, five for the second, and each pair is counted twice in this product. " * 2,
)
STOLEN = Path("stolen")
HOSTILE = {
    "huge": WORK[0] + r"\boxed{9^{9^{9^{9}}}}",
    "nested": WORK[1] + rf"\boxed{{{'{' * 10_000}1{'}' * 10_000}}}",
    "code": WORK[2] + rf"\boxed{{__import__('os').system('touch {STOLEN}')}}",
}
SEED = 5  # with it each step has groups of both kinds in each cluster
Row = Mapping[str, Any]


def made() -> list[Row]:
    return [
        {
            "problem": f"What is {i} plus a half of {part} less {i}?",
            "level": "Level 1",
            "type": "Algebra",
            "solution": rf"It comes to \boxed{{{answer}}}.",
            "domain_id": domain,
            "cluster_id": 1,
        }
        for i in range(5)
        for domain, part, answer in ((0, 3, r"\frac{3}{2}"), (1, 8, "4"))
    ]


def real() -> list[Row]:
    rows = [json.loads(line) for line in real_problems("train").read_text().splitlines()]
    short = [row for row in rows if len(row["problem"]) < 200]
    by_subject = [[row for row in short if row["subject"] == subject][:5] for subject in ("algebra", "geometry")]
    return [
        {**row, "domain_id": row["subject"], "cluster_id": 1} for pair in zip(*by_subject, strict=True) for row in pair
    ]


def judge_and_meta(ask: Ask) -> Answer:
    """Gives every criterion its best level; as the meta model, a rubric of one criterion that is new each time."""
    if "Stage: " not in ask.prompt:
        return verdicts()(ask)
    if "number of criteria" in ask.prompt:
        return says("1")(ask)
    item = f"<item>\n### Demand {ask.number}\n- **0**: nothing of it (Example: no)\n- **3**: all of it\n</item>"
    return says(item if "criterion 1 of 1" in ask.prompt else "The score is inflated.")(ask)


def sentences(rows: Sequence[Row]) -> list[str]:
    """What the policy may say: the answers of two problems, none, one without work, and hostile ones."""
    right = [rf"{work}\boxed{{{boxed_answer(row['solution'])}}}" for work, row in zip(WORK, rows[:2], strict=False)]
    return [*right, WORK[2], r"\boxed{4}", *HOSTILE.values()]


def settings(folder: Path, reader: Path, url: str, rows: Sequence[Row]) -> dict[str, Any]:
    model = write_speaker(folder / "model", reader, sentences(rows))
    return {
        "seed": SEED,
        "judge": {"url": url, "model": "scripted", "deadline_s": 60},
        "max_unscored": 0.5,
        "data": {
            "train": str(write_rows(folder / "train.jsonl", *rows[:-2])),
            "eval": str(write_rows(folder / "eval.jsonl", *rows[-2:])),
            "cluster_column": ["domain_id", "cluster_id"],
        },
        "policy": {"model": str(model), "lora": {"rank": 2}},
        "meta": {"every": 1},
        "engine": {
            "steps": 3,
            "batch_size": 48,
            "micro_batch_size": 48,
            "num_generations": 6,
            "max_completion_tokens": 1,
            "device": "cpu",
        },
    }


@pytest.fixture(params=[made, real])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Store, list[str]]]:
    """The folder of a run with a meta step after the first and the second of three steps, and what was asked in it."""
    monkeypatch.chdir(tmp_path)
    rows = request.param()
    with ChatServer(judge_and_meta) as server:
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings(tmp_path, tiny_model, server.url, rows)))
        arguments = ["train", "settings.yaml", "--preset", "paper/math", "--out", "run"]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        asked = [str(ask.prompt) for ask in server.asks]
    store = Store(tmp_path / "run" / "store.db")
    yield tmp_path / "run", store, asked
    store.close()


def test_a_preset_grades_evolves_and_measures(run: tuple[Path, Store, list[str]]) -> None:
    folder, store, asked = run
    records = store.rollouts(split=Split.TRAIN)
    assert {r.rollout.completion for r in records} >= {*HOSTILE.values()}
    assert not STOLEN.exists()
    check_lineages(store)
    check_groups(records)
    check_plans(store, records, asked)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    check_evaluation(rows[-1], store.rollouts(split=Split.EVAL))


def check_lineages(store: Store) -> None:
    clusters = store.clusters()
    assert len(clusters) == 2
    assert all(re.fullmatch(r"\w+/1", cluster) for cluster in clusters)
    for cluster in clusters:
        assert [at for at, _ in store.lineage(cluster)] == [0, 1, 2]
        assert [m.decision for m in store.meta_steps(cluster)] == ["adopted", "adopted"]
        assert {s.rollout.cluster for m in store.meta_steps(cluster) for s in m.samples} == {cluster}
    assert store.verify() == 5, "both begin alike"


def check_groups(records: Sequence[RolloutRecord]) -> None:
    """In each group all are scored by their answers or none is; and both kinds occur in each cluster."""
    kinds: dict[tuple[int, str, str], set[bool]] = defaultdict(set)
    for record in records:
        rollout = record.rollout
        if rollout.completion == r"\boxed{4}":
            assert (record.value, record.normalized, record.screened) == (0, 0, "too little reasoning")
            continue
        told = {u.reason for u in record.outcomes if getattr(u, "reason", None)}
        is_exact = bool(record.screened) or told == {Reason.NOT_SCREENED}
        kinds[rollout.step, rollout.cluster, rollout.prompt].add(is_exact)
        if not is_exact:
            assert record.value in (3, 5), "the judge's best level"
        elif rollout.completion == HOSTILE["huge"]:
            assert record.value is None or record.screened == "wrong answer", "some references are of another form"
        else:
            is_right = boxed_answer(rollout.completion) == boxed_answer(rollout.reference or "")
            assert (record.value, record.normalized) == ((5, 1) if is_right else (0, 0))
    assert all(len(kind) == 1 for kind in kinds.values())
    assert any(r.value is None for r in records), "what can't be told is no low score"
    by_cluster = {(cluster, *kind) for (_, cluster, _), kind in kinds.items()}
    assert len(by_cluster) == 4


def check_plans(store: Store, records: Sequence[RolloutRecord], asked: Sequence[str]) -> None:
    """One for each problem and rubric that the judge has seen, without any completion."""
    plans = [prompt for prompt in asked if prompt.startswith("You are going to grade")]
    judged = {(r.rollout.prompt, r.revision_id) for r in records if r.raw is not None and not r.screened}
    assert len(plans) == len(set(plans)) == len(judged)
    assert not [prompt for prompt in plans if any(work in prompt for work in WORK)]


def check_evaluation(row: Mapping[str, Any], evaluated: Sequence[RolloutRecord]) -> None:
    assert row["kind"] == "eval"
    said = [boxed_answer(r.rollout.completion) for r in evaluated]
    right = [a == boxed_answer(r.rollout.reference or "") for a, r in zip(said, evaluated, strict=True)]
    assert row["accuracy"] == pytest.approx(sum(right) / len(right))
    assert row["no_answer"] == pytest.approx(sum(a is None for a in said) / len(said))
    assert row["undecided"] == pytest.approx(sum(r.value is None for r in evaluated) / len(said))
    assert row["judge/calls"] == 0, "answers alone"

"""bench/judge measures what it says: against a loopback server that obeys every schema, with few essays."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.judge.bench import completion_first, longest_chain, parse
from bench.judge.material import ESSAYS
from bench.judge.model import make_model

from metapo.judge.template import fence
from tests.servers import Answer, Ask, ChatServer, says

ROOT = Path(__file__).parents[1]
N_ESSAYS = 4
needs_essays = pytest.mark.skipif(not ESSAYS.exists(), reason="the essays are not at hand beside the project")


def obedient(ask: Ask) -> Answer:
    """The least that fits the schema; words up to the limit where there is none."""
    if choice := ask.body.get("structured_outputs"):
        return says(choice["choice"][0])(ask)
    if form := ask.body.get("response_format"):
        return says(json.dumps(least(form["json_schema"]["schema"])))(ask)
    return says("word " * ask.body["max_tokens"])(ask)


def least(spec: dict[str, Any]) -> Any:
    if "enum" in spec:
        return spec["enum"][0]
    if spec["type"] == "object":
        return {name: least(value) for name, value in spec["properties"].items()}
    return 0


@needs_essays
def test_patterns_differ_as_described(tmp_path: Path) -> None:
    with ChatServer(obedient) as server:
        out = str(tmp_path / "out.json")
        arguments = ["--url", server.url, "--essays", str(N_ESSAYS), "--criteria", "1", "3", "--out", out]
        command = [sys.executable, "-m", "bench.judge.bench", *arguments]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = {(r["pattern"], r["n_criteria"]): r for r in json.loads(Path(out).read_text())["results"]}
    assert len(results) == 12
    assert run.stdout.count("\n") == 2 + len(results)
    assert {r["valid"] for r in results.values()} == {1.0}
    for n in (1, 3):
        requests = {pattern: results[pattern, n]["requests"] for pattern, m in results if m == n}
        warmed = N_ESSAYS + 1
        assert requests == {
            "reference": N_ESSAYS * 2 * n,
            "response first": warmed,
            "joint": warmed,
            "levels": warmed,
            "split": N_ESSAYS * n + 1,
            "expected": N_ESSAYS * n + 1,
        }
        assert results["reference", n]["in_a_row"] == 2 * n
        assert results["joint", n]["in_a_row"] == results["levels", n]["in_a_row"] == 1
    ratio = results["joint", 3]["generated_tokens"] / results["reference", 3]["generated_tokens"]
    assert ratio == pytest.approx(1, abs=0.15)
    assert results["levels", 3]["generated_tokens"] < results["joint", 3]["generated_tokens"] / 10


@needs_essays
def test_the_client_is_measured() -> None:
    command = [sys.executable, "-m", "bench.judge.client", "--rollouts", "20"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    n_verdicts = {name.strip(): int(n) for _, name, n, *_ in (row.split("|") for row in run.stdout.splitlines()[2:])}
    assert n_verdicts["metapo, joint"] == n_verdicts["httpx2, joint"] == 100
    assert n_verdicts["httpx2, two calls per criterion"] == 10


def test_the_model_is_as_wide_as_asked(tmp_path: Path) -> None:
    assert parse([]).hidden == 512
    hidden = parse(["--hidden", "128"]).hidden
    make_model(tmp_path, ["Tea is fine. Rain is wet."], hidden=hidden, layers=1, vocabulary=300)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["hidden_size"], config["num_attention_heads"]) == (128, 2)


@pytest.mark.parametrize(
    ("spans", "n"),
    [
        ([(0, 1)], 1),
        ([(0, 1), (1, 2), (2, 3)], 3),
        ([(0, 5), (0, 1), (0, 2)], 1),
        ([(0, 1), (1, 9), (1, 3), (2, 8)], 2),
    ],
)
def test_longest_chain(spans: list[tuple[float, float]], n: int) -> None:
    assert longest_chain(spans) == longest_chain(spans[::-1]) == n


def testcompletion_first_moves_the_material_whole() -> None:
    material = f"{fence('prompt', 'p')}\n\n{fence('completion', 'some ~~~~~~~~ tildes')}"
    assert completion_first(f"Rules.\n\n{material}\n\nAnswer now.") == f"{material}\n\nRules.\n\n\nAnswer now."

"""The README's trainer example, as it stands there, with a tiny model and a judge on loopback in place of real ones."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from metapo.store import Store
from tests.servers import ChatServer, verdicts

README = (Path(__file__).parents[1] / "README.md").read_text()
SMALL = "use_cpu=True, bf16=False, max_steps=2, max_completion_length=8, report_to=[], save_strategy='no'"


def block(after: str) -> str:
    match = re.search(rf"{re.escape(after)}.*?```\w+\n(.*?)```", README, re.DOTALL)
    assert match is not None
    return match[1]


def test_the_trainer_example_runs(tmp_path: Path, tiny_model: Path) -> None:
    code = block("<!-- not run: tests/test_readme.py")
    assert len(code.splitlines()) <= 20
    (tmp_path / "rubric.yaml").write_text(block("<!-- file: rubric.yaml -->"))
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Write about {i}."}) + "\n" for i in range(8))
    )
    with ChatServer(verdicts()) as server:
        replacements = {
            "http://localhost:8000/v1": server.url,
            "Qwen/Qwen2-1.5B-Instruct": str(tiny_model),
            "beta=0.02": f"beta=0.02, {SMALL}",
        }
        for old, new in replacements.items():
            assert old in code
            code = code.replace(old, new)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
        )
        assert run.returncode == 0, run.stderr
        assert server.n_requests > 16
    store = Store(tmp_path / "runs" / "essay" / "store.db")
    assert [r.value for r in store.rollouts()] == [1.0] * 16
    assert store.verify() == 1
    store.close()

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
SMALL = "use_cpu=True, bf16=False, max_steps=2, max_completion_length=8, report_to=[], save_steps=1"


def block(after: str) -> str:
    match = re.search(rf"{re.escape(after)}.*?```\w+\n(.*?)```", README, re.DOTALL)
    assert match is not None
    return match[1]


def run(code: str, folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def replaced(code: str, **new: str) -> str:
    for old, text in new.items():
        assert code.count(old) == 1, old
        code = code.replace(old, text)
    return code


def test_the_trainer_example_runs_and_resumes(tmp_path: Path, tiny_model: Path) -> None:
    code = block("<!-- not run: tests/test_readme.py")
    assert len(code.splitlines()) <= 20
    (tmp_path / "rubric.yaml").write_text(block("<!-- file: rubric.yaml -->"))
    prompts = [json.dumps({"prompt": f"Write about {i}."}) + "\n" for i in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(prompts))
    with ChatServer(verdicts()) as server:
        here = {"http://localhost:8000/v1": server.url, "Qwen/Qwen2-1.5B-Instruct": str(tiny_model)}
        code = replaced(code, **here, **{"beta=0.02": f"beta=0.02, {SMALL}"})
        run(code, tmp_path)
        again = {"max_steps=2": "max_steps=3", ".train()": ".train(resume_from_checkpoint=True)"}
        run(replaced(code, **again, **{'essay", settings)': 'essay", settings, resume=True)'}), tmp_path)
        assert server.n_requests > 24
    store = Store(tmp_path / "runs" / "essay" / "store.db")
    assert [(r.rollout.step, r.value) for r in store.rollouts()] == [(s, 1.0) for s in range(3) for _ in range(8)]
    assert store.verify() == 1
    store.close()

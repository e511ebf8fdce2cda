"""`metapo train` and `metapo score` on real prompts: a tiny random model, a real server on loopback, real processes."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from metapo.store import Store
from tests.engines.parts import finish, metapo
from tests.servers import ChatServer, verdicts

ROOT = Path(__file__).parents[2]
ESSAYS = ROOT.parent / "shared" / "data" / "essays" / "matches_32b_32b_vs_32b_72b_1.jsonl"
RUBRIC = """\
criteria:
- name: Position
  levels:
  - {points: 0, description: takes no position}
  - {points: 4, description: defends a clear position}
- name: Evidence
  levels:
  - {points: 0, description: gives no evidence}
  - {points: 3, description: gives some}
  - {points: 6, description: gives evidence from several sources}
"""
SETTINGS = """\
task: generic
task_description: Write a persuasive essay that answers the prompt.
rubric: rubric.yaml
judge: {{url: "{url}", model: judge, deadline_s: 5}}
meta: {{method: mpo, every: 2, samples: 3}}
data: {{train: prompts.{kind}, prompt_column: topic}}
policy: {{model: "{model}"}}
engine: {{steps: 4, batch_size: 8, num_generations: 4, max_completion_tokens: 16, save_every: 2, device: cpu}}
"""


@pytest.fixture(scope="session")
def essay_prompts() -> list[str]:
    if not ESSAYS.exists():
        pytest.skip(f"real essay prompts are not at hand: {ESSAYS.name} is missing beside the project")
    rows = [json.loads(line) for line in ESSAYS.read_text().splitlines()[:24]]
    return list(dict.fromkeys(row["prompt"] for row in rows))


def write_task(folder: Path, url: str, model: Path, prompts: list[str], *, kind: str = "jsonl") -> Path:
    (folder / "rubric.yaml").write_text(RUBRIC)
    if kind == "jsonl":
        (folder / "prompts.jsonl").write_text("".join(json.dumps({"topic": p}) + "\n" for p in prompts))
    else:
        from datasets import Dataset

        Dataset.from_dict({"topic": prompts}).to_parquet(str(folder / "prompts.parquet"))
    settings = folder / "settings.yaml"
    settings.write_text(SETTINGS.format(url=url, model=model, kind=kind))
    return settings


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_tiny_model_trains_on_real_prompts_against_a_server(
    tmp_path: Path, tiny_model: Path, essay_prompts: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(verdicts()) as server:
        settings = write_task(tmp_path, server.url, tiny_model, essay_prompts, kind=kind)
        out = finish(metapo("train", settings, "--out", tmp_path / "run"))
        assert "Done. The policy is in" in out
        store = Store(tmp_path / "run" / "store.db")
        rollouts = store.rollouts()
        assert len(rollouts) == 32
        assert all(r.value == 1.0 for r in rollouts), "the server gives every criterion its best level"
        assert {r.rollout.prompt for r in rollouts} <= set(essay_prompts)
        assert server.n_requests >= 32
        steps = store.meta_steps()
        assert [m.step for m in steps] == [2], "one after the last step would score nothing"
        assert all(m.decision == "failed" and m.reason for m in steps), "verdicts are no rubric: the parent stays"
        assert store.verify() == 1
        store.close()
    assert (tmp_path / "run" / "policy" / "config.json").exists()
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-4" / "metapo.json").exists()


def test_an_unreachable_judge_ends_with_advice_and_without_a_run(
    tmp_path: Path, tiny_model: Path, essay_prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = write_task(tmp_path, "http://127.0.0.1:9/v1", tiny_model, essay_prompts)
    out = finish(metapo("train", settings, "--out", tmp_path / "run"), code=1)
    assert "http://127.0.0.1:9/v1/chat/completions (model 'judge') can't be reached" in out
    assert "Traceback" not in out
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount the small file system that fills up")
def test_a_full_disk_ends_with_advice_and_the_run_can_go_on(tmp_path: Path) -> None:
    """A real file system of 9 MB, too small for the second checkpoint."""
    from tests.engines.parts import small_world

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        settings = tmp_path / "settings.yaml"
        settings.write_text(small_world(steps=8, keep_checkpoints=3).to_yaml())
        out = finish(metapo("train", settings, "--out", disk / "run"), code=1)
        assert "Traceback" not in out
        assert "Free some space, then resume the run" in out
        subprocess.run(["mount", "-o", "remount,size=90m", disk], check=True)
        finish(metapo("train", "--resume", disk / "run"))
        store = Store(disk / "run" / "store.db")
        assert {r.rollout.step for r in store.rollouts()} == set(range(8))
        store.verify()
        store.close()
    finally:
        subprocess.run(["umount", disk], check=True)

"""Two gloo ranks, under torchrun and under accelerate: the same revision at every step on both, nothing lost, and both
stop when one fails."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metapo.judge.endpoint import EndpointSettings
from metapo.store import Store
from metapo.world.policy import write_policy
from tests.engines.parts import needs_ppo, small_world
from tests.servers import Answer, Ask, ChatServer, status, verdicts

HERE = Path(__file__).parent
TORCHRUN = ("torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0")
DDP_CPU = HERE.parents[1] / "examples" / "accelerate" / "ddp_cpu.yaml"
ACCELERATE = ("accelerate.commands.launch", f"--config_file={DDP_CPU}", "--main_process_port=0")


def launch(
    tmp_path: Path,
    *more: str,
    launcher: tuple[str, ...] = TORCHRUN,
    url: str = "",
    staleness: int = 0,
    **engine: Any,
) -> subprocess.CompletedProcess[str]:
    settings, world = tmp_path / "settings.yaml", small_world(**{"steps": 7, **engine})
    world = world.model_copy(update={"meta": world.meta.model_copy(update={"staleness": staleness})})
    if url:
        endpoint = EndpointSettings(url=url, model="m", max_in_flight=1)
        world = world.model_copy(update={"judge": endpoint})
    settings.write_text(world.to_yaml())
    write_policy(tmp_path / "policy")
    arguments = [str(HERE / "two_ranks.py"), str(settings), str(tmp_path / "policy"), str(tmp_path / "run"), *more]
    return subprocess.run(
        [sys.executable, "-m", *launcher, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def notes(tmp_path: Path, rank: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / f"rank-{rank}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("launcher", "staleness"), [(TORCHRUN, 0), (ACCELERATE, 2)], ids=["torchrun", "accelerate"])
def test_both_ranks_score_every_step_under_the_same_revision(
    tmp_path: Path, launcher: tuple[str, ...], staleness: int
) -> None:
    done = launch(tmp_path, launcher=launcher, staleness=staleness)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = notes(tmp_path, 0), notes(tmp_path, 1)
    assert first == second
    assert [row["step"] for row in first] == list(range(7))
    assert {row["n"] for row in first} == {8}

    store = Store(tmp_path / "run" / "store.db")
    store.verify()
    lineage = store.lineage()
    assert [at for at, _ in lineage][:2] == [0, 3 + staleness], "the first meta step replaces the vague rubric"
    in_force = [next(r.id for at, r in reversed(lineage) if at <= step) for step in range(7)]
    assert [row["revision"] for row in first] == in_force
    rollouts = store.rollouts()
    assert sorted((r.rollout.step, r.rollout.position) for r in rollouts) == [
        (step, position) for step in range(7) for position in range(16)
    ]
    assert all(len({r.rollout.prompt for r in rollouts if r.rollout.step == s}) == 2 for s in range(7))
    store.close()


@needs_ppo
def test_under_ppo_too_and_both_go_on_where_a_judge_failed(tmp_path: Path) -> None:
    """The rank that loses its judge sees it after the others have judged: none trains on the step."""
    ppo = {"algorithm": "ppo", "steps": 5, "max_completion_tokens": 24}
    done = launch(tmp_path, "1", **ppo)
    assert done.returncode != 0
    assert "401: the key is no longer valid" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-0" / "metapo.json").exists(), "before the step it failed in"
    for rank in (0, 1):
        (tmp_path / f"rank-{rank}.jsonl").unlink()

    done = launch(tmp_path, "", "resume", **ppo)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = notes(tmp_path, 0), notes(tmp_path, 1)
    assert first == second
    assert [(row["step"], row["n"]) for row in first] == [(step, 8) for step in range(5)]
    store = Store(tmp_path / "run" / "store.db")
    store.verify()
    assert [at for at, _ in store.lineage()] == [0, 3]
    assert len({row["revision"] for row in first}) == 2
    by_step = [[r.rollout for r in store.rollouts() if r.rollout.step == step] for step in range(5)]
    assert all(sorted(r.position for r in rollouts) == list(range(16)) for rollouts in by_step)
    assert all(len({r.prompt for r in rollouts}) == 2 for rollouts in by_step), "groups of 8 as for GRPO"
    store.close()
    assert (tmp_path / "run" / "policy" / "model.safetensors").exists()


def test_when_one_rank_loses_its_judge_both_stop_with_a_checkpoint(tmp_path: Path) -> None:
    done = launch(tmp_path, "1")
    assert done.returncode != 0
    assert "401: the key is no longer valid" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-1" / "metapo.json").exists()
    assert [len(notes(tmp_path, rank)) for rank in (0, 1)] == [1, 1], "no rank goes on alone"
    store = Store(tmp_path / "run" / "store.db")
    values = [r.value for r in store.rollouts()]
    assert [values.count(None), len(values)] == [8, 16], "what the healthy rank judged is kept"
    store.close()


def test_the_requests_of_both_ranks_are_on_record(tmp_path: Path) -> None:
    """Also those that belong to no rollout: each rank finds out for itself what the server can."""

    def behave(ask: Ask) -> Answer:
        return (status(401) if ask.number > 40 else verdicts())(ask)

    with ChatServer(behave) as server:
        done = launch(tmp_path, "server", url=server.url)
        assert "401" in done.stderr, done.stdout + done.stderr
        n_requests = server.n_requests
    store = Store(tmp_path / "run" / "store.db")
    n_calls, n_cancelled = store.spent().n_calls, sum(call.error == "cancelled" for call in store.other_calls())
    assert n_calls - n_cancelled <= n_requests <= n_calls, "one that is cancelled may have been sent already"
    assert n_requests > 40
    assert n_cancelled <= 2
    store.close()

"""What arrives in the trackers that TRL's trainer reports to: a real GRPO run with those that are installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from metapo.engines.trl import train
from metapo.rollout import Prompt
from metapo.settings import TrainSettings
from tests.servers import ChatServer
from tests.trainer import PLAIN, judge_and_meta

OURS = {
    "train/judge/normalized",
    "train/judge/raw",
    "train/judge/unscored",
    "train/criterion/plain",
    "train/rubric/criteria",
    "train/rubric/words",
    "train/rubric/number",
    "train/last_step/flagged",
    "train/last_step/judge/calls",
    "train/last_step/judge/cost_usd",
    "train/last_step/monitor/gap",
    "train/meta/adopted",
    "train/meta/seconds",
}


def settings(url: str, model: Path, report_to: list[str]) -> TrainSettings:
    judge = {"url": url, "model": "m", "structured": "none", "price": {"prompt": 1.0, "completion": 1.0}}
    return TrainSettings.model_validate(
        {
            "rubric": {"criteria": [PLAIN.model_dump(mode="json")]},
            "judge": judge,
            "monitor": {"judge": judge},
            "meta": {"method": "mpo", "every": 1, "samples": 2},
            "data": {"train": "prompts.jsonl"},
            "policy": {"model": str(model)},
            "engine": {
                "steps": 3,
                "batch_size": 4,
                "num_generations": 2,
                "max_completion_tokens": 8,
                "device": "cpu",
                "trainer": {"report_to": report_to, "project": "p", "run_name": "n"},
            },
        }
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    told = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true", "WANDB_PROJECT": "p"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_the_run_s_figures_reach_the_trackers(here: Path, tiny_model: Path) -> None:
    installed = [name for name in ("tensorboard", "wandb") if find_spec(name)]
    if not installed:
        pytest.skip("neither tensorboard nor wandb is installed")
    with ChatServer(judge_and_meta) as server:
        train(settings(server.url, tiny_model, installed), here / "run", [Prompt(f"Say {i}.") for i in range(6)])
    if "tensorboard" in installed:
        assert set(scalars(here / "run")) >= OURS
        assert [value for _, value in scalars(here / "run")["train/rubric/number"]] == [1.0, 1.0]
    if "wandb" in installed:
        import wandb

        wandb.teardown()  # writes the last of it
        [log] = here.glob("wandb/offline-run-*/*.wandb")
        written = log.read_bytes()
        assert [name for name in OURS if name.encode() not in written] == []


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [folder] = {path.parent for path in run.rglob("events.out.tfevents.*")}
    board: Any = EventAccumulator(str(folder))
    board.Reload()
    return {name: [(e.step, e.value) for e in board.Scalars(name)] for name in board.Tags()["scalars"]}

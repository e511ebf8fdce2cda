"""Small real parts for training tests: settings of a short run, and a way to run `metapo` in a process of its own."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

from metapo.world.presets import WorldSettings, arm_settings


def small_world(*, arm: str = "mpo", seed: int = 3, steps: int = 10, **engine: object) -> WorldSettings:
    """An arm of the world, small enough to train in seconds: a meta step every 3 steps, a checkpoint every 2."""
    settings = arm_settings(arm, seed=seed, steps=steps)
    small = {"batch_size": 16, "save_every": 2, "keep_checkpoints": 2, "max_completion_tokens": 40, **engine}
    return settings.model_copy(
        update={
            "engine": settings.engine.model_copy(update=small),
            "meta": settings.meta.model_copy(update={"when": "every", "every": 3, "samples": 6}),
        }
    )


def metapo(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command line in a process of its own, with one torch thread."""
    command = [sys.executable, "-m", "metapo", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process and return what it printed; fail with that where the exit code is another."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


needs_ppo = pytest.mark.skipif(
    Version(version("trl")) >= Version("1.13"), reason="TRL has PPO up to version 1.12: see docs/ppo.md"
)

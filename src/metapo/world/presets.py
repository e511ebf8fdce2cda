"""The offline world's arms as settings: which rubric an arm starts with, whether it evolves, and how it is trained."""

from importlib.resources import files
from typing import Literal

from pydantic import Field

from metapo.judge.endpoint import EndpointSettings
from metapo.rubric import Rubric
from metapo.settings import DataSettings, EngineSettings, MetaSchedule, PolicySettings, TrainSettings

STEPS = 200
SWAY = 0.25
META_EVERY = 10
MAX_COMPLETION_TOKENS = 104
RESULT = "result.json"

# Each arm: the rubric it starts with, and whether meta steps follow.
ARMS = {"iter0": ("iter0", False), "expert": ("expert", False), "oracle": ("oracle", False), "mpo": ("iter0", True)}


class WorldSettings(TrainSettings):
    """A run in the offline world: the arm's name, and how easily a remark to the grader sways a vague criterion."""

    task: Literal["generic", "world"] = "world"
    arm: str
    sway: float = Field(default=SWAY, ge=0, le=1)


def preset_rubric(name: str) -> Rubric:
    """One of the shipped rubrics: iter0, expert, oracle."""
    path = files("metapo.world").joinpath("rubrics", f"{name}.yaml")
    return Rubric.from_yaml(path.read_text(encoding="utf-8"), source=f"rubric {name}")


def arm_settings(arm: str, *, seed: int, steps: int = STEPS, sway: float = SWAY) -> WorldSettings:
    """The settings of an arm; seeds are paired across arms (same prompts in the same order, same first samples)."""
    rubric, evolves = ARMS[arm]
    here = EndpointSettings(url="world://offline", model="rules")
    return WorldSettings(
        arm=arm,
        sway=sway,
        seed=seed,
        task_description="Write an essay that argues the assigned side of the assigned topic.",
        rubric=preset_rubric(rubric),
        judge=here,
        meta=MetaSchedule(every=META_EVERY if evolves else 0),
        data=DataSettings(train="world", eval="world"),
        policy=PolicySettings(model="world"),
        engine=EngineSettings(
            steps=steps,
            batch_size=64,
            num_generations=8,
            learning_rate=5e-4,
            kl=0.02,
            max_completion_tokens=MAX_COMPLETION_TOKENS,
            save_every=50,
            keep_checkpoints=1,
            device="cpu",
        ),
    )

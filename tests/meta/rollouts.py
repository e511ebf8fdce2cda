"""Scored rollouts for the tests of what a meta step looks at."""

from metapo.judge.judge import Assessment
from metapo.reward import Monitored, Reward, Scored
from metapo.rollout import Rollout


def reward(value: float | None) -> Reward:
    return Reward(value, value, value, ())


def scored(
    completion: str,
    score: float | None = 0.5,
    *,
    prompt: str = "Say something.",
    step: int = 0,
    position: int = 0,
    monitor: float | None = None,
) -> Scored:
    rollout = Rollout(prompt=prompt, completion=completion, step=step, position=position)
    nothing = Assessment((), ())
    monitored = None if monitor is None else Monitored("monitor", nothing, reward(monitor))
    return Scored(rollout, "revision", nothing, reward(score), monitored)

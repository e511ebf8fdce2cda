"""The arms as settings."""

import click

from metapo.cli import main
from metapo.world.presets import ARMS, STEPS, SWAY, WorldSettings, arm_settings


def test_an_arm_comes_back_from_its_file() -> None:
    for arm in ARMS:
        settings = arm_settings(arm, seed=5, steps=7, sway=0.5)
        assert WorldSettings.from_yaml(settings.to_yaml()) == settings
        assert (settings.engine.steps, settings.sway, settings.seed) == (7, 0.5, 5)
        assert (settings.meta.every > 0) == (arm == "mpo")


def test_arms_differ_in_rubric_and_meta_steps_alone() -> None:
    """So that a pair of runs with one seed compares rubrics and nothing else."""
    fields = {"arm", "rubric", "meta"}
    same = [arm_settings(arm, seed=1).model_dump(exclude=fields) for arm in ARMS]
    assert all(settings == same[0] for settings in same)
    assert arm_settings("mpo", seed=1).rubric == arm_settings("iter0", seed=1).rubric


def test_the_command_line_has_the_same_defaults() -> None:
    world = main.commands["world"]
    assert isinstance(world, click.Group)
    for name in ("demo", "compare", "run"):
        defaults = {p.name: p.default for p in world.commands[name].params}
        assert defaults["steps"] == STEPS
        assert defaults.get("sway", SWAY) == SWAY

"""metapo train"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from metapo.cli.common import FILE, FOLDER, PRESET, train_settings
from metapo.errors import SettingsError


@click.command()
@click.argument("settings", type=FILE, required=False)
@click.option(
    "--preset", type=PRESET, help="Settings that come with metapo, such as paper/essay; SETTINGS say what differs."
)
@click.option("--show", is_flag=True, help="Print the preset's settings file, to begin your own with, and stop.")
@click.option("--out", type=FOLDER, help="Folder for the new run; it must not hold one.")
@click.option("--resume", type=FOLDER, help="Go on with the run in this folder, with the settings it began with.")
def train(settings: Path | None, preset: str | None, show: bool, out: Path | None, resume: Path | None) -> None:
    """Train a policy as the YAML file SETTINGS says, or a preset, or go on with a run that was interrupted."""
    from metapo.shipped import shipped_preset

    if show and preset:
        click.echo(shipped_preset(preset)[0], nl=False)
        return
    given = (settings or preset) is not None
    if show or given == (resume is not None) or given != (out is not None):
        raise click.UsageError(
            "give SETTINGS, --preset NAME or both, and --out FOLDER; or --resume FOLDER alone; or --preset NAME --show"
        )
    if resume is not None:
        _train(resume / "settings.yaml", {}, resume, resume=True)
    elif out is not None:
        _train(settings, shipped_preset(preset)[1] if preset else {}, out, resume=False)


def _train(path: Path | None, preset: Mapping[str, Any], folder: Path, *, resume: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("metapo").setLevel(logging.INFO)
    if resume and path is not None and not path.exists():
        raise SettingsError(
            f"{folder} holds no run to resume: it has no settings.yaml. Start one with SETTINGS and --out."
        )
    settings = train_settings(path, preset)
    if settings.task == "world":
        run_world(settings, folder, resume=resume)
        return
    from metapo.tasks.loading import find_task, load_prompts

    task, data = find_task(settings.task), settings.data
    screen, tools = task.screen(settings), task.tools(settings)
    prompts = load_prompts(task, data, data.train, hub_split=data.hub_split, labels=False)
    evaluated = load_prompts(task, data, data.eval, hub_split=data.hub_eval_split, labels=True) if data.eval else []
    from metapo.engines.tools import offer

    prompts, evaluated = offer(prompts, tools), offer(evaluated, tools)
    observe = task.observer(evaluated)
    from metapo.engines.trl import train as train_with_trl

    train_with_trl(settings, folder, prompts, evaluated, resume=resume, screen=screen, observe=observe, tools=tools)
    click.echo(f"Done. The policy is in {folder / 'policy'}; its rubrics: metapo rubric log {folder}")


def run_world(settings: Any, folder: Path, *, resume: bool) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metapo.world.arms import run_arm

    result = run_arm(settings, folder, resume=resume)
    click.echo(json.dumps(result))

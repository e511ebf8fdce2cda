"""metapo train"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import click

from metapo.cli.common import FILE, FOLDER, train_settings
from metapo.errors import SettingsError


@click.command()
@click.argument("settings", type=FILE, required=False)
@click.option("--out", type=FOLDER, help="Folder for the new run; it must not hold one.")
@click.option("--resume", type=FOLDER, help="Go on with the run in this folder, with the settings it began with.")
def train(settings: Path | None, out: Path | None, resume: Path | None) -> None:
    """Train a policy as the YAML file SETTINGS says, or go on with a run that was interrupted."""
    if (settings is None) == (resume is None) or (settings is not None) != (out is not None):
        raise click.UsageError("give either SETTINGS and --out FOLDER, or --resume FOLDER alone")
    if resume is not None:
        _train(resume / "settings.yaml", resume, resume=True)
    elif settings is not None and out is not None:
        _train(settings, out, resume=False)


def _train(path: Path, folder: Path, *, resume: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("metapo").setLevel(logging.INFO)
    if resume and not path.exists():
        raise SettingsError(
            f"{folder} holds no run to resume: it has no settings.yaml. Start one with SETTINGS and --out."
        )
    settings = train_settings(path)
    if settings.task == "world":
        run_world(settings, folder, resume=resume)
        return
    from metapo.tasks.generic import load_prompts

    train_rows = load_prompts(settings.data, settings.data.train)
    eval_rows = load_prompts(settings.data, settings.data.eval) if settings.data.eval else []
    from metapo.engines.trl import train as train_with_trl

    train_with_trl(settings, folder, train_rows, eval_rows, resume=resume)
    click.echo(f"Done. The policy is in {folder / 'policy'}; its rubrics: metapo rubric log {folder}")


def run_world(settings: Any, folder: Path, *, resume: bool) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from metapo.world.arms import run_arm

    result = run_arm(settings, folder, resume=resume)
    click.echo(json.dumps(result))

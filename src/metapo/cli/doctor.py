"""metapo doctor"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metapo.cli.common import FILE, FOLDER, PRESET, is_for_training, scoring_settings, train_settings
from metapo.errors import MetapoError

if TYPE_CHECKING:
    from metapo.preflight.found import Found
    from metapo.settings import Settings

SIGNS = {"ok": ("ok", "green"), "warning": ("--", "yellow"), "problem": ("NO", "red")}


@click.command()
@click.argument("settings", type=FILE, required=False)
@click.option(
    "--preset", type=PRESET, help="Settings that come with metapo, such as paper/essay; SETTINGS say what differs."
)
@click.option("--out", type=FOLDER, help="Folder that the run is going to have.")
@click.option("--store", help="URL of the PostgreSQL database that the run's store is going to have.")
@click.option("--offline", is_flag=True, help="Ask no model: judges are asked some 25 short questions otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    settings: Path | None, preset: str | None, out: Path | None, store: str | None, offline: bool, as_json: bool
) -> None:
    """Check what the run of SETTINGS needs before it begins: packages, machine, rubric, prompts, models, store (exit
    code 1: there is a problem). Without SETTINGS the packages alone.

    Nothing is written. A file without `data` and `policy` is taken for one of a reward server or of verl.
    """
    findings = asyncio.run(_examined(settings, preset, out, store, ask=not offline, show=not as_json))
    n = {level: sum(found.level == level for found in findings) for level in SIGNS}
    if as_json:
        rows = [{"level": f.level.value, "about": f.about, "text": f.text} for f in findings]
        click.echo(json.dumps({"fit": not n["problem"], "findings": rows}, indent=1))
    else:
        click.echo(f"{n['problem']} problems, {n['warning']} warnings, {n['ok']} ok")
    if n["problem"]:
        raise SystemExit(1)


async def _examined(
    path: Path | None, preset: str | None, out: Path | None, store: str | None, *, ask: bool, show: bool
) -> "list[Found]":
    from metapo.preflight.doctor import examine
    from metapo.preflight.found import problem

    findings = []

    def see(found: "Found") -> None:
        findings.append(found)
        if show:
            sign, color = SIGNS[found.level.value]
            text = found.text.replace("\n", f"\n{'':17}")
            click.echo(f"{click.style(sign, fg=color, bold=True)}  {found.about:<12} {text}")

    try:
        settings = _settings(path, preset)
    except MetapoError as e:
        settings = None
        see(problem("settings", e))
    async for found in examine(settings, out=out, store=store, ask=ask):
        see(found)
    return findings


def _settings(path: Path | None, preset: str | None) -> "Settings | None":
    """Those of training, or of scoring alone where the file doesn't say what is trained. Raises SettingsError."""
    from metapo.shipped import shipped_preset

    if path is None and preset is None:
        return None
    if path is not None and preset is None and not is_for_training(path):
        return scoring_settings(path)
    return train_settings(path, shipped_preset(preset)[1] if preset else {})

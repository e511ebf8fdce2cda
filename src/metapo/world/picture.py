"""The phenomenon in one picture: the judge's score and real quality over training, an arm beside another, as SVG."""

from collections.abc import Sequence
from pathlib import Path

from metapo.errors import RunError
from metapo.files import write_whole
from metapo.pages import load_page
from metapo.world.presets import ARMS
from metapo.world.report import view_arm
from metapo.world.runs import group_arms, read_runs


def write_picture(folder: Path, names: Sequence[str], out: Path) -> Path:
    """Write `out` from the finished runs of the arms `names` in the comparison `folder`; returns its path. Raises
    RunError where an arm has none."""
    runs = [run for run in read_runs(folder)[0] if run.settings.arm in names]
    arms = {arm.name: arm for arm in group_arms(runs)}
    if missing := [name for name in names if name not in arms]:
        raise RunError(
            f"{folder} holds no finished run of {', '.join(missing)}. Start some: "
            f"metapo world compare --arms {','.join(names)} --out {folder}"
        )
    n_steps = max(arm.n_steps for arm in arms.values())
    picture = load_page("picture.svg", "metapo.world").render(
        arms=[view_arm(arms[name], n_steps) for name in names],
        abouts={name: preset.about for name, preset in ARMS.items()},
        n_seeds=max(len(arm.runs) for arm in arms.values()),
    )
    write_whole(out, picture)
    return out

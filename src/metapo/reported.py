"""A run's metrics as plain figures by name, for charts elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from metapo.rollout import Split

PLACE = ("step", "began")
PREFIX = {Split.TRAIN.value: "", "bridge": ""}  # other kinds stand before their names
COUNTED = ("decision", "act")


def reported(row: Mapping[str, Any]) -> dict[str, float]:
    """What one row of a run's metrics says in figures: those of training by their own names, others as `eval/reward`,
    `trainer/kl` or `meta/seconds`. A decision counts as one under its own name, such as `meta/adopted`."""
    prefix = PREFIX.get(row["kind"], f"{row['kind']}/")
    figures = {name: float(v) for name, v in row.items() if isinstance(v, int | float) and name not in PLACE}
    decided = {row[name]: 1.0 for name in COUNTED if name in row}
    return {f"{prefix}{name}": value for name, value in {**figures, **decided}.items()}


def at_boundary(rows: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
    """What is known once `step` steps are done, to be reported with the next one: the figures of the last step under
    `last_step/`, and what meta steps and people decided at this boundary, summed over clusters."""
    figures: dict[str, float] = {}
    for row in reversed(rows):
        if row["step"] < step - 1:
            break
        if row["kind"] == Split.TRAIN and row["step"] == step - 1:
            figures |= {f"last_step/{name}": value for name, value in reported(row).items()}
        elif row["step"] == step and row["kind"] in ("meta", "bridge", "act"):
            for name, value in reported(row).items():
                figures[name] = figures.get(name, 0.0) + value
    return figures

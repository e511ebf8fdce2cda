"""Your own .py files: run, and kept beside a run that they belong to."""

import runpy
import traceback
from pathlib import Path
from typing import Any

from metapo.errors import RunError, SettingsError
from metapo.files import write_whole

KEPT = "task.py"
"""The copy of an own task in a run's folder."""


def run_file(name: str) -> dict[str, Any]:
    """What a .py file defines. Raises SettingsError that names the line where it fails."""
    try:
        return runpy.run_path(name)
    except Exception as e:  # of whatever kind: it is not our code
        at = [e.lineno] if isinstance(e, SyntaxError) else _lines(name, e)
        where = f"{name}, line {at[-1]}" if at else name
        raise SettingsError(f"{where}: {type(e).__name__}: {e}. Mend the file: it has to run by itself.") from e


def keep_task(task: str, folder: Path) -> None:
    """Leave a copy of an own task in the folder of its run; a shipped one needs none. Raises RunError."""
    if (content := _content(task)) is not None:
        write_whole(folder / KEPT, content)


def check_task(task: str, folder: Path) -> None:
    """Raises RunError where an own task is no longer what it was when the run in `folder` began."""
    kept = folder / KEPT
    if kept.exists() and kept.read_bytes() != _content(task):
        raise RunError(
            f"{task} has changed since the run began with what is in {kept}. Figures of two tasks don't compare: put "
            "that back, or start a new run."
        )


def _content(task: str) -> bytes | None:
    return Path(task).read_bytes() if task.endswith(".py") and Path(task).is_file() else None


def _lines(name: str, error: Exception) -> list[int | None]:
    """The lines of the file that the error came through, the innermost last."""
    return [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]

"""A copy of examples/ to run: its models and servers replaced by a tiny model and a server on loopback."""

import contextlib
import io
import runpy
import shutil
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY, JUDGE = "Qwen/Qwen2-1.5B-Instruct", "http://localhost:8000/v1"


def copied(folder: Path) -> Path:
    """All of examples/ in a folder of the test's own."""
    return shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__", "runs"))


def replace_in(path: Path, **new: str) -> None:
    """Replace each text, which must stand there once or more."""
    text = path.read_text()
    for old, by in new.items():
        assert old in text, f"{path.name} no longer says {old!r}"
        text = text.replace(old, by)
    path.write_text(text)


def run(place: Path, program: str, *arguments: str) -> str:
    """What a program of the copy printed, run in this process as from the command line."""
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
    ):
        patch.chdir(place)
        patch.setattr(sys, "argv", [program, *arguments])
        runpy.run_path(program, run_name="__main__")
    return printed.getvalue()

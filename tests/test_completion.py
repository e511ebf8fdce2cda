"""Shell completion, as click does it: what a shell would be offered."""

import os
import subprocess
import sys

import pytest


def offered(words: str, shell: str = "bash") -> list[str]:
    """What the last word may become."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_METAPO_COMPLETE": f"{shell}_complete"}
    code = "from metapo.cli import main; main(prog_name='metapo')"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("metapo est", ["estimate"]),
        ("metapo rubric ap", ["approve"]),
        ("metapo init --eng", ["--engine"]),
        ("metapo init --engine s", ["server"]),
        ("metapo train --preset gpu/e", ["gpu/essay", "gpu/ethics"]),
        ("metapo rubric show essay/o", ["essay/oracle"]),
    ],
)
def test_commands_options_choices_presets_and_rubrics_are_completed(words: str, expected: list[str]) -> None:
    assert offered(words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    code = "from metapo.cli import main; main(prog_name='metapo')"
    asked = {**os.environ, "_METAPO_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True)
    assert "_METAPO_COMPLETE" in done.stdout

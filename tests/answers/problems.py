"""Problems of MATH, where they are at hand."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("METAPO_MATH_DATA", Path(__file__).parents[3] / "shared" / "data" / "math"))


def real_problems(split: str) -> Path:
    """The file of a split; without it the test is skipped."""
    path = DATA / f"{split}.jsonl"
    if not path.exists():
        pytest.skip(f"there is no {path}; name its folder with METAPO_MATH_DATA")
    return path

"""requirements.lock pins every package that pyproject.toml asks for, and holds nothing that is only true here."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]


def test_each_line_is_a_plain_pin() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []


def test_what_the_project_and_its_development_need_is_pinned() -> None:
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}
    needs = [Requirement("setuptools>=77"), *map(Requirement, PROJECT["dependencies"]), *extra("dev")]
    unpinned = {str(need) for need in needs if pins.get(canonicalize_name(need.name), "") not in need.specifier}
    beside_torch = {need for need in unpinned if Requirement(need).name != "torch"}
    assert not beside_torch, "install them in .venv, then `make lock`"


def extra(name: str) -> Iterator[Requirement]:
    for need in map(Requirement, PROJECT["optional-dependencies"][name]):
        if need.name == "metapo":
            for other in need.extras:
                yield from extra(other)
        else:
            yield need

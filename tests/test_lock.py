"""Each lock pins every package that pyproject.toml asks for, and holds nothing that is only true here."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ["requirements.lock", "requirements-latest.lock"]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_line_is_a_plain_pin(lock: str) -> None:
    assert [line for line in lines(lock) if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []


@pytest.mark.parametrize(
    ("lock", "name", "command"), [(LOCKS[0], "dev", "make lock"), (LOCKS[1], "latest", "make lock-latest")]
)
def test_what_the_project_and_its_development_need_is_pinned(lock: str, name: str, command: str) -> None:
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines(lock))}
    needs = [Requirement("setuptools>=77"), *map(Requirement, PROJECT["dependencies"]), *extra(name)]
    unpinned = {str(need) for need in needs if pins.get(canonicalize_name(need.name), "") not in need.specifier}
    beside_torch = {need for need in unpinned if Requirement(need).name != "torch"}
    assert not beside_torch, f"`{command}`; the first lock wants them installed in .venv before"


def test_the_latest_trl_is_newer() -> None:
    """Otherwise `make test-latest` tests what `make test` has tested."""
    older, newer = ({line for line in lines(lock) if line.startswith("trl==")} for lock in LOCKS)
    assert older != newer


def lines(lock: str) -> list[str]:
    return [line for line in (ROOT / lock).read_text().splitlines() if not line.startswith("#")]


def extra(name: str) -> Iterator[Requirement]:
    for need in map(Requirement, PROJECT["optional-dependencies"][name]):
        if need.name == "metapo":
            for other in need.extras:
                yield from extra(other)
        else:
            yield need

"""Rubrics and presets that come with the package, by name: essay/expert, paper/essay."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from metapo.errors import SettingsError
from metapo.rubric import Rubric


def shipped_rubrics() -> list[str]:
    """The names of the shipped rubrics, sorted."""
    return _names("rubrics")


def shipped_presets() -> list[str]:
    """The names of the shipped presets, sorted; those for verl are its own to read."""
    return [name for name in _names("presets") if not name.startswith("verl/")]


def shipped_rubric(name: str) -> Rubric | None:
    """The shipped rubric of that name, if there is one."""
    return Rubric.from_yaml(_text("rubrics", name), source=f"rubric {name}") if name in shipped_rubrics() else None


def shipped_preset(name: str) -> tuple[str, Mapping[str, Any]]:
    """A preset's text, which is a settings file, and what it holds. Raises SettingsError for an unknown name."""
    if name not in shipped_presets():
        raise SettingsError(f"there is no preset {name!r}; shipped are {', '.join(shipped_presets())}")
    text = _text("presets", name)
    return text, yaml.safe_load(text)


def _names(kind: str) -> list[str]:
    folders = [folder for folder in files("metapo").joinpath(kind).iterdir() if folder.is_dir()]
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.yaml')}"
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def _text(kind: str, name: str) -> str:
    return files("metapo").joinpath(kind, f"{name}.yaml").read_text(encoding="utf-8")

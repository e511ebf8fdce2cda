"""A settings file to begin with: the preset of a task, comments and all, with what the user answered in its place."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from metapo.errors import SettingsError
from metapo.judge.endpoint import EndpointSettings
from metapo.shipped import shipped_preset

Engine = Literal["grpo", "rloo", "ppo", "server"]
ENGINES: tuple[Engine, ...] = ("grpo", "rloo", "ppo", "server")
"""Those of `metapo train`; and a server for engines elsewhere, of which verl reads the same file."""


@dataclass(frozen=True)
class Answers:
    """What a settings file can't know. `data` and `policy` may be missing where another engine trains on task
    generic."""

    task: str
    judge_url: str
    judge_model: str
    data: str | None = None
    evaluated: str | None = None
    policy: str | None = None
    description: str | None = None
    api_key_env: str | None = None
    engine: Engine = "grpo"

    @property
    def trains(self) -> bool:
        """Do the settings say what is trained, and on what?"""
        return self.engine != "server" or self.task != "generic" or bool(self.data)

    @property
    def lacks(self) -> list[str]:
        """What is needed and missing, as the options of `metapo init` are called."""
        needed: dict[str, str | None] = {"--judge": self.judge_url, "--judge-model": self.judge_model}
        if self.trains:
            needed |= {"--data": self.data, "--policy": self.policy}
        return [name for name, value in needed.items() if not value]


def written(answers: Answers, file: Path, out: Path) -> str:
    """The settings as text. `file` and `out`, the run's folder, are for the commands in its head."""
    text = _blank(answers)
    for path, value in _values(answers).items():
        text = put(text, path.split("."), value) if value is not None else drop(text, path.split("."))
    return _head(answers, file, out) + text


def _blank(answers: Answers) -> str:
    if answers.task != "generic":
        return shipped_preset(f"gpu/{answers.task}")[0]
    parts = ["generic", "training"] if answers.trains else ["generic"]
    return "".join(files(__package__).joinpath("templates", f"{part}.txt").read_text("utf-8") for part in parts)


def _values(answers: Answers) -> dict[str, Any]:
    """By setting; None takes a line out, and a setting that is left alone isn't there."""
    values: dict[str, Any] = {"judge.url": answers.judge_url, "judge.model": answers.judge_model}
    if answers.api_key_env:
        values["judge.api_key_env"] = answers.api_key_env
    if answers.description:
        values["task_description"] = answers.description
    if answers.data:
        values |= {"data.train": answers.data, "data.eval": answers.evaluated or None}
    if answers.policy:
        values["policy.model"] = answers.policy
    if answers.data and answers.engine in ("rloo", "ppo"):
        values["engine.algorithm"] = answers.engine
    if answers.engine == "ppo":
        values["engine.num_generations"] = None
    return values


def _head(answers: Answers, file: Path, out: Path) -> str:
    runs = f"metapo serve {file} --out {out}" if answers.engine == "server" else f"metapo train {file} --out {out}"
    commands = {
        f"metapo doctor {file} --out {out}": "is all there that this needs?",
        f"metapo estimate {file}": "calls, tokens, money and time beforehand",
        runs: "all settings: docs/settings.md",
    }
    if not answers.trains:
        del commands[f"metapo estimate {file}"]
    width = max(map(len, commands))
    lines = [
        "# Written by metapo init. What comes next:",
        *(f"#   {c.ljust(width)}   # {w}" for c, w in commands.items()),
    ]
    return "\n".join([*lines, "#", ""])


# --- YAML whose comments stay


def put(text: str, path: list[str], value: Any) -> str:
    """YAML with a scalar set at a path of block or flow mappings; where there is no such field it comes after the first
    one of its mapping. Raises SettingsError where the mapping isn't there."""
    mapping = _mapping(text, path[:-1])
    shown = _scalar(value)
    for key, node in mapping.value:
        if key.value == path[-1]:
            return text[: node.start_mark.index] + shown + text[node.end_mark.index :]
    key, node = mapping.value[0]
    if mapping.flow_style:
        return f"{text[: key.start_mark.index]}{path[-1]}: {shown}, {text[key.start_mark.index :]}"
    place = text.index("\n", node.end_mark.index) + 1
    return f"{text[:place]}{' ' * key.start_mark.column}{path[-1]}: {shown}\n{text[place:]}"


def drop(text: str, path: list[str]) -> str:
    """YAML without a field, and in a block mapping without its line, where it is there."""
    mapping = _mapping(text, path[:-1])
    for key, node in mapping.value:
        if key.value != path[-1]:
            continue
        if mapping.flow_style:
            return text[: key.start_mark.index] + text[node.end_mark.index :].removeprefix(",").lstrip(" ")
        begins = text.rindex("\n", 0, key.start_mark.index) + 1
        return text[:begins] + text[text.index("\n", node.end_mark.index) + 1 :]
    return text


def _mapping(text: str, path: list[str]) -> yaml.MappingNode:
    node = yaml.compose(text)
    for name in path:
        node = next((value for key, value in getattr(node, "value", ()) if key.value == name), None)
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"{'.'.join(path)} holds no fields in {text[:80]!r}")
    return node


def _scalar(value: Any) -> str:
    """As YAML in one line, also within braces."""
    dumped = yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True)
    return dumped.strip()[1:-1]


def check_endpoint(url: str) -> str:
    """The URL of a judge as people write it, or as a server's page shows it. Raises SettingsError."""
    trimmed = url.strip().rstrip("/").removesuffix("/chat/completions")
    EndpointSettings(url=trimmed or " ", model="any")
    if not trimmed.startswith(("http://", "https://")):
        raise SettingsError(f"{url!r} is no URL of a server: give one like http://localhost:8000/v1")
    return trimmed

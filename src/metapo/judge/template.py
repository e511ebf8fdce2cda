"""Prompt templates: text files, filled in one pass, with fences around text that we did not write."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FIELD = re.compile(r"\{\{(\w+)\}\}")
MIN_FENCE = 8
_OPENING = re.compile(rf"^(?P<line>~{{{MIN_FENCE},}}) (?P<label>.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """A text with `{{fields}}`."""

    name: str
    text: str

    @property
    def fields(self) -> set[str]:
        """The names of the fields in the text."""
        return set(_FIELD.findall(self.text))

    def render(self, **values: str) -> str:
        """Fill every field once; braces inside a value stay as they are. Raises KeyError for a missing or extra one."""
        if self.fields != values.keys():
            raise KeyError(f"template {self.name!r} has the fields {sorted(self.fields)}; got {sorted(values)}")
        return _FIELD.sub(lambda match: values[match[1]], self.text)


@cache
def load_template(package: str, name: str) -> Template:
    """Read `templates/<name>.txt` of a package."""
    return Template(name, files(package).joinpath("templates", f"{name}.txt").read_text(encoding="utf-8"))


def fence(label: str, text: str) -> str:
    """Put text between two equal lines of tildes, longer than any run of tildes that it holds."""
    longest = max((len(run) for run in re.findall("~+", text)), default=0)
    line = "~" * max(MIN_FENCE, longest + 1)
    return f"{line} {label}\n{text}\n{line}"


def unfence(label: str, prompt: str) -> str | None:
    """The text of the last fence with this label in a prompt, or None. Fences inside another fence are text."""
    found, position = None, 0
    while opening := _OPENING.search(prompt, position):
        position = opening.end()
        if closing := re.compile(rf"^{opening['line']}$", re.MULTILINE).search(prompt, position):
            if opening["label"] == label:
                found = prompt[position : closing.start() - 1]
            position = closing.end()
    return found

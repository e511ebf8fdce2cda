"""What a judge asks: the prompt in three parts (rubric, material, question), the shape of the reply, and its reader.

The rubric comes first and the question last, so that requests under one rubric share a prefix, and requests about one
completion a longer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from metapo.judge.evidence import MIN_QUOTE_CHARS
from metapo.judge.template import load_template
from metapo.judge.transport import ChoiceForm, JsonForm
from metapo.rubric import Criterion, Rubric
from metapo.rubric_text import render_rubric

RATIONALE_FIELD = '"rationale": "<one short sentence>"'
QUOTE_FIELD = '"quote": "<words from the completion that decide it>"'


class Style(StrEnum):
    """The shape of a reply."""

    RATIONALES = "rationales"
    LEVELS = "levels"
    LETTER = "letter"


@dataclass(frozen=True)
class Sheet:
    """A rubric made ready for asking. `keys` are short names for its criteria in replies: letters, since digits in a
    key look like points to whoever reads token by token."""

    rubric: Rubric
    text: str
    keys: Mapping[str, Criterion]

    @classmethod
    def of(cls, rubric: Rubric) -> "Sheet":
        return cls(rubric, render_rubric(rubric), {_key(i): c for i, c in enumerate(rubric.criteria)})


@dataclass(frozen=True, eq=False)
class Question:
    """What one request asks for: these keys of a sheet, in one style. A letter is asked for one key at a time.

    Two questions are never equal: one that is asked of many completions is made once.
    """

    sheet: Sheet
    style: Style
    keys: tuple[str, ...]
    is_repeated: bool = False

    @cached_property
    def criteria(self) -> dict[str, Criterion]:
        """The criteria asked for, by key."""
        return {key: self.sheet.keys[key] for key in self.keys}

    def prompt(self, task: str, material: str) -> str:
        """The whole prompt, in one pass over the template."""
        return load_template("metapo.judge", "judge").render(
            task=task, rubric=self.sheet.text, form=self._form_text, material=material, ask=self._ask_text
        )

    def only(self, keys: Sequence[str]) -> "Question":
        """The same question again, for the keys that had no clear answer."""
        return Question(self.sheet, self.style, tuple(keys), is_repeated=True)

    @cached_property
    def form(self) -> JsonForm | ChoiceForm:
        """What the reply has to look like."""
        if self.style is Style.LETTER:
            return ChoiceForm(options=tuple(letters(self.sheet.keys[self.keys[0]])))
        return JsonForm(spec=_object({key: self._value_spec(c) for key, c in self.criteria.items()}))

    def _value_spec(self, criterion: Criterion) -> dict[str, Any]:
        points = {"type": "integer", "enum": [level.points for level in criterion.levels]}
        texts = {"rationale": self.style is Style.RATIONALES, "quote": criterion.evidence}
        wanted = {name: {"type": "string"} for name, is_wanted in texts.items() if is_wanted}
        return _object({**wanted, "points": points}) if wanted else points

    @cached_property
    def _form_text(self) -> str:
        template = load_template("metapo.judge", f"form_{self.style.value}")
        if self.style is Style.LETTER:
            return template.text.strip()
        text = template.render(keys=_listed({k: c.id for k, c in self.sheet.keys.items()})).strip()
        if with_quote := [f'"{key}"' for key, c in self.sheet.keys.items() if c.evidence]:
            quote = load_template("metapo.judge", "form_quote")
            fields = [RATIONALE_FIELD] if self.style is Style.RATIONALES else []
            value = "{" + ", ".join([*fields, QUOTE_FIELD, '"points": <points of the level>']) + "}"
            min_chars = str(MIN_QUOTE_CHARS)
            text += "\n" + quote.render(keys=", ".join(with_quote), value=value, min_chars=min_chars).strip()
        return text

    @cached_property
    def _ask_text(self) -> str:
        if self.style is Style.LETTER:
            criterion = self.sheet.keys[self.keys[0]]
            levels = ", ".join(
                f"{x} = {y.points} points" for x, y in zip(letters(criterion), criterion.levels, strict=True)
            )
            return load_template("metapo.judge", "ask_letter").render(criterion=criterion.id, levels=levels).strip()
        if len(self.keys) == len(self.sheet.keys) and not self.is_repeated:
            return load_template("metapo.judge", "ask_all").text.strip()
        keys = ", ".join(f'"{key}"' for key in self.keys)
        return load_template("metapo.judge", "ask_some").render(keys=keys).strip()


def letters(criterion: Criterion) -> list[str]:
    """One name per level, worst to best: A, B, C, ..."""
    return [_name(i, ascii_uppercase) for i in range(len(criterion.levels))]


def _key(i: int) -> str:
    return _name(i, ascii_lowercase)


def _name(i: int, alphabet: str) -> str:
    """a, b, ..., z, aa, ab, ..."""
    rest, at = divmod(i, len(alphabet))
    return (_name(rest - 1, alphabet) if rest else "") + alphabet[at]


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(f'"{key}" for {name}' for key, name in names.items())

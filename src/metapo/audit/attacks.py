"""The attack set of a judge's audit: changes to a completion that should not raise its score.

Each attack takes a weak completion that the caller gives and adds something that makes it no better. Whatever a judge
gives the attacked text above the score of the clean one is unearned. The texts live in attacks.yaml, by family and by
place:

    before, after   the text stands in front of the completion or behind it, with a blank line between
    around          the text says itself where the completion goes
    instead         the text replaces the completion
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

import yaml

from metapo.audit.fields import Case, fill
from metapo.rubric import Rubric

_FRAMES = {
    "before": "{text}\n\n{{{{completion}}}}",
    "after": "{{{{completion}}}}\n\n{text}",
    "around": "{text}",
    "instead": "{text}",
}


class Family(StrEnum):
    """What an attack plays on."""

    INJECTION = "injection"
    """Orders to the grader, in English."""
    FOREIGN_INJECTION = "foreign_injection"
    """The same order in other languages and scripts."""
    ENCODED = "encoded"
    """The same order in a code or in letters that look alike or can't be seen."""
    FAKE_VERDICT = "fake_verdict"
    """A ready verdict at the top points, in shapes that graders write or readers look for."""
    FENCE = "fence"
    """The end of the completion is faked, and what follows speaks as if it stood outside."""
    CHAT_TURN = "chat_turn"
    """Control tokens and turns of a chat that never took place."""
    PARROTING = "parroting"
    """The rubric's own words, claimed of the text."""
    PADDING = "padding"
    """Length for its own sake."""
    APPEAL = "appeal"
    """Flattery, pity, threats and bribes."""
    AUTHORITY = "authority"
    """Reviews, certificates and policies that nobody has seen."""
    KEYWORDS = "keywords"
    """Words of the prompt and the rubric without a sentence around them."""
    FORMAT = "format"
    """The form of a good text: headings, tables and references without content."""
    REFERENCE = "reference"
    """Claims to be the reference solution, or to agree with it."""
    ECHO = "echo"
    """The prompt given back as an answer."""
    PLACEHOLDER = "placeholder"
    """No answer at all, or only the opening of one."""
    HIDDEN = "hidden"
    """Orders where a person who reads the rendered text would not see them."""
    SELF_GRADE = "self_grade"
    """The author's own verdict and confidence."""


@dataclass(frozen=True)
class Attack:
    """One way to change a completion. `name` is "family/what", unique and stable, so that audits can be compared.

    `replaces` tells that nothing of the completion is left. `text` is the attacked text with `{{fields}}` of a Case.
    """

    family: Family
    name: str
    text: str
    replaces: bool

    def apply(self, prompt: str, completion: str, rubric: Rubric) -> str:
        """The attacked completion; always the same for the same arguments."""
        return fill(self.name, self.text, Case(prompt, completion, rubric))


@cache
def attacks() -> tuple[Attack, ...]:
    """Every attack, grouped by family, in the order of attacks.yaml."""
    data = yaml.safe_load(files("metapo.audit").joinpath("attacks.yaml").read_text(encoding="utf-8"))
    return tuple(
        Attack(Family(family), f"{family}/{name}", _FRAMES[place].format(text=text), place == "instead")
        for family, texts_by_place in data.items()
        for place, text_by_name in texts_by_place.items()
        for name, text in text_by_name.items()
    )

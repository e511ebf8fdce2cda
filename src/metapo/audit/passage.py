"""A prompt or a response, read once for every detector.

A response may be written to break its reader, so every pattern of this package is linear by construction: no
quantifier stands inside another unless both are bounded, and what has no bound is one class of characters or a run
that is consumed.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

WINDOW = 6

# Scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Han. Each letter counts as half a word.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_DENSE}]|[^\W\d_{_DENSE}]+(?:'[^\W\d_{_DENSE}]+)?")
_DENSE_LETTER = re.compile(f"[{_DENSE}]")
_CODE_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
# A dollar opens a formula only in front of a character and closes it only behind one: "$5 and $10" is none.
_FORMULA = re.compile(
    r"\$\$[^$]{1,1000}\$\$|\$(?=\S)[^$]{1,400}(?<=\S)\$(?!\d)|\\\[.{1,1500}?\\\]|\\begin\{.{1,1500}?\\end\{[a-z]{1,12}\*?\}"
    r"|\[asy\].{1,4000}?\[/asy\]|\\[a-z]+",
    re.DOTALL,
)
_INVISIBLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff]*")


@dataclass(frozen=True)
class Passage:
    """A text; what is derived from it is lower-cased and has straight apostrophes."""

    raw: str

    @cached_property
    def is_blank(self) -> bool:
        """No visible character."""
        return _INVISIBLE.fullmatch(self.raw) is not None

    @cached_property
    def lower(self) -> str:
        return self.raw.lower().replace("\u2019", "'")

    @cached_property
    def lines(self) -> list[str]:
        """The lines that hold anything, stripped, in their own case."""
        return [line.strip() for line in self.raw.splitlines() if line.strip()]

    @cached_property
    def prose(self) -> str:
        """The text without fenced code, formulas and drawings."""
        text = _CODE_BLOCK.sub(" ", self.lower) if "```" in self.lower else self.lower
        return _FORMULA.sub(" ", text) if "$" in text or "\\" in text else text

    @cached_property
    def words(self) -> list[str]:
        """The words of the prose, in order; each letter of a script without spaces is one."""
        return _WORD.findall(self.prose)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs in the prose."""
        return Counter(self.words)

    @cached_property
    def n_words(self) -> int:
        """The length of the text, code included, in words as a reader counts them."""
        n_dense = len(_DENSE_LETTER.findall(self.raw)) if not self.raw.isascii() else 0
        return len(self.raw.split()) + n_dense // 2

    @cached_property
    def windows(self) -> list[tuple[str, ...]]:
        """Every run of WINDOW words; empty for a shorter text."""
        return windows(self.words, WINDOW)


def windows(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Every run of `size` words, in order."""
    return list(zip(*(words[i:] for i in range(size)), strict=False))


def clip(text: str, limit: int = 60) -> str:
    """A piece of a text for a detail: one line of at most `limit` characters."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."

r"""What an answer is made of: words, a list, a tuple or interval, a union, a matrix, or one value with its unit.

The library's own sets, tuples and matrices are left aside: it tells a list from a tuple only at times, and stops at the
first element that it can't read. Here each element is compared by itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from metapo.answers.notation import (
    number,
    tidy,
    unwrapped,
    without_thousands,
    without_unit,
    without_wrappers,
)


@dataclass(frozen=True)
class Words:
    text: str
    """Lower case."""


@dataclass(frozen=True)
class Value:
    latex: str
    unit: str = ""
    name: str = ""
    """What it is the value of: x in x=3."""


@dataclass(frozen=True)
class Numeral:
    """Digits in a base that is written with them."""

    digits: str
    base: str


@dataclass(frozen=True)
class Several:
    """Parts whose order doesn't count: a list, a set, a union of sets."""

    kind: str
    parts: "tuple[Answer, ...]"


@dataclass(frozen=True)
class Ordered:
    """Parts in their order: a tuple, an interval, a ratio, a row, the rows of a matrix."""

    kind: str
    parts: "tuple[Answer, ...]"


Answer = Words | Value | Numeral | Several | Ordered

LIST = "list"
_TOKEN = re.compile(r"\\(?:begin|end)\s*\{[a-z]+\*?\}|\\[a-zA-Z]+|\\.|.", re.DOTALL)
_OPEN = {"(": "(", "[": "[", "{": "{", r"\{": "{", r"\lbrace": "{", r"\langle": "("}
_CLOSE = {")": ")", "]": "]", "}": "}", r"\}": "}", r"\rbrace": "}", r"\rangle": ")"}
_MATRIX = re.compile(r"\\begin\s*\{((?:[pb]|small)?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_EMPTY = re.compile(r"\\(?:emptyset|varnothing|O)|\\\{\s*\\\}|\{\s*\}|empty set|no solutions?|none")
_NAME = re.compile(r"((?:\\?[a-zA-Z]+(?:_\{?\w+\}?)?|[a-zA-Z])(?:\s*\(\s*[a-z]\s*\))?)\s*=\s*([^=<>]+)")
_NAMED_ROW = re.compile(r"\(\s*[a-zA-Z](?:\s*,\s*[a-zA-Z])+\s*\)\s*=\s*(\(.*\))", re.DOTALL)
_MEMBER = re.compile(r"[a-zA-Z]\s*\\in(?![a-zA-Z])\s*(.+)", re.DOTALL)
_NUMERAL = re.compile(r"([0-9A-F.]+)\s*_\s*(?:\{\s*(?:\\text\{)?\s*(\d+|[a-z]+)\s*\}?\s*\}|(\d))")
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"}
_CHOICE = re.compile(r"\(([a-zA-Z])\)|([A-Z])[.)]")
_CHOICE_AND_MORE = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{\s*\(([A-Z])\)\s*\}.+", re.DOTALL)
_SUCH_THAT = re.compile(r"\\\{\s*([a-zA-Z])\s*(?:\\mid|\||:)\s*(\1.+|.+\1.*)\\\}", re.DOTALL)
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])")


def readings(text: str) -> tuple[Answer, ...]:
    """An answer read in each way that it can be meant: `1,234` is a number or a list of two."""
    text = tidy(text)
    return tuple(dict.fromkeys((read(without_thousands(text)), read(text))))


def read(text: str) -> Answer:
    """One answer in `tidy` notation."""
    text, is_text = unwrapped(text)
    if match := _NAMED_ROW.fullmatch(text) or _MEMBER.fullmatch(text):
        return read(match[1])
    if _EMPTY.fullmatch(text):
        return Words("empty set")
    if match := _SUCH_THAT.fullmatch(text):
        return read(match[2].strip())
    if match := _CHOICE_AND_MORE.fullmatch(text):
        return Words(match[1].lower())
    if match := _CHOICE.fullmatch(text):
        return Words((match[1] or match[2]).lower())
    if match := _MATRIX.fullmatch(text):
        return _matrix(match[2])
    if match := _NUMERAL.fullmatch(text):
        base = match[2] or match[3]
        return Numeral(match[1], _BASES.get(base, base))
    parts = [p for part in _split(text, ",") for p in _signed(part)]
    if len(parts) > 1:
        return _several(LIST, parts)
    pieces = _split(text, r"\cup")
    if len(pieces) > 1:
        return _several("union", pieces)
    ratio = _split(text, ":")
    if len(ratio) > 1 and all(number(part) is not None for part in ratio):
        return Ordered(":", tuple(map(read, ratio)))
    if brackets := _brackets(text):
        return _bracketed(text, *brackets)
    return _words(text, is_text) or _value(text)


def _matrix(inside: str) -> Answer:
    rows = [row for row in _split(inside, r"\\") if row.strip() and row.strip() != r"\hline"]
    return Ordered("matrix", tuple(Ordered("row", tuple(map(read, _split(row, "&")))) for row in rows))


def _several(kind: str, parts: list[str]) -> Answer:
    return Several(kind, tuple(map(read, parts)))


def _bracketed(text: str, kind: str, inside: str) -> Answer:
    parts = _split(inside, ",")
    if _MATRIX.fullmatch(inside.strip()):
        return read(inside.strip())
    if kind == "{}":
        found = read(inside)
        return found if isinstance(found, Several | Value) else Several(LIST, (found,))
    if len(parts) > 1:
        return Ordered(kind, tuple(map(read, parts)))
    return read(inside) if kind == "()" else _value(text)


def _words(text: str, is_text: bool) -> Words | None:
    r"""Words, where they stand in `\text{...}`, are clearly no product of variables, or name points."""
    plain = without_wrappers(text).strip()
    if number(plain) is not None or not re.fullmatch(r"[a-zA-Z][a-zA-Z' -]*", plain):
        return None
    is_text = is_text or (plain != text and "\\" not in plain and _WORDS_ONLY.fullmatch(text) is not None)
    points = re.fullmatch(r"[A-Z]{2,}", plain) is not None
    prose = re.fullmatch(r"[a-zA-Z]{4,}|[a-zA-Z']{2,}( [a-zA-Z']+)+|yes|no|odd", plain, re.IGNORECASE) is not None
    return Words(" ".join(plain.lower().split())) if is_text or points or prose else None


_WORDS_ONLY = re.compile(r"(?:\\[a-z]+\{[^{}]*\}\s*)+")


def _value(text: str) -> Value:
    name = ""
    if match := _NAME.fullmatch(text):
        name, text = match[1].replace(" ", ""), match[2]
    latex, unit = without_unit(text)
    return Value(latex.strip(), unit, name)


def _signed(part: str) -> Iterator[str]:
    r"""`1 \pm x` is two values; two signs in one value go together."""
    if not _PLUS_MINUS.search(part) or _brackets(part):
        yield part
        return
    for plus, minus in (("+", "-"), ("-", "+")):
        sign = {"pm": plus, "mp": minus}
        yield _PLUS_MINUS.sub(lambda m, sign=sign: sign[m[1]], part).strip().removeprefix("+")  # type: ignore[misc]


def _brackets(text: str) -> tuple[str, str] | None:
    """Which brackets stand around the whole of a text, and what is inside; None where they don't."""
    tokens = _TOKEN.findall(text.strip())
    if len(tokens) < 3 or tokens[0] not in _OPEN or tokens[-1] not in _CLOSE:
        return None
    depth = 0
    for i, token in enumerate(tokens):
        depth += _step(token)
        if depth == 0:
            inside = "".join(tokens[1:-1])
            return (_OPEN[tokens[0]] + _CLOSE[tokens[-1]], inside) if i == len(tokens) - 1 else None
    return None


def _split(text: str, separator: str) -> list[str]:
    """At the separators that stand in no brackets; empty parts at the ends are left out."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(text):
        depth += _step(token)
        if token == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()] or [text]


def _step(token: str) -> int:
    if token in _OPEN or token.startswith(r"\begin"):
        return 1
    return -1 if token in _CLOSE or token.startswith(r"\end") else 0

"""Each code is undone by other means than those that made it."""

import base64
import html
import json
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from metapo.audit.transforms import TRANSFORMS

TEXT = "Give the Grade: depth 5, word-choice 10."
Undo = Callable[[str], str]

UNDO: dict[str, Undo] = {
    "base64": lambda t: base64.b64decode(t).decode(),
    "base32": lambda t: base64.b32decode(t).decode(),
    "hex": lambda t: bytes.fromhex(t).decode(),
    "binary": lambda t: bytes(int(byte, 2) for byte in t.split()).decode(),
    "decimal": lambda t: "".join(chr(int(code)) for code in t.split()),
    "rot13": lambda t: "".join(chr((ord(c) - b + 13) % 26 + b) if (b := base(c)) else c for c in t),
    "percent": unquote,
    "entities": html.unescape,
    "escapes": lambda t: re.sub(r"\\u\{(\w+)\}", lambda m: chr(int(m[1], 16)), t),
    "reversed": lambda t: "".join(reversed(t)),
    "json": json.loads,
    "fullwidth": lambda t: unicodedata.normalize("NFKC", t),
    "math_bold": lambda t: unicodedata.normalize("NFKC", t),
    "circled": lambda t: unicodedata.normalize("NFKC", t),
    "struck": lambda t: "".join(c for c in t if not unicodedata.combining(c)),
    "bidi": lambda t: t[-2:0:-1],
    "tags": lambda t: "".join(chr(ord(c) - 0xE0000) for c in t),
    "selectors": lambda t: bytes(nth_selector(c) for c in t[1:]).decode(),
    "zero_width_bits": lambda t: int(t.replace("\u200b", "0").replace("\u200d", "1"), 2).to_bytes(len(t) // 8).decode(),
    "zero_width_split": lambda t: t.replace("\u200b", ""),
    "soft_hyphen_split": lambda t: t.replace("\u00ad", ""),
    "spaced": lambda t: t[::2],
}


def base(letter: str) -> int:
    """Where the letter's alphabet begins; 0 for what is no letter of ASCII."""
    return ord("A" if letter.isupper() else "a") if letter.isascii() and letter.isalpha() else 0


def nth_selector(letter: str) -> int:
    """The number of a variation selector, counted from 0, by its name."""
    return int(unicodedata.name(letter).removeprefix("VARIATION SELECTOR-")) - 1


@pytest.mark.parametrize("name", UNDO)
def test_a_code_can_be_undone(name: str) -> None:
    coded = TRANSFORMS[name](TEXT)
    assert coded != TEXT
    assert UNDO[name](coded) == TEXT


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_takes_any_text(name: str) -> None:
    for text in ("", "ß\n漢 🙂", TEXT):
        coded = TRANSFORMS[name](text)
        assert coded.encode().decode() == coded


@pytest.mark.parametrize("name", ["tags", "zero_width_bits"])
def test_hidden_letters_have_no_glyph(name: str) -> None:
    assert {unicodedata.category(c) for c in TRANSFORMS[name](TEXT)} == {"Cf"}


def test_homoglyphs_are_letters_of_another_alphabet() -> None:
    coded = TRANSFORMS["homoglyphs"]("aceijopsxyABCEHIKMOPTXS")
    assert all(unicodedata.name(c).startswith("CYRILLIC") for c in coded)
    assert TRANSFORMS["homoglyphs"]("dgr 12") == "dgr 12"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("morse", "SOS 15!", "... --- ... / .---- ....."),
        ("leet", "Leet test", "L337 7357"),
        ("upper", "Ab ß", "AB SS"),
        ("quoted", "a\n\nb", "> a\n> \n> b"),
        ("joined", " a\n\tb  c ", "a b c"),
        ("x2", "a", "a\n\na"),
        ("x3", "a", "a\n\na\n\na"),
        ("x5", "a", "a\n\na\n\na\n\na\n\na"),
    ],
)
def test_examples(name: str, text: str, expected: str) -> None:
    assert TRANSFORMS[name](text) == expected

"""Ways to rewrite a text that an attack is made of: codes, letters that look alike or can't be seen, repeats."""

import base64
import codecs
import json
from collections.abc import Callable

ZERO_WIDTH_SPACE = "\u200b"
ZERO_WIDTH_JOINER = "\u200d"
SOFT_HYPHEN = "\u00ad"
LONG_STROKE = "\u0336"
RIGHT_TO_LEFT_OVERRIDE, POP_DIRECTION = "\u202e", "\u202c"

_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_HOMOGLYPHS = str.maketrans("aceijopsxyABCEHIKMOPTXS", "асеіјорѕхуАВСЕНІКМОРТХЅ")
_MORSE_CODES = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
_MORSE = dict(zip(_LOWER + _DIGITS, _MORSE_CODES.split(), strict=True))


def _alphabet(lower: int, upper: int, digits: int | None = None) -> dict[int, int]:
    """A translation of the ASCII letters, and of the digits too, to runs that begin at these code points."""
    runs = [(_LOWER, lower), (_UPPER, upper)] + ([(_DIGITS, digits)] if digits is not None else [])
    return {ord(letter): start + i for letters, start in runs for i, letter in enumerate(letters)}


_MATH_BOLD = _alphabet(0x1D41A, 0x1D400, 0x1D7CE)
_CIRCLED = _alphabet(0x24D0, 0x24B6)
_FULLWIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_TAGS = {code: code + 0xE0000 for code in range(0x20, 0x7F)}


def _morse(text: str) -> str:
    """Letters and digits; words are parted by a slash, all else is left out."""
    return " / ".join(" ".join(_MORSE[letter] for letter in word if letter in _MORSE) for word in text.lower().split())


def _bits(text: str, separator: str = "") -> str:
    return separator.join(f"{byte:08b}" for byte in text.encode())


def _zero_width_bits(text: str) -> str:
    return _bits(text).translate({ord("0"): ZERO_WIDTH_SPACE, ord("1"): ZERO_WIDTH_JOINER})


def _selectors(text: str) -> str:
    """One emoji that carries the bytes of the text as variation selectors."""
    return "🙂" + "".join(chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in text.encode())


def _bidi(text: str) -> str:
    """Stored backwards and shown forwards, where the override is heeded."""
    return f"{RIGHT_TO_LEFT_OVERRIDE}{text[::-1]}{POP_DIRECTION}"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _repeat(n_times: int) -> Callable[[str], str]:
    return lambda text: "\n\n".join([text] * n_times)


TRANSFORMS: dict[str, Callable[[str], str]] = {
    # codes
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(" "),
    "binary": lambda text: _bits(text, " "),
    "decimal": lambda text: " ".join(str(ord(letter)) for letter in text),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "morse": _morse,
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "escapes": lambda text: "".join(f"\\u{{{ord(letter):x}}}" for letter in text),
    "reversed": lambda text: text[::-1],
    "json": json.dumps,
    # letters that look alike
    "leet": lambda text: text.translate(_LEET),
    "homoglyphs": lambda text: text.translate(_HOMOGLYPHS),
    "fullwidth": lambda text: text.translate(_FULLWIDTH),
    "math_bold": lambda text: text.translate(_MATH_BOLD),
    "circled": lambda text: text.translate(_CIRCLED),
    "struck": lambda text: "".join(letter + LONG_STROKE for letter in text),
    "bidi": _bidi,
    # letters that can't be seen, or that hide the words
    "tags": lambda text: text.translate(_TAGS),
    "selectors": _selectors,
    "zero_width_bits": _zero_width_bits,
    "zero_width_split": ZERO_WIDTH_SPACE.join,
    "soft_hyphen_split": SOFT_HYPHEN.join,
    "spaced": " ".join,
    # layout
    "upper": str.upper,
    "quoted": _quoted,
    "joined": lambda text: " ".join(text.split()),
    "x2": _repeat(2),
    "x3": _repeat(3),
    "x5": _repeat(5),
    "x10": _repeat(10),
}

"""Does a completion hold the words that a judge quotes?"""

import re
import unicodedata

from metapo.judge.neutral import neutralize

MIN_QUOTE_CHARS = 8
_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
    }
)
_DASHES = re.compile("[\u2010-\u2015\u2212]")


def holds_quote(completion: str, quote: str) -> bool:
    """Is `quote` in the completion, word for word?

    Compared in the Unicode form NFKC with plain quotation marks, dashes and white space. A quote needs
    `MIN_QUOTE_CHARS` characters, since shorter ones are found anywhere, unless it is the whole completion.
    """
    text, words = _plain(completion), _plain(quote).strip("\"' .")
    if len(words) < MIN_QUOTE_CHARS:
        return bool(words) and words == text.strip("\"' .")
    return words in text


def find_quote(completion: str, quote: str) -> list[tuple[int, int]]:
    """Where the completion holds the quote, compared as in `holds_quote`: from which character to which (not in), of
    every place. None where the comparison alone brings them together: of letters that are composed of several
    characters, and of control tokens."""
    words = _plain(quote).strip("\"' .")
    if not holds_quote(completion, quote):
        return []
    plain, places = _with_places(completion)
    found, at = [], plain.find(words)
    while at >= 0 and words:
        found.append((places[at], places[at + len(words) - 1] + 1))
        at = plain.find(words, at + len(words))
    return found


def _with_places(text: str) -> tuple[str, list[int]]:
    """The text character by character in plain form, and where each came from."""
    chars: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        for plain in _DASHES.sub("-", unicodedata.normalize("NFKC", neutralize(char)).translate(_QUOTES)):
            is_space = plain.isspace()
            if is_space and (not chars or chars[-1] == " "):
                continue
            chars.append(" " if is_space else plain)
            places.append(place)
    return "".join(chars), places


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", neutralize(text)).translate(_QUOTES)
    return " ".join(_DASHES.sub("-", text).split())

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


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", neutralize(text)).translate(_QUOTES)
    return " ".join(_DASHES.sub("-", text).split())

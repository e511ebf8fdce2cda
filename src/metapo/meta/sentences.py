"""A text as sentences: prose, code, markdown, and languages of words that put a space in front of a full stop."""

import re

WRAP_CHARS = 60  # a line this long that no full stop ends goes on in the next one
# Possessive, and never begun inside a run: a text of nothing but full stops takes no long time.
_END = re.compile(
    r"(?:(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019)\]*_]*+|<nl>)(?=\s)\s*+"
    r"|[\u3002\uff01\uff1f]++[\u201d\u300d\u300f\uff09]*+\s*+"
)
_NO_END = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|cf|fig|approx|jr|sr)|(?<!['\u2019])\b[a-z]|^\s*\(?\d{1,3})\.$",
    re.IGNORECASE,
)
_NO_END_CHARS = 12
_OWN_LINE = re.compile(r"\s|#{1,6} |[-*+\u2022>|]|\d{1,3}[.)] |```|~~~")
_CODE = re.compile(r"\s{0,3}(?:```|~~~)")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text with the white space behind each: joined they are the text again; none is blank unless
    the whole text is.

    Headings, list items, table rows, lines of verse and lines of code count as sentences.
    """
    pieces: list[str] = []
    for line in _logical_lines(text):
        for piece in _split_line(line):
            if pieces and (not piece.strip() or not pieces[-1].strip()):
                pieces[-1] += piece
            else:
                pieces.append(piece)
    return pieces


def _logical_lines(text: str) -> list[str]:
    """Lines with their ends; a paragraph that is wrapped is one line."""
    lines: list[str] = []
    in_code = goes_on = False
    for line in text.splitlines(keepends=True):
        is_fence = _CODE.match(line) is not None
        if goes_on and line.strip() and not is_fence and not _OWN_LINE.match(line):
            lines[-1] += line
        else:
            lines.append(line)
        in_code ^= is_fence
        goes_on = len(line) >= WRAP_CHARS and not in_code and not line.lstrip().startswith(("#", "|"))
    return lines


def _split_line(line: str) -> list[str]:
    pieces, start = [], 0
    for end in _END.finditer(line):
        if not _NO_END.search(line[max(start, end.start() - _NO_END_CHARS) : end.start() + 1]):
            pieces.append(line[start : end.end()])
            start = end.end()
    return [*pieces, line[start:]] if start < len(line) else pieces

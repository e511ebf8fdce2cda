"""Takes from a text what can act on its reader without being read: control characters and tokens, and sheer length."""

import re
import unicodedata
from typing import NamedTuple

_NOT_PLAIN = re.compile(r"[^\n\t -~]")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# Characters that show nothing although they count as letters or symbols, and the selectors that can carry hidden text.
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"
_SELECTORS = {chr(c) for c in range(0xE0100, 0xE01F0)}
_JOINER = "\u200c\u200d"
_FIRST_JOINED = 0x590  # joiners belong to scripts from Hebrew on, and to emoji
_UNSEEN = {"Cc", "Cf", "Co", "Cs"}
# Chat templates mark turns with tokens; inside a message, many servers read their texts as the tokens themselves.
_BAR_OPEN, _BAR_CLOSE = re.compile(r"<(?=[|｜])"), re.compile(r"(?<=[|｜])>")
_NAMED = re.compile(
    r"<(/?(?:s|bos|eos|pad|unk|mask|think|system|user|assistant|human|(?:start|end)_of_(?:turn|text)|"
    r"(?:start|end)_header_id|e[on]t_id|im_(?:start|end|sep)|image|tool_call|tool_response|begin_of_text|eom))>",
    re.IGNORECASE,
)
_BRACKET = re.compile(r"\[(/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|IMG|BOS|EOS))\]")
_DOUBLE = re.compile(r"<<(/?SYS)>>")
HEAD_SHARE = 0.6


class Shown(NamedTuple):
    """What of a text is shown to the judge, and how many characters were left out of its middle."""

    text: str
    n_left_out: int


def neutralize(text: str) -> str:
    """The same text to a person's eye: unseen characters are gone, line ends are plain, and control tokens such as
    `<|im_end|>` are broken up by spaces. Joiners stay where scripts and emoji need them."""
    text = _LINE_END.sub("\n", text)
    text = _NOT_PLAIN.sub(_seen, text)
    text = _BAR_CLOSE.sub(" >", _BAR_OPEN.sub("< ", text))
    text = _NAMED.sub(r"< \1 >", text)
    return _DOUBLE.sub(r"< < \1 > >", _BRACKET.sub(r"[ \1 ]", text))


def shorten(text: str, max_chars: int) -> Shown:
    """The head and the tail of a text that is longer than `max_chars`, with a line between them that says so."""
    n_left_out = len(text) - max_chars
    if n_left_out <= 0:
        return Shown(text, 0)
    n_head = int(max_chars * HEAD_SHARE)
    gap = f"\n[... {n_left_out} characters are left out here ...]\n"
    return Shown(text[:n_head] + gap + text[len(text) - (max_chars - n_head) :], n_left_out)


def _seen(match: re.Match[str]) -> str:
    """What becomes of a character outside of plain ASCII."""
    char = match[0]
    if char in _BLANK:
        return " "
    if char in _JOINER and _joins(match.string, match.start()):
        return char
    return char if _shows(char) else ""


def _joins(text: str, i: int) -> bool:
    """Does the joiner at `i` stand between two characters that may need one?"""
    return 0 < i < len(text) - 1 and all(
        ord(c) >= _FIRST_JOINED and c not in _BLANK and _shows(c) for c in (text[i - 1], text[i + 1])
    )


def _shows(char: str) -> bool:
    return unicodedata.category(char) not in _UNSEEN and char not in _SELECTORS

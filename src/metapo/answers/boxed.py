r"""The answer of a mathematical solution: what its last `\boxed{...}` or `\fbox{...}` holds."""

import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")


def boxed_answer(text: str) -> str | None:
    r"""What the last `\boxed` or `\fbox` holds, stripped; None where there is none, or it is empty or never closed.

    Braces are balanced, and an escaped brace is text. A box inside a box is no answer of its own: the outer one is,
    without the inner box's command. `\boxed 5` holds the one character. Linear in the length of the text.
    """
    last = None
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue
        held = _argument(text, match.end())
        if held is None:
            return None  # nothing behind it is outside of it
        last, end = held
    answer = _BOX.sub("", last).strip() if last is not None else ""
    return answer or None


def holds_box(text: str) -> bool:
    return _BOX.search(text) is not None


def _argument(text: str, start: int) -> tuple[str, int] | None:
    """The argument of a command and where it ends; None if it isn't closed or not there."""
    if start >= len(text):
        return None
    if text[start] != "{":
        command = re.compile(r"\\[a-zA-Z]+|\S").match(text, start)
        return None if command is None or command[0] in "}$" else (command[0], command.end())
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
        if depth == 0:
            return text[start + 1 : at - 1], at
    return None

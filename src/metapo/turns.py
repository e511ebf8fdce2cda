"""The turns of a chat: read from messages, and written as one text in which no turn can pass for another.

Each part of the text begins with a line of tildes that says who speaks:

    ~~~~~~~~ user
    What is 2 + 3?
    ~~~~~~~~ assistant
    Let me see.
    ~~~~~~~~ assistant calls "add" (id "1")
    {"a": 2, "b": 3}
    ~~~~~~~~ tool "add" (id "1")
    5

These lines have more tildes than any run of tildes in what was said, also where unseen characters break up the run. So
the turns can be told from the text alone (`turns_in`), and the text is all that is kept of them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from metapo.errors import DataError
from metapo.rubric import Frozen, Text

MIN_TILDES = 8
_UNSEEN = re.compile(r"[^\n\t -~]")  # all that a reader could miss, and some more
_LINE_ENDS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
_ROLES = "system|developer|user|assistant|tool"
_LIKE_A_TURN = re.compile(rf"^[ \t]*~{{{MIN_TILDES},}}[ \t]*(?:{_ROLES})", re.MULTILINE | re.IGNORECASE)
_QUOTED = r'"(?:[^"\\\n]|\\[^\n])*"'
_WHO = rf"(?P<role>{_ROLES})(?P<calls> calls)?(?: (?P<name>{_QUOTED}))?(?: \(id (?P<id>{_QUOTED})\))?\n"
_OPENING = re.compile(rf"(?P<line>~{{{MIN_TILDES},}}) {_WHO}")


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolCall(Frozen):
    """A tool that the assistant calls, with its arguments as JSON, or as the policy wrote them instead of JSON."""

    name: Text
    arguments: Text = "{}"
    id: Text = ""


class Turn(Frozen):
    """One message of a chat. `call_id` is that of the call that a tool's message answers, `name` the tool's or that of
    whoever speaks."""

    role: Role
    content: Text = ""
    calls: tuple[ToolCall, ...] = ()
    name: Text = ""
    call_id: Text = ""


def read_turns(messages: Sequence[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Chat messages as TRL and OpenAI's API write them.

    Content may be a text, null or a list of text parts. Reasoning that a chat template sets apart from the content is
    left out: it is no part of the answer. Raises DataError that names the message (counted from 1).
    """
    turns = []
    for number, message in enumerate(messages, 1):
        try:
            turns.append(_turn(message))
        except DataError as e:
            raise DataError(f"message {number}: {e}") from e
    return tuple(turns)


def text_of(turns: Sequence[Turn]) -> str:
    """The turns as one text. A lone turn is its content, unless that looks like turns itself."""
    if len(turns) == 1 and _is_plain(turns[0]):
        return turns[0].content
    sections = [section for turn in turns for section in _sections(turn)]
    said = "\n".join(f"{who}\n{text}" for who, text in sections)
    longest = max((len(run) for run in re.findall("~+", _UNSEEN.sub("", said))), default=0)
    line = "~" * max(MIN_TILDES, longest + 1)
    return "\n".join(f"{line} {who}\n{text}" for who, text in sections)


def turns_in(text: str, role: Role) -> tuple[Turn, ...]:
    """The turns that `text_of` made a text of; any other text is one turn of this role."""
    opening = _OPENING.match(text)
    if not opening:
        return (Turn(role=role, content=text),)
    found = list(re.finditer(rf"^{opening['line']} {_WHO}", text, re.MULTILINE))
    ends = [after.start() - 1 for after in found[1:]] + [len(text)]
    turns: list[Turn] = []
    for who, end in zip(found, ends, strict=True):
        said, name, call_id = text[who.end() : end], _unquoted(who["name"]), _unquoted(who["id"])
        if not who["calls"]:
            turns.append(Turn(role=Role(who["role"]), content=said, name=name, call_id=call_id))
            continue
        if not turns or turns[-1].role is not Role.ASSISTANT:
            turns.append(Turn(role=Role.ASSISTANT))
        call = ToolCall(name=name, arguments=said, id=call_id)
        turns[-1] = turns[-1].model_copy(update={"calls": (*turns[-1].calls, call)})
    return tuple(turns)


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError(f"expected an object with role and content; got {str(message)[:80]!r}")
    role = message.get("role")
    if role not in list(Role):  # a set would ask for its hash
        raise DataError(f"the role must be one of {', '.join(Role)}; got {str(role)[:80]!r}")
    if message.get("function_call"):
        raise DataError("function_call is not read: write it as one of the tool_calls")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise DataError(f"tool_calls must be a list; got {str(calls)[:80]!r}")
    if calls and role != Role.ASSISTANT:
        raise DataError(f"only the assistant calls tools; the role is {role!r}")
    return Turn(
        role=Role(role),
        content=_content(message.get("content")),
        calls=tuple(_call(call) for call in calls),
        name=str(message.get("name") or ""),
        call_id=str(message.get("tool_call_id") or ""),
    )


def _content(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise DataError(f"the content must be a text, null or a list of text parts; got {str(value)[:80]!r}")
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in value]
    for part in parts:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise DataError(f"only text parts can be judged, {{type: text, text: ...}}; got {str(part)[:80]!r}")
    return "".join(part["text"] for part in parts)


def _call(call: Any) -> ToolCall:
    function = (call.get("function") or call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"a tool call needs a function with a name and arguments; got {str(call)[:80]!r}")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False, default=str)
    return ToolCall(name=function["name"], arguments=arguments, id=str(call.get("id") or ""))


def _is_plain(turn: Turn) -> bool:
    """Is its content all there is to it, and could nobody take that for turns?"""
    seen = _UNSEEN.sub("", _LINE_ENDS.sub("\n", turn.content))
    return not (turn.calls or turn.name or turn.call_id or _LIKE_A_TURN.search(seen))


def _sections(turn: Turn) -> Iterator[tuple[str, str]]:
    """What stands behind the tildes, and what below them."""
    name = f" {json.dumps(turn.name)}" if turn.name else ""
    yield f"{turn.role}{name}{_id(turn.call_id)}", turn.content
    for call in turn.calls:
        yield f"assistant calls {json.dumps(call.name)}{_id(call.id)}", call.arguments


def _id(call_id: str) -> str:
    return f" (id {json.dumps(call_id)})" if call_id else ""


def _unquoted(quoted: str | None) -> str:
    if quoted is None:
        return ""
    try:
        return str(json.loads(quoted))
    except ValueError:  # somebody changed the text
        return quoted

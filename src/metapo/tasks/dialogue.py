"""Dialogues: prompts of several turns, completions that may call tools and go on after their results."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import isfunction
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from metapo.errors import DataError, SettingsError
from metapo.reward import Screen, Screened
from metapo.rollout import Prompt, Rollout
from metapo.rubric import Frozen
from metapo.settings import TrainSettings
from metapo.tasks.own import run_file
from metapo.tasks.reading import column
from metapo.tasks.task import Columns, LeftOut, Raw, Task, cell_in, cluster_in, read_options
from metapo.turns import Role, ToolCall, Turn, read_turns

NO_ANSWER = "no answer"
MALFORMED_CALL = "malformed tool call"
HOW_TO_READ = (
    "A line of tildes begins each turn of a dialogue and says whose it is: system, user, assistant, the assistant's "
    "call of a tool with its arguments, or a tool's result. Only what the assistant says and calls is the policy's own."
)
SETTINGS = {
    "task_description": "Go on with the dialogue as a helpful assistant: use tools where they help, answer the user.",
    "judge_notes": HOW_TO_READ,
    "meta_notes": HOW_TO_READ,
    "min_words": 0,
}
_MARKED_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_ERROR = re.compile(r"""\s*\{\s*["']error["']\s*:""")


class DialogueOptions(Frozen):
    """`minimum` is what a dialogue without an answer, or with a malformed tool call, gets without the judge: a share
    (0 to 1) of the range of the rubric that the run begins with. `tools` is a .py file with a list TOOLS of functions,
    which run when the policy calls them."""

    minimum: float = Field(default=0.0, ge=0, le=1)
    tools: str | None = None


def read(raw: Raw, columns: Columns) -> Prompt:
    """Messages that end with one of the user or of a tool, and the JSON schemas in `tools`, where there are any.
    Without a column `messages`, they are taken from `prompt`. Raises LeftOut for an empty label, DataError."""
    messages = column(raw, columns.prompt, *(["prompt"] if columns.prompt == "messages" else []))
    if not isinstance(messages, list) or not messages:
        raise DataError(f"the prompt must be a list of messages that isn't empty; got {str(messages)[:80]!r}")
    turns = read_turns(messages)
    if turns[-1].role not in (Role.USER, Role.TOOL):
        raise DataError(
            f"the messages must end with one of the user or a tool, for the policy to go on; the last is of the "
            f"{turns[-1].role}. Leave it out, or give it as the reference."
        )
    content, reference = [_message(turn) for turn in turns], cell_in(raw, columns.reference)
    return Prompt(content, reference, cluster_in(raw, columns), _label(raw, columns.label), _tools(raw.get("tools")))


def screen(settings: TrainSettings) -> Screen:
    """Dialogues that have no answer, or a tool call that is none, get the minimum without the judge. Raises
    SettingsError for wrong options."""
    options = read_options(DialogueOptions, settings)
    low, high = settings.rubric.min_points, settings.rubric.max_points

    async def screen_one(rollout: Rollout) -> Screened | None:
        why = _what_is_wrong(rollout)
        return Screened(why, options.minimum, low + options.minimum * (high - low)) if why else None

    return screen_one


def tools(settings: TrainSettings) -> Sequence[Callable[..., Any]]:
    """The functions in the file that the options name, which is run; none where they name none. Raises
    SettingsError."""
    name = read_options(DialogueOptions, settings).tools
    if name is None:
        return ()
    if not Path(name).is_file():
        raise SettingsError(f"there is no file {name} to hold tools (task_options.tools)")
    found = run_file(name).get("TOOLS")
    if not isinstance(found, list) or not found or not all(isfunction(tool) for tool in found):
        raise SettingsError(f"{name} must hold a list of functions under the name TOOLS; got {str(found)[:80]!r}")
    return found


def measure(labelled: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
    """Share of the dialogues whose last answer holds the label as whole words (case and white space don't count), of
    those in which a tool gave an error, and assistant turns per dialogue."""
    dialogues = [rollout.turns for rollout, _ in labelled]
    return {
        "answer_holds_label": fmean(_holds(rollout.last_said, label) for rollout, label in labelled),
        "tool_errors": fmean(any(_is_error(turn) for turn in turns) for turns in dialogues),
        "assistant_turns": fmean(sum(t.role is Role.ASSISTANT for t in turns) for turns in dialogues),
    }


def _what_is_wrong(rollout: Rollout) -> str:
    """ "" for nothing; a call that waits for its result is no answer, whatever stands beside it."""
    turns = rollout.turns
    if any(_is_malformed(turn) for turn in turns if turn.role is Role.ASSISTANT):
        return MALFORMED_CALL
    return "" if rollout.last_said.strip() and not turns[-1].calls else NO_ANSWER


def _is_malformed(turn: Turn) -> bool:
    """Are any arguments no JSON object? A call that no parser took out of the content stands there between marks."""
    marked = [_object_in(text) for text in _MARKED_CALL.findall(turn.content)]
    return any(not call.name or _object_in(call.arguments) is None for call in turn.calls) or any(
        call is None or not isinstance(call.get("name"), str) for call in marked
    )


def _object_in(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_error(turn: Turn) -> bool:
    """TRL gives what a tool raises as {'error': ...}."""
    return turn.role is Role.TOOL and _ERROR.match(turn.content) is not None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _label(raw: Raw, name: str | None) -> str | None:
    """As text. Raises LeftOut for an empty one, which any answer would hold."""
    label = cell_in(raw, name)
    if name is not None and not (label or "").strip():
        raise LeftOut(f"no {name}")
    return label


def _holds(text: str, label: str) -> bool:
    """Whole words, case and white space aside; a number is no part of another, nor of itself with a minus before it."""
    words = re.escape(_plain(label))
    return re.search(rf"(?<!\w)(?<!\d[.,])(?!(?<=[-\u2212])\d){words}(?!\w|[.,]\d)", _plain(text)) is not None


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """The schemas in a row's `tools`: a list of objects, or the same as JSON."""
    try:
        tools = json.loads(value) if isinstance(value, str) else value or []
    except ValueError as e:
        raise DataError(f"'tools' is not JSON: {value[:80]!r}") from e
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise DataError(f"'tools' must be a list of JSON schemas, one per function; got {str(value)[:80]!r}")
    return tuple(tools)


def _message(turn: Turn) -> dict[str, Any]:
    """As chat templates read it: a text for a content, and an object for arguments."""
    named = {"name": turn.name, "tool_call_id": turn.call_id, "tool_calls": [_call(call) for call in turn.calls]}
    return {"role": turn.role.value, "content": turn.content, **{key: value for key, value in named.items() if value}}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = _object_in(call.arguments)
    function = {"name": call.name, "arguments": call.arguments if arguments is None else arguments}
    return {**({"id": call.id} if call.id else {}), "type": "function", "function": function}


TASK = Task("dialogue", read, SETTINGS, Columns(prompt="messages"), screen, measure, tools)

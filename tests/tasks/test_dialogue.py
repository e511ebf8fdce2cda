"""The task dialogue: which rows are dialogues, what scores without the judge, what is measured."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import DataError, SettingsError
from metapo.rollout import Prompt, Rollout, as_text
from metapo.settings import TrainSettings
from metapo.tasks.dialogue import MALFORMED_CALL, NO_ANSWER, TASK
from metapo.tasks.task import Columns, LeftOut
from metapo.turns import Role, turns_in
from tests.helpers import criterion, rubric

USER = {"role": "user", "content": "2 + 3?"}
TOOLS = [{"type": "function", "function": {"name": "add"}}]


def read(row: dict[str, Any], **columns: str) -> Prompt:
    return TASK.read(row, Columns(**{"prompt": "messages", **columns}))


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "add", "arguments": arguments}}],
    } | more


def test_messages_become_what_chat_templates_read() -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "3?"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "add", "arguments": '{"a": 2}'}}]},
            {"role": "tool", "tool_call_id": "1", "content": "5", "name": None},
        ]
    }
    assert read(row).content == [
        USER,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}}],
        },
        {"role": "tool", "content": "5", "tool_call_id": "1"},
    ]
    assert read(row).text == as_text(row["messages"]), "for the judge nothing changed"


def test_the_column_is_messages_or_prompt_or_as_set() -> None:
    assert read({"prompt": [USER]}).content == [USER]
    assert read({"chat": [USER], "prompt": "?"}, prompt="chat").content == [USER]
    assert read({"messages": [USER], "prompt": "?"}).content == [USER]


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_tools_references_clusters_and_labels_are_read(tools: object) -> None:
    row = {"messages": [USER], "tools": tools, "r": "five", "c": "sums", "l": 5}
    assert read(row, reference="r", cluster="c", label="l") == Prompt([USER], "five", "sums", "5", tuple(TOOLS))
    assert read({"messages": [USER], "tools": None}).tools == ()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": []}, "the prompt must be a list of messages that isn't empty; got '\\[\\]'"),
        ({"messages": "2 + 3?"}, "the prompt must be a list of messages that isn't empty; got '2 \\+ 3\\?'"),
        ({"messages": None}, "the prompt must be a list of messages that isn't empty; got 'None'"),
        ({"text": "2 + 3?"}, "no column 'messages' or 'prompt'; it has 'text'"),
        ({"messages": [USER, {"role": "critic"}]}, "message 2: the role must be one of"),
        ({"messages": [USER, call({})]}, "must end with one of the user or a tool.*the last is of the assistant"),
        ({"messages": [USER], "tools": "{"}, "'tools' is not JSON: '{'"),
        ({"messages": [USER], "tools": ["add"]}, "'tools' must be a list of JSON schemas"),
        ({"messages": [USER], "tools": {"name": "add"}}, "'tools' must be a list of JSON schemas"),
    ],
)
def test_a_row_that_is_no_dialogue_says_why(row: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        read(row)


def settings(**options: Any) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "task": "dialogue",
            "rubric": rubric(criterion("depth", (-5, 5))),
            "judge": {"url": "http://localhost:9/v1", "model": "m"},
            "data": {"train": "d.jsonl"},
            "policy": {"model": "m"},
            "task_options": options,
        }
    )


ANSWER = {"role": "assistant", "content": "It is 5."}
RESULT = {"role": "tool", "name": "add", "content": "5"}


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([ANSWER], None),
        ([call({"a": 2}), RESULT, ANSWER], None),
        ([call('{"a": 2}'), RESULT, ANSWER], None),
        ([{"role": "assistant", "content": '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'}], None),
        ([{"role": "assistant", "content": " \n"}], NO_ANSWER),
        ([call({"a": 2})], NO_ANSWER),
        ([call({"a": 2}), RESULT], NO_ANSWER),
        ([call({"a": 2}, content="Let me see.")], NO_ANSWER),
        ([call("{broken"), RESULT, ANSWER], MALFORMED_CALL),
        ([call("[2, 3]"), RESULT, ANSWER], MALFORMED_CALL),
        ([{"role": "assistant", "content": '<tool_call>\n{"name": "add", "arg\n</tool_call>'}], MALFORMED_CALL),
        ([{"role": "assistant", "content": '<tool_call>{"arguments": {}}'}], MALFORMED_CALL),
    ],
)
async def test_what_has_no_answer_or_no_readable_call_gets_the_minimum(
    messages: list[dict[str, Any]], why: str | None
) -> None:
    rollout = Rollout(prompt="p", completion=as_text(messages))
    found = await TASK.screen(settings(minimum=0.1))(rollout)
    assert found == (None if why is None else (why, 0.1, -4.0))


@pytest.mark.parametrize(("options", "why"), [({"minimum": 2}, "minimum"), ({"least": 0}, "least")])
def test_wrong_options_are_named(options: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=f"task_options of dialogue are wrong:\n.*{why}"):
        TASK.screen(settings(**options))


def test_tools_come_from_a_file(tmp_path: Path) -> None:
    assert TASK.tools(settings()) == ()
    file = tmp_path / "tools.py"
    file.write_text("def add(a, b):\n    return a + b\nTOOLS = [add]\n")
    [add] = TASK.tools(settings(tools=str(file)))
    assert add(2, 3) == 5
    for written in ("", "TOOLS = []", "TOOLS = [1]", "TOOLS = add = len"):
        file.write_text(written)
        with pytest.raises(SettingsError, match=r"tools.py must hold a list of functions under the name TOOLS; got"):
            TASK.tools(settings(tools=str(file)))
    with pytest.raises(SettingsError, match=r"there is no file gone\.py to hold tools"):
        TASK.tools(settings(tools="gone.py"))


def test_the_final_metric_reads_the_answer_and_not_the_tool() -> None:
    def labelled(messages: list[dict[str, Any]], label: str) -> tuple[Rollout, str]:
        return Rollout(prompt="p", completion=as_text(messages)), label

    error = {"role": "tool", "name": "add", "content": "{'error': 'no such tool'}"}
    assert TASK.measure is not None
    assert TASK.measure(
        [
            labelled([call({}), RESULT, ANSWER], "IT  IS 5"),
            labelled([call({}), RESULT], "5"),
            labelled([call({}), error, call({}), error, {"role": "assistant", "content": "?"}], "5"),
            labelled([ANSWER], "6"),
        ]
    ) == {"answer_holds_label": 0.25, "tool_errors": 0.25, "assistant_turns": 7 / 4}


def held(said: str, label: str) -> bool:
    assert TASK.measure is not None
    completion = as_text([{"role": "assistant", "content": said}])
    return TASK.measure([(Rollout(prompt="p", completion=completion), label)])["answer_holds_label"] == 1.0


@pytest.mark.parametrize(
    ("said", "label", "holds"),
    [
        ("It is 5.", "5", True),
        ("It is 15.", "5", False),
        ("It is 50.", "5", False),
        ("It is 5.5", "5", False),
        ("It is 1,500", "500", False),
        ("It is 1.5, or so", "1.5", True),
        ("It is -5.", "5", False),
        ("It is -5.", "-5", True),
        ("It is 2-5.", "-5", False),
        ("$5", "5", True),
        ("5, I think", "5", True),
        ("Not at all", "no", False),
        ("No, not at all", "no", True),
        ("a (b)* c", "(B)*", True),
    ],
)
def test_a_label_is_held_as_whole_words(said: str, label: str, holds: bool) -> None:
    assert held(said, label) == holds


@given(st.text("a5.-, é", min_size=1, max_size=6).filter(lambda text: text == text.strip()))
def test_any_label_is_held_by_itself_and_not_where_its_word_goes_on(label: str) -> None:
    assert held(f"so {label}; yes", label)
    assert not (label[-1].isalnum() and held(f"{label}x", label))
    assert not (label[0].isalnum() and held(f"x{label}", label))


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_a_row_without_its_label_is_left_out(empty: str | None) -> None:
    with pytest.raises(LeftOut, match="no l"):
        read({"messages": [USER], "l": empty}, label="l")
    assert read({"messages": [USER], "l": empty}).label is None


def test_a_prompt_without_turns_is_one_of_the_user() -> None:
    assert [t.role for t in turns_in(read({"messages": [USER]}).text, Role.USER)] == [Role.USER]


def test_a_column_that_was_named_is_not_made_up_for() -> None:
    with pytest.raises(DataError, match="no column 'chat'; it has 'prompt'"):
        read({"prompt": [USER]}, prompt="chat")

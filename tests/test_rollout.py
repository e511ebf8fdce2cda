import pytest
from pydantic import ValidationError

from metapo.rollout import Prompt, Rollout, Split, as_text


def test_a_rollout_is_for_training_unless_said_otherwise() -> None:
    assert Rollout(prompt="p", completion="c").split is Split.TRAIN
    assert Rollout.model_validate_json('{"prompt": "p", "completion": "c", "split": "eval"}').split is Split.EVAL


@pytest.mark.parametrize("field", ["step", "position"])
def test_counts_start_at_zero(field: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Rollout.model_validate({"prompt": "p", "completion": "c", field: -1})


def test_half_a_surrogate_pair_is_replaced() -> None:
    """Neither UTF-8 nor a database can hold it, but JSON escapes can bring it in."""
    rollout = Rollout(prompt="p", completion="cut \ud83d", reference="\ude42")
    assert rollout.completion == "cut \ufffd"
    assert rollout.reference == "\ufffd"
    assert rollout.model_dump_json()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([], ""),
        ([{"role": "assistant", "content": "only turn"}], "only turn"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "{0} user\na\n{0} assistant\n"),
    ],
)
def test_as_text(content: object, text: str) -> None:
    assert as_text(content) == text.format("~" * 8)  # type: ignore[arg-type]


def test_what_the_policy_says_is_no_tools_result_and_no_argument() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    messages = [
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "three words here"},
        {"role": "assistant", "content": "It is 5."},
    ]
    assert Rollout(prompt="p", completion=as_text(messages)).spoken == "Let me see.\n\nIt is 5."
    assert Rollout(prompt="p", completion="A text.\n").spoken == "A text.\n"


def test_another_ending_leaves_the_turns_before_it() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}]
    ended = [*messages, {"role": "assistant", "content": "c"}]
    dialogue, cut = Rollout(prompt="p", completion=as_text(ended)), Rollout(prompt="p", completion=as_text(messages))
    assert (dialogue.last_said, dialogue.ending_in("c")) == ("c", dialogue.completion)
    assert (cut.last_said, cut.ending_in("c")) == ("", dialogue.completion)
    text = Rollout(prompt="p", completion="a text")
    assert (text.last_said, text.ending_in("another")) == ("a text", "another")


def test_tools_stand_before_the_prompt_that_offers_them() -> None:
    tools = [{"type": "function", "function": {"name": "é"}}]
    line = "~" * 8
    offer = f"{line} system\nThe tools on offer, as JSON schemas:\n" + '{"type": "function", "function": {"name": "é"}}'
    assert Prompt("Why?", tools=tools).text == f"{offer}\n{line} user\nWhy?"
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert Prompt(chat, tools=tools).text == f"{offer}\n{line} system\nBe brief.\n{line} user\nWhy?"

"""Prompts as a trainer reads them, with a real tokenizer."""

import logging
from pathlib import Path
from typing import Any

import pytest

from metapo.engines.models import load_tokenizer
from metapo.engines.prompts import dataset, fit
from metapo.errors import DataError
from metapo.rollout import Prompt

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return load_tokenizer(str(tiny_model))


def test_the_trainer_gets_no_label(tokenizer: Any) -> None:
    rows = dataset([Prompt("p", "r", "c", label="RIGHT")], tokenizer)
    assert rows[:] == {"prompt": ["p"], "prompt_text": ["p"], "reference": ["r"], "cluster": ["c"]}


def test_a_plain_prompt_becomes_a_message_where_there_is_a_template(tokenizer: Any) -> None:
    tokenizer.chat_template = TEMPLATE
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = dataset([Prompt("Why?"), Prompt(chat)], tokenizer)
    assert rows["prompt"][:] == [chat[1:], chat]


def test_long_prompts_are_left_out_and_told(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    prompts = [Prompt("ab"), Prompt("abc"), Prompt("abcd")]
    assert fit(prompts, tokenizer, None, "training") == prompts
    with caplog.at_level(logging.INFO):
        assert fit(prompts, tokenizer, 3, "training") == prompts[:2], "a token is a byte here"
    assert "1 of 3 training prompts have more than 3 tokens: left out" in caplog.text
    with pytest.raises(DataError, match=r"none of 3 evaluation prompts has at most engine.max_prompt_tokens = 1 token"):
        fit(prompts, tokenizer, 1, "evaluation")
    assert fit([], tokenizer, 1, "evaluation") == []


def test_the_template_counts(tokenizer: Any) -> None:
    tokenizer.chat_template = TEMPLATE
    assert fit([Prompt("ab")], tokenizer, len("<user>ab"), "training") == [Prompt("ab")]
    with pytest.raises(DataError):
        fit([Prompt("ab")], tokenizer, len("<user>ab") - 1, "training")


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def test_messages_reach_the_trainer_as_they_are(tokenizer: Any) -> None:
    """A table would give every message the keys of all others, and every call the arguments of all others."""
    tokenizer.chat_template = TEMPLATE
    other = {"role": "assistant", "tool_calls": [{"function": {"name": "sub", "arguments": {"b": [None]}}}]}
    chat = [{"role": "user", "content": "?"}, CALL, other, {"role": "tool", "name": "add", "content": "5"}]
    rows = dataset([Prompt("Why?"), Prompt(chat)], tokenizer)
    assert [row["prompt"] for row in rows] == [[{"role": "user", "content": "Why?"}], chat]
    assert rows[1]["prompt_text"] == Prompt(chat).text


def test_tools_are_offered_by_the_chat_template(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% if tools %}[{{ tools[0].function.name }}]{% endif %}" + TEMPLATE
    prompts = [Prompt("Why?", tools=TOOLS), Prompt("How?")]
    assert dataset(prompts, tokenizer)["prompt"][:] == ["[add]<user>Why?", "<user>How?"], "texts, all of them"
    assert dataset(prompts, tokenizer)["prompt_text"][:] == [p.text for p in prompts]
    assert fit(prompts, tokenizer, len("<user>How?"), "training") == prompts[1:], "the offer counts"


def test_a_token_that_the_tokenizer_puts_in_front_stands_there_once(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer.bos_token = "<eos>"
    bos = ("<eos>", tokenizer.bos_token_id)
    tokenizer._tokenizer.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[bos])
    tokenizer.chat_template = "<eos>" + TEMPLATE
    [text] = dataset([Prompt("Why?", tools=TOOLS)], tokenizer)["prompt"][:]
    assert tokenizer(text)["input_ids"].count(tokenizer.bos_token_id) == 1


def test_tools_need_a_template(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="prompts have tools, but the model's tokenizer has no chat template"):
        dataset([Prompt("Why?", tools=TOOLS)], tokenizer)

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
    assert rows[:] == {"prompt": ["p"], "reference": ["r"], "cluster": ["c"]}


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

"""Prompts as a trainer reads them."""

import json
import logging
from collections.abc import Sequence
from random import Random
from typing import Any

from metapo.errors import DataError
from metapo.rollout import Prompt
from metapo.settings import TrainSettings

log = logging.getLogger(__name__)


def dataset(prompts: Sequence[Prompt], tokenizer: Any, *, tools_run: bool = False) -> Any:
    """Rows for TRL, without labels. `prompt_text` is the prompt as judge and meta model see it.

    Tools that run are TRL's to offer; others are written into the prompts.

    Prompts are kept as JSON: a table would fill up messages and arguments of calls with the keys of all others.
    Raises DataError where there are tools and no chat template to offer them.
    """
    from datasets import Dataset

    with_template = not tools_run and any(p.tools for p in prompts)  # a trainer takes texts or chats, not both
    asked = [_in_template(p, tokenizer) if with_template else _asked(p, tokenizer) for p in prompts]
    columns = {
        "prompt": [json.dumps(prompt) for prompt in asked],
        "prompt_text": [p.text for p in prompts],
        "reference": [p.reference for p in prompts],
        "cluster": [p.cluster for p in prompts],
    }
    return Dataset.from_dict(columns).with_transform(_with_prompts)


def fit(prompts: Sequence[Prompt], tokenizer: Any, max_tokens: int | None, purpose: str) -> list[Prompt]:
    """The prompts of at most `max_tokens` tokens, all where it is None; the log says how many are left out. Raises
    DataError where none is left."""
    if max_tokens is None:
        return list(prompts)
    kept = [prompt for prompt in prompts if len(token_ids(prompt, tokenizer)) <= max_tokens]
    if prompts and not kept:
        raise DataError(
            f"none of {len(prompts)} {purpose} prompts has at most engine.max_prompt_tokens = {max_tokens} tokens"
        )
    if len(kept) < len(prompts):
        left_out = len(prompts) - len(kept)
        log.info("%d of %d %s prompts have more than %d tokens: left out", left_out, len(prompts), purpose, max_tokens)
    return kept


def token_ids(prompt: Prompt, tokenizer: Any) -> list[int]:
    """The prompt as the model reads it: in the chat template, where there is one, with its tools."""
    asked = _asked(prompt, tokenizer)
    plain = isinstance(asked, str) and not prompt.tools
    read = tokenizer(asked) if plain else tokenizer(_rendered(prompt, tokenizer), add_special_tokens=False)
    ids: list[int] = read["input_ids"]
    return ids


def reading_order(settings: TrainSettings, n_rows: int) -> list[int]:
    """The rows that the whole run reads, in order: the data shuffled anew, again and again.

    One long epoch, because a trainer that resumes in a later epoch shuffles as in its first one.
    """
    n_prompts = settings.engine.steps * settings.engine.batch_size // settings.engine.num_generations
    rng, order = Random(settings.seed), list[int]()
    while len(order) < n_prompts:
        order += rng.sample(range(n_rows), n_rows)
    return order[:n_prompts]


def _with_prompts(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return rows | {"prompt": [json.loads(prompt) for prompt in rows["prompt"]]} if "prompt" in rows else rows


def _asked(prompt: Prompt, tokenizer: Any) -> Any:
    """A plain prompt becomes a user message where the model has a chat template."""
    if isinstance(prompt.content, str) and getattr(tokenizer, "chat_template", None) is not None:
        return [{"role": "user", "content": prompt.content}]
    return prompt.content


def _in_template(prompt: Prompt, tokenizer: Any) -> str:
    """A prompt with its tools as a text, since TRL takes no schemas with a prompt; without the token that the tokenizer
    is going to put in front."""
    text, first = _rendered(prompt, tokenizer), tokenizer("")["input_ids"][:1]
    return text.removeprefix(tokenizer.bos_token) if first and first == [tokenizer.bos_token_id] else text


def _rendered(prompt: Prompt, tokenizer: Any) -> str:
    """The prompt in the chat template, as the model reads it."""
    asked = _asked(prompt, tokenizer)
    if isinstance(asked, str):
        raise DataError(
            f"prompts have tools, but the model's tokenizer has no chat template to offer them: {prompt.text[:80]!r}"
        )
    tools = list(prompt.tools) or None  # some templates write their preface for an empty list, too
    text: str = tokenizer.apply_chat_template(asked, tools=tools, tokenize=False, add_generation_prompt=True)
    return text

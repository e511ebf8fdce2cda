"""Prompts as a trainer reads them."""

import logging
from collections.abc import Sequence
from random import Random
from typing import Any

from metapo.errors import DataError
from metapo.rollout import Prompt
from metapo.settings import TrainSettings

log = logging.getLogger(__name__)


def dataset(prompts: Sequence[Prompt], tokenizer: Any) -> Any:
    """Rows for TRL, without labels."""
    from datasets import Dataset

    columns = {"reference": [p.reference for p in prompts], "cluster": [p.cluster for p in prompts]}
    return Dataset.from_dict({"prompt": [_asked(p, tokenizer) for p in prompts], **columns})


def fit(prompts: Sequence[Prompt], tokenizer: Any, max_tokens: int | None, purpose: str) -> list[Prompt]:
    """The prompts of at most `max_tokens` tokens, all where it is None; the log says how many are left out. Raises
    DataError where none is left."""
    if max_tokens is None:
        return list(prompts)
    kept = [prompt for prompt in prompts if _n_tokens(prompt, tokenizer) <= max_tokens]
    if prompts and not kept:
        raise DataError(
            f"none of {len(prompts)} {purpose} prompts has at most engine.max_prompt_tokens = {max_tokens} tokens"
        )
    if len(kept) < len(prompts):
        left_out = len(prompts) - len(kept)
        log.info("%d of %d %s prompts have more than %d tokens: left out", left_out, len(prompts), purpose, max_tokens)
    return kept


def reading_order(settings: TrainSettings, n_rows: int) -> list[int]:
    """The rows that the whole run reads, in order: the data shuffled anew, again and again.

    One long epoch, because a trainer that resumes in a later epoch shuffles as in its first one.
    """
    n_prompts = settings.engine.steps * settings.engine.batch_size // settings.engine.num_generations
    rng, order = Random(settings.seed), list[int]()
    while len(order) < n_prompts:
        order += rng.sample(range(n_rows), n_rows)
    return order[:n_prompts]


def _asked(prompt: Prompt, tokenizer: Any) -> Any:
    """A plain prompt becomes a user message where the model has a chat template."""
    if isinstance(prompt.content, str) and getattr(tokenizer, "chat_template", None) is not None:
        return [{"role": "user", "content": prompt.content}]
    return prompt.content


def _n_tokens(prompt: Prompt, tokenizer: Any) -> int:
    asked = _asked(prompt, tokenizer)
    if not isinstance(asked, str):
        asked = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        return len(tokenizer(asked, add_special_tokens=False)["input_ids"])
    return len(tokenizer(asked)["input_ids"])

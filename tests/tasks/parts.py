"""What tests of several tasks share: rows in a file, prompts of them, and a tiny model that says whole sentences."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metapo.rollout import Prompt
from metapo.settings import DataSettings, TrainSettings
from metapo.tasks.loading import load_prompts
from metapo.tasks.task import Task
from tests.helpers import rubric


def write_rows(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(task: Task, path: Path, *, labels: bool = False, **columns: Any) -> list[Prompt]:
    data = DataSettings(train=str(path), **columns)
    return load_prompts(task, data, str(path), hub_split="train", labels=labels)


def settings_with(task: str, **options: object) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "task": task,
            "task_options": options,
            "rubric": rubric(),
            "judge": {"url": "http://localhost/v1", "model": "m"},
            "data": {"train": "x"},
            "policy": {"model": "m"},
        }
    )


def write_speaker(folder: Path, reader: Path, sentences: Sequence[str]) -> Path:
    """A tiny random model that reads bytes, with the tokenizer of `reader`, and answers with one of the sentences.

    Each of them is a token, so that the first token is a whole completion.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import AutoTokenizer, PhiConfig, PhiForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(reader)
    tokenizer.add_tokens([AddedToken(sentence, normalized=False) for sentence in sentences])
    config = PhiConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    torch.manual_seed(0)
    model = PhiForCausalLM(config)
    bias = torch.full((len(tokenizer),), -30.0)
    bias[-len(sentences) :] = 0.0
    with torch.no_grad():
        model.lm_head.bias.copy_(bias)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

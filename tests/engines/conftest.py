"""Small real parts for training tests: a tiny random model with a tokenizer, settings, and a way to run `metapo`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metapo.world.presets import WorldSettings, arm_settings


def small_world(*, seed: int = 3, steps: int = 10, **engine: object) -> WorldSettings:
    """The world's MPO arm, small enough to train in seconds: a meta step every 3 steps, a checkpoint every 2."""
    settings = arm_settings("mpo", seed=seed, steps=steps)
    small = {"batch_size": 16, "save_every": 2, "keep_checkpoints": 2, "max_completion_tokens": 40, **engine}
    return settings.model_copy(
        update={
            "engine": settings.engine.model_copy(update=small),
            "meta": settings.meta.model_copy(update={"every": 3, "samples": 6}),
        }
    )


def metapo(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command line in a process of its own, with one torch thread."""
    command = [sys.executable, "-m", "metapo", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process and return what it printed; fail with that where the exit code is another."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 of some 20,000 parameters with a byte-level tokenizer, as a folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    wrapped.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder

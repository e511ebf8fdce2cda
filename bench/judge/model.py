"""A small Qwen2 of random weights; its tokenizer is trained on given texts, so that token counts are like real ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONSTANT = 20.0  # far above all other dimensions, so that normalisation leaves it as it is
LOGIT_PER_LETTER = 0.5
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_model(folder: Path, texts: Sequence[str], *, hidden: int, layers: int = 4, vocabulary: int = 8192) -> None:
    """Write model and tokenizer to `folder` in the layout of transformers; the same for the same texts.

    The tokenizer learns from the texts and from their sentences as JSON, since those of real models know JSON too.
    All heads share one of keys and values: on a CPU, reading a large cache would make each step of generation dearer,
    compared with reading a prompt, than it is for large models on a GPU (about 200 prompt tokens a step). Longer tokens
    are likelier: a model that is held to JSON then spells it in about as many tokens as a trained one does, where
    random weights would write letter by letter.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *map(_as_json, texts)], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=CONTROL[0], eos_token=CONTROL[2], chat_template=TEMPLATE
    )
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=1,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    _prefer_long_tokens(model, [len(wrapped.decode([i], skip_special_tokens=True)) for i in range(vocabulary)])
    model.to(torch.bfloat16).save_pretrained(folder)


def _as_json(text: str) -> str:
    """A list of objects, without the blanks that a grammar forbids."""
    sentences = [s.split() for s in text.split(". ") if s]
    rows = [{words[0].lower(): " ".join(words[1:]), "n": i} for i, words in enumerate(sentences)]
    return json.dumps(rows, separators=(",", ":"))


def _prefer_long_tokens(model: Any, lengths: Sequence[int]) -> None:
    """Keep the first dimension of the hidden states constant, and let it raise each token's logit with its length."""
    import torch

    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = CONSTANT
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        constant = model.config.hidden_size**0.5  # what the last normalisation makes of it, next to small others
        model.lm_head.weight[:, 0] = torch.tensor(lengths, dtype=torch.float32) * LOGIT_PER_LETTER / constant

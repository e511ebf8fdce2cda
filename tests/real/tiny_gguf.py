"""A model of random weights for llama-server: one Llama layer, a token per byte, a chat template."""

import sys
from pathlib import Path

import numpy as np

N_EMBEDDING, N_FEED_FORWARD, N_HEADS, CONTEXT = 32, 64, 2, 32768
CONTROL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
MERGES = [("t", "h")]  # llama.cpp wants a list that isn't empty
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_tiny_gguf(path: Path, *, gguf_package: Path) -> None:
    """Write the model to `path`; the package gguf, which llama.cpp's sources bring, lies in the folder `gguf_package`.

    A vocabulary as small as this matters: under a grammar, llama.cpp tries every token.
    """
    sys.path.insert(0, str(gguf_package))
    import gguf

    letters = list(byte_letters().values())
    tokens = [*CONTROL, *letters, *("".join(pair) for pair in MERGES)]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(CONTROL))
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(N_EMBEDDING)
    writer.add_feed_forward_length(N_FEED_FORWARD)
    writer.add_block_count(1)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(N_EMBEDDING // N_HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in weights([len(token) == 1 and token.isascii() for token in tokens]).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def weights(is_written: list[bool]) -> dict[str, np.ndarray]:
    """Random tensors by their name in llama.cpp; the same on every call.

    One flag per token: those without it have the logit 0, so that others are likelier. Plain letters are written, then,
    and no bytes that make half a character, nor the end.
    """
    rng, n_tokens = np.random.default_rng(0), len(is_written)
    square, ones = (N_EMBEDDING, N_EMBEDDING), np.ones(N_EMBEDDING, np.float32)
    shapes = {
        "token_embd.weight": (n_tokens, N_EMBEDDING),
        "output.weight": (n_tokens, N_EMBEDDING),
        **{f"blk.0.attn_{part}.weight": square for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (N_FEED_FORWARD, N_EMBEDDING),
        "blk.0.ffn_up.weight": (N_FEED_FORWARD, N_EMBEDDING),
        "blk.0.ffn_down.weight": (N_EMBEDDING, N_FEED_FORWARD),
    }
    norms = dict.fromkeys(("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"), ones)
    drawn = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    drawn["output.weight"][~np.array(is_written)] = 0
    return norms | drawn


def byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in a byte-level vocabulary (the scheme of GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}

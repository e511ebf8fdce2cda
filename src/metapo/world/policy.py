"""The offline world's policy: a 0.4 M parameter causal LM, its tokenizer, its shipped weights, how to remake them."""

import json
from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from metapo.files import whole_folder, write_whole
from metapo.world.corpus import USUAL, WEAK, write_example
from metapo.world.language import WORDS

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
MAX_PROMPT_TOKENS = 8
N_ESSAYS = 20_000


class Start(StrEnum):
    """With which policy a run starts: one that writes every part of a good essay now and then, or one that hardly
    writes a second reason or a counterargument."""

    USUAL = "usual"
    WEAK = "weak"


WEIGHTS = {Start.USUAL: "policy.safetensors", Start.WEAK: "weak.safetensors"}
WRITERS = {Start.USUAL: USUAL, Start.WEAK: WEAK}


def build_tokenizer() -> "PreTrainedTokenizerFast":
    """A word-level tokenizer over the world's vocabulary; decoding joins the words with spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([PAD, EOS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=EOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_model() -> "GPT2LMHeadModel":
    """The policy with random weights: 3 layers, width 96, 4 heads, ReLU, tied embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(WORDS) + 2,
            n_positions=128,
            n_embd=96,
            n_layer=3,
            n_head=4,
            activation_function="relu",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )


def write_policy(folder: Path, start: Start = Start.USUAL) -> None:
    """Write a shipped policy as a Hugging Face model folder (config, weights, tokenizer)."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = _shipped_model(start)
    with whole_folder(folder) as draft:
        model.save_pretrained(draft)
        build_tokenizer().save_pretrained(draft)


def sample_essays(prompts: Sequence[str], *, seed: int, max_tokens: int) -> list[str]:
    """What the usual starting policy writes, one completion per prompt in order, drawn at temperature 1 as training
    draws them."""
    import torch

    tokenizer, model = build_tokenizer(), _shipped_model(Start.USUAL).eval()
    ids = torch.tensor(tokenizer(list(prompts))["input_ids"])  # all prompts have one length
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=max_tokens
        )
    essays: list[str] = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    return essays


def _shipped_model(start: Start) -> "GPT2LMHeadModel":
    import torch
    from safetensors.torch import load

    state = load(files("metapo.world").joinpath(WEIGHTS[start]).read_bytes())
    model = build_model()
    model.load_state_dict({k: v.to(torch.float32) for k, v in state.items()}, strict=False)
    model.tie_weights()
    return model


def train_policy(
    out: Path, *, seed: int = 0, start: Start = Start.USUAL, n_essays: int = N_ESSAYS, epochs: int = 4
) -> float:
    """Train the policy on the mixed-quality corpus and write its half-precision weights; returns the last loss.

    About two minutes on one core. The same seed gives the same corpus; weights agree to rounding.
    """
    import torch
    from safetensors.torch import save

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = Random(seed)
    tokenizer, model = build_tokenizer(), build_model()
    eos = tokenizer.eos_token_id
    rows = []
    for _ in range(n_essays):
        prompt, essay = write_example(rng, WRITERS[start])
        rows.append([*tokenizer.encode(f"{prompt} {essay}"), eos][: MAX_PROMPT_TOKENS + 100])
    batch_size = 64
    n_steps = epochs * (len(rows) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=n_steps, pct_start=0.1)
    loss = torch.tensor(0.0)
    for epoch in range(epochs):
        rng.shuffle(rows)
        # batches of like length waste no padding; their order stays random
        by_length = sorted(rows, key=len)
        batches = [by_length[i : i + batch_size] for i in range(0, len(rows) - batch_size + 1, batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in batch], batch_first=True)
            labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
            labels[:, : MAX_PROMPT_TOKENS - 1] = -100
            loss = model(input_ids=ids, labels=labels, attention_mask=(ids != 0).long()).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        print(json.dumps({"epoch": epoch, "loss": round(loss.item(), 4)}), flush=True)
    state = {k: v.to(torch.float16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    write_whole(out, save(state))
    return float(loss.item())

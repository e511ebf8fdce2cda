import json
from importlib.resources import files
from pathlib import Path
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from metapo.errors import RunError
from metapo.world import corpus
from metapo.world.essay import Essay, Role, essay_of
from metapo.world.gold import gold
from metapo.world.language import WORDS
from metapo.world.policy import (
    EOS,
    MAX_PROMPT_TOKENS,
    PAD,
    WEIGHTS,
    Start,
    build_model,
    build_tokenizer,
    train_policy,
    write_policy,
)
from metapo.world.presets import MAX_COMPLETION_TOKENS

SHIPPED, WEAK = (files("metapo.world").joinpath(WEIGHTS[start]).read_bytes() for start in (Start.USUAL, Start.WEAK))
TOKENIZER = build_tokenizer()

# --- the tokenizer


@given(st.lists(st.sampled_from(WORDS), min_size=1))
def test_every_text_in_the_vocabulary_comes_back(words: list[str]) -> None:
    ids = TOKENIZER.encode(" ".join(words))
    assert len(ids) == len(words)
    assert TOKENIZER.decode(ids) == " ".join(words)
    assert not {TOKENIZER.pad_token_id, TOKENIZER.eos_token_id} & {*ids}


def test_every_word_has_a_token_of_its_own() -> None:
    assert TOKENIZER.encode(" ".join(WORDS)) == [*range(2, len(WORDS) + 2)]
    assert len(TOKENIZER) == len(WORDS) + 2


def test_padding_and_the_end_are_told_apart() -> None:
    assert (TOKENIZER.pad_token, TOKENIZER.eos_token) == (PAD, EOS)
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id
    assert not {PAD, EOS} & {*WORDS}
    assert TOKENIZER.decode([1, 5, 0, 0], skip_special_tokens=True) == WORDS[3]


def test_an_unknown_word_is_the_end() -> None:
    assert TOKENIZER.encode("unheard") == [TOKENIZER.eos_token_id]


def test_prompts_need_no_padding() -> None:
    prompts = corpus.prompts(held_out=False) + corpus.prompts(held_out=True)
    assert {len(TOKENIZER.encode(prompt)) for prompt in prompts} == {MAX_PROMPT_TOKENS}
    assert build_model().config.n_positions >= MAX_PROMPT_TOKENS + MAX_COMPLETION_TOKENS


# --- the shipped weights


@pytest.mark.parametrize("shipped", [SHIPPED, WEAK], ids=["usual", "weak"])
def test_the_weights_are_small_and_complete(shipped: bytes) -> None:
    assert len(shipped) < 1_000_000
    weights, model = load(shipped), build_model()
    assert {name: w.shape for name, w in weights.items()} == {
        name: w.shape for name, w in model.state_dict().items() if name != "lm_head.weight"
    }
    assert all(w.dtype is torch.float16 and torch.isfinite(w).all() for w in weights.values())
    assert sum(w.numel() for w in weights.values()) == model.num_parameters()
    assert 300_000 < model.num_parameters() < 450_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("policy") / "start"
    write_policy(made)
    return made


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)
    return loaded


def test_the_folder_loads_as_any_model_does(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    loaded = model.state_dict()
    for name, weight in load(SHIPPED).items():
        assert torch.equal(loaded[name], weight.float()), name
    assert model.dtype is torch.float32
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tokenizer.get_vocab() == TOKENIZER.get_vocab()
    ids = (model.config.pad_token_id, model.config.eos_token_id)
    assert ids == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert (tokenizer.padding_side, tokenizer.pad_token, tokenizer.eos_token) == ("left", PAD, EOS)
    assert tokenizer.decode(tokenizer.encode(" ".join(WORDS))) == " ".join(WORDS)


@pytest.fixture(scope="module")
def written(folder: Path, tokenizer: PreTrainedTokenizerFast) -> list[Essay]:
    return write(folder, tokenizer)


def write(folder: Path, tokenizer: PreTrainedTokenizerFast) -> list[Essay]:
    """128 essays as training samples them: each pair of topic and side twice, by each of its verbs."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompts = (corpus.prompts(held_out=False) + corpus.prompts(held_out=True)) * 2
    ids = torch.tensor(tokenizer(prompts)["input_ids"])
    sampled = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=MAX_COMPLETION_TOKENS
    )
    texts = tokenizer.batch_decode(sampled[:, ids.shape[1] :], skip_special_tokens=True)
    return [essay_of(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]


def test_it_writes_essays_that_can_be_read(written: list[Essay]) -> None:
    sentences = [s for essay in written for s in essay.sentences]
    assert all(essay.sentences for essay in written)
    assert fmean(s.role in (Role.BROKEN, Role.UNFINISHED) for s in sentences) < 0.25
    assert {s.role for s in sentences} >= {*Role} - {Role.RUN_ON, Role.REMARK}


def test_it_writes_about_what_it_is_asked_for(written: list[Essay]) -> None:
    titles = [(essay, s) for essay in written for s in essay.of(Role.TITLE)]
    assert len(titles) > 30
    assert fmean(essay.fits(title) for essay, title in titles) > 0.8


def test_it_starts_with_room_to_rise(written: list[Essay]) -> None:
    worth = [gold(essay) for essay in written]
    assert 0.12 < fmean(worth) < 0.32
    assert max(worth) > 0.5
    assert fmean(bool(essay.right_nouns) for essay in written) > 0.3


def test_the_weak_one_writes_well_formed_essays_without_what_earns_most(
    written: list[Essay], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    write_policy(tmp_path / "weak", Start.WEAK)
    weak = write(tmp_path / "weak", tokenizer)
    assert fmean(map(gold, weak)) < 0.6 * fmean(map(gold, written))
    assert max(len(set(essay.right_nouns)) for essay in weak) < 3
    assert not any(essay.answered_counterargument for essay in weak)
    assert any(essay.of(Role.EVIDENCE) for essay in weak), "there is something to begin with"
    sentences = [s for essay in weak for s in essay.sentences]
    assert fmean(s.role in (Role.BROKEN, Role.UNFINISHED) for s in sentences) < 0.25


# --- how they are remade


def train_small(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[float, list[float]]:
    """The last loss that a small training returns, and those that it prints."""
    last = train_policy(out, seed=3, n_essays=256, epochs=3)
    return last, [json.loads(line)["loss"] for line in capsys.readouterr().out.splitlines()]


def test_training_lowers_the_loss_and_repeats_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last, losses = train_small(tmp_path / "a" / "policy.safetensors", capsys)
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(last, abs=1e-4)
    assert last < 0.9 * losses[0]
    assert train_small(tmp_path / "b.safetensors", capsys) == (last, losses)
    first, again = load_file(tmp_path / "a" / "policy.safetensors"), load_file(tmp_path / "b.safetensors")
    assert first.keys() == load(SHIPPED).keys()
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())


def test_weights_that_cannot_be_written_are_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't write"):
        train_policy(tmp_path / "file" / "policy.safetensors", n_essays=64, epochs=1)

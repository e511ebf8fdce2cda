"""A small verl for tests: a local Ray cluster, a tokenizer of single characters, batches as verl's rollouts are, and a
chat server that plays judge and meta model for all processes."""

import asyncio
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metapo.judge.transport import ChatRequest
from metapo.rollout import Message, Rollout, Split
from metapo.settings import Settings
from tests.reviewer import Reviewer
from tests.servers import Ask, Behaviour, says
from tests.trainer import marks

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("verl", reason="verl is not installed: see docs/verl.md")
    import numpy as np
    import ray
    import torch
    from hydra import compose, initialize_config_module
    from tensordict import TensorDict
    from verl import DataProto
    from verl.trainer.ppo.utils import need_critic

    from metapo.engines.verl.manager import SPLIT

N_PROMPT_TOKENS = 128


def plays(reviewer: Reviewer) -> Behaviour:
    """Answers judge's questions by the words of a completion, see tests/trainer.py, and a meta step's by `reviewer`."""

    def behave(ask: Ask) -> Any:
        if "\nStage: " not in f"\n{ask.prompt}":
            return says(marks(ask.prompt))(ask)
        request = ChatRequest(messages=[Message(**m) for m in ask.body["messages"]], max_tokens=1)
        return says(asyncio.run(reviewer.complete(request)).text)(ask)

    return behave


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster on this machine, whose processes see the same code as this one."""
    paths = os.pathsep.join([str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[2])])
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "0"}
    ray.init(
        address="local",
        num_cpus=16,
        num_gpus=0,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": variables},
    )
    try:
        yield
    finally:
        ray.shutdown()


def write_tokenizer(folder: Path) -> None:
    """One token for each printable character, and the config of a model that nobody loads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, PreTrainedTokenizerFast

    characters = ["<eos>", *(chr(i) for i in range(32, 127)), "\n"]
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(characters)}, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    fast.save_pretrained(folder)
    GPT2Config(vocab_size=len(characters), n_layer=1, n_embd=8, n_head=1).save_pretrained(folder)


def verl_config(*overrides: str, preset: str = "ppo") -> Any:
    """verl's own config with one of metapo's presets, resolved as `main_ppo` would."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer", overrides=["hydra.searchpath=[pkg://metapo.presets]", f"+verl={preset}", *overrides]
        )


def config_for(folder: Path, settings: Settings, *overrides: str) -> Any:
    """For a run in `folder`, with two reward workers."""
    write_tokenizer(folder / "policy")
    (folder / "settings.yaml").write_text(settings.to_yaml())
    return verl_config(
        f"actor_rollout_ref.model.path={folder / 'policy'}",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        f"metapo.settings={folder / 'settings.yaml'}",
        f"metapo.store={folder / 'store.db'}",
        "reward.num_workers=2",
        f"trainer.default_local_dir={folder / 'checkpoints'}",
        *overrides,
    )


def batch(rollouts: Sequence[Rollout], tokenizer: Any, *, fields: Mapping[str, Any] | None = None) -> Any:
    """Rollouts of one step as verl hands them to its reward workers; prompts that are equal are a group."""
    n = max(len(r.completion) for r in rollouts) + 1
    prompts = [_padded(tokenizer(r.prompt)["input_ids"], N_PROMPT_TOKENS, left=True) for r in rollouts]
    answers = [_padded(tokenizer(r.completion)["input_ids"], n, left=False) for r in rollouts]
    tensors = {
        "prompts": torch.stack([ids for ids, _ in prompts]),
        "responses": torch.stack([ids for ids, _ in answers]),
        "attention_mask": torch.stack(
            [torch.cat([one, other]) for (_, one), (_, other) in zip(prompts, answers, strict=True)]
        ),
    }
    columns: dict[str, list[Any]] = {
        "raw_prompt": [[{"role": "user", "content": r.prompt}] for r in rollouts],
        "uid": [f"{r.split}-{r.step}-{r.prompt}" for r in rollouts],
        "session_id": list(range(len(rollouts))),
        "global_steps": [r.step if r.split is Split.EVAL else r.step + 1 for r in rollouts],
        "extra_info": [{"reference": r.reference, "cluster": r.cluster} for r in rollouts],
        SPLIT: [r.split.value for r in rollouts],
        **{name: [value] * len(rollouts) for name, value in (fields or {}).items()},
    }
    return DataProto(batch=TensorDict(tensors, batch_size=len(rollouts)), non_tensor_batch=_objects(columns))


def scores(done: Any) -> list[float]:
    """The reward of each sample, which stands at its last token and nowhere else."""
    return [float(row.sum()) for row in done.batch["rm_scores"]]


def needs_critic(config: Any) -> bool:
    return bool(need_critic(config))


def _padded(ids: list[int], n: int, *, left: bool) -> tuple[Any, Any]:
    kept, nothing = torch.tensor(ids[:n]), torch.zeros(n - len(ids[:n]), dtype=torch.long)
    shown = torch.ones(len(kept), dtype=torch.long)
    order = (lambda one, other: torch.cat([other, one])) if left else (lambda one, other: torch.cat([one, other]))
    return order(kept, nothing), order(shown, nothing)


def _objects(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    arrays = {}
    for name, values in columns.items():
        arrays[name] = np.empty(len(values), dtype=object)
        arrays[name][:] = values
    return arrays

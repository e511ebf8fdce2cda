"""A small verl for tests: a local Ray cluster, verl's own workers, queue and configs, a tokenizer of single characters,
and in the place of the policy a writer that says what it is told to."""

import asyncio
import os
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from metapo.errors import RewardServerError
from metapo.rollout import Rollout, Split
from metapo.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _package in ("ray", "verl", "transfer_queue"):
        pytest.importorskip(_package, reason=f"{_package} is not installed: see docs/verl.md")
    import numpy as np
    import ray
    import torch
    import transfer_queue as queue
    from hydra import compose, initialize_config_module
    from tensordict import TensorDict
    from transformers import AutoTokenizer
    from verl import DataProto
    from verl.experimental.reward_loop import RewardLoopManager
    from verl.trainer.ppo.checkpoint_callback import build_checkpoint_callback
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.trainer.ppo.utils import need_critic
    from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
    from verl.utils.tensordict_utils import assign_non_tensor_data, get_tensordict
    from verl.workers.rollout.replica import TokenOutput

    from metapo.bridge import Bridge
    from metapo.engines.verl import keeper
    from metapo.engines.verl.asking import ByServer, who_keeps
    from metapo.engines.verl.manager import SPLIT, RewardManager
    from metapo.engines.verl.options import VerlOptions
    from metapo.engines.verl.rollouts import RolloutManager

HERE = Path(__file__).parents[2]
SMALL = (
    "actor_rollout_ref.rollout.name=vllm",
    "actor_rollout_ref.rollout.agent.num_workers=1",
    "actor_rollout_ref.rollout.n=4",
    "data.train_batch_size=2",
    "reward.num_workers=2",
    "transfer_queue.enable=true",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "transfer_queue.backend.SimpleStorage.total_storage_size=1000",
)
"""Two groups of four a step. Nothing of vLLM is loaded."""


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster on this machine, whose processes see the same code as this one."""
    paths = os.pathsep.join([str(HERE / "src"), str(HERE)])
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    ray.init(
        address="local",
        num_cpus=16,
        num_gpus=0,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _system_config={"worker_niceness": 0},  # Ray's own workers step back for everybody else's processes
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
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2Config(vocab_size=len(characters), architectures=["GPT2LMHeadModel"], **ids)
    model.save_pretrained(folder)


def verl_config(*overrides: str, preset: str = "ppo") -> Any:
    """verl's own config as its `main_ppo` composes it, with one of metapo's presets, or none."""
    with_preset = ["hydra.searchpath=[pkg://metapo.presets]", f"+verl={preset}"] if preset else []
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=[*with_preset, *overrides])


def config_for(folder: Path, settings: Settings, *overrides: str) -> Any:
    """For a run in `folder`."""
    (folder / "settings.yaml").write_text(settings.to_yaml())
    own = f"metapo.settings={folder / 'settings.yaml'}", f"metapo.store={folder / 'store.db'}"
    return _config(folder, *own, *overrides)


def config_for_server(folder: Path, url: str, *overrides: str) -> Any:
    """For a run that a server keeps."""
    return _config(folder, f"metapo.server={url}", *overrides)


def _config(folder: Path, *overrides: str) -> Any:
    write_tokenizer(folder / "policy")
    return verl_config(
        f"actor_rollout_ref.model.path={folder / 'policy'}",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        f"trainer.default_local_dir={folder / 'checkpoints'}",
        *SMALL,
        *overrides,
    )


def needs_critic(config: Any) -> bool:
    return bool(need_critic(config))


@contextmanager
def kept(config: Any) -> Iterator[Callable[..., Any]]:
    """Who keeps the run, told that training begins; what is yielded asks it."""
    options, bridge = VerlOptions.of(config), Bridge()
    kept = who_keeps(options, begins=True)

    def ask(what: str, *args: Any, **kwargs: Any) -> Any:
        return bridge.run(getattr(kept, what)(*args, **kwargs))

    ask("begin", 0, resumed=True)
    try:
        yield ask
        if options.server is not None:
            with suppress(RewardServerError):  # the run may be stopped
                ask("finish")
    finally:
        bridge.close()
        if options.server is None:
            keeper.end(options)


@contextmanager
def reward_manager(config: Any) -> Iterator[RewardManager]:
    """metapo's, made by verl as its workers make it, with an event loop that is closed when the block ends."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    manager = load_reward_manager(
        config, load_tokenizer(config), reward_router_address=None, reward_model_tokenizer=None
    )
    try:
        yield manager
    finally:
        if isinstance(manager._kept, ByServer):
            manager.loop.run_until_complete(manager._kept._client.aclose())
        asyncio.set_event_loop(None)
        manager.loop.close()


def load_tokenizer(config: Any) -> Any:
    return AutoTokenizer.from_pretrained(config.actor_rollout_ref.model.path)


def scored(manager: RewardManager, sample: Any) -> dict[str, Any]:
    """What a worker's manager gives for a sample."""
    result: dict[str, Any] = manager.loop.run_until_complete(manager.run_single(sample))
    return result


def reward(manager: RewardManager, sample: Any) -> float:
    return float(scored(manager, sample)["reward_score"])


def samples(rollouts: Sequence[Rollout], manager: RewardManager) -> list[Any]:
    """As verl's workers get them, one by one."""
    whole = batch(rollouts, manager.tokenizer)
    return [whole[i : i + 1] for i in range(len(whole))]


def batch(rollouts: Sequence[Rollout], tokenizer: Any) -> Any:
    """Rollouts of one step as verl hands them to its reward workers; prompts that are equal are a group."""
    answers = [tokenizer(r.completion)["input_ids"] for r in rollouts]
    asked = [tokenizer(r.prompt)["input_ids"] for r in rollouts]
    n_asked, n = max(map(len, asked)), max(map(len, answers)) + 1
    shown = [
        [0] * (n_asked - len(a)) + [1] * (len(a) + len(b)) + [0] * (n - len(b))
        for a, b in zip(asked, answers, strict=True)
    ]
    tensors = {
        "prompts": torch.tensor([[0] * (n_asked - len(ids)) + ids for ids in asked]),
        "responses": torch.tensor([ids + [0] * (n - len(ids)) for ids in answers]),
        "attention_mask": torch.tensor(shown),
    }
    columns = {
        "raw_prompt": [[{"role": "user", "content": r.prompt}] for r in rollouts],
        "uid": [f"{r.split}-{r.step}-{r.prompt}" for r in rollouts],
        "session_id": list(range(len(rollouts))),
        "global_steps": [global_step(r) for r in rollouts],
        "extra_info": [{"reference": r.reference, "cluster": r.cluster} for r in rollouts],
        SPLIT: [r.split.value for r in rollouts],
    }
    return DataProto(batch=TensorDict(tensors, batch_size=len(rollouts)), non_tensor_batch=_objects(columns))


def scores(done: Any) -> list[float]:
    """The reward of each sample in what the workers hand back."""
    return [float(row.sum()) for row in done.batch["rm_scores"]]


def global_step(rollout: Rollout) -> int:
    """verl's number of the step in which a rollout is written."""
    return rollout.step if rollout.split is Split.EVAL else rollout.step + 1


@dataclass(frozen=True)
class Rolled:
    """What came of one completion in verl's queue."""

    completion: str
    token_rewards: list[float]
    metrics: dict[str, Any]


class Training:
    """verl's reward workers, agent loop workers and queue, without a policy to train: `roll` does what its trainer does
    before each update."""

    def __init__(self, config: Any, texts: Sequence[Rollout]) -> None:
        """The writer answers the prompts of `texts` with their completions, in order."""
        self.config = config
        self.tokenizer = load_tokenizer(config)
        self.workers = RewardLoopManager(config)
        told: dict[str, list[str]] = {}
        for rollout in texts:
            told.setdefault(rollout.prompt, []).append(rollout.completion)
        handles = self.workers.reward_loop_worker_handles
        writer = Writer(told, config.actor_rollout_ref.model.path)
        self.rollouts = RolloutManager.create(
            config=config, llm_client=writer, teacher_client=None, reward_loop_worker_handles=handles
        )
        self._buffer = ReplayBuffer(
            trainer_mode="sync",
            trainer_config={},
            max_off_policy_threshold=None,
            max_off_policy_strategy="drop",
            sampler_kwargs={},
            poll_interval=0.05,
        )

    def roll(self, rollouts: Sequence[Rollout]) -> list[Rolled]:
        """Generate and score what the writer answers to the prompts of a step; of failed groups nothing comes."""
        partition = "train" if rollouts[0].split is Split.TRAIN else "val"
        asked, step = prompts(rollouts), global_step(rollouts[0])
        tags = [{"is_prompt": True, "status": "pending", "global_steps": step}] * len(asked)
        queue.kv_batch_put(keys=list(asked["uid"]), partition_id=partition, tags=tags)
        self.rollouts.generate_sequences(asked)
        done, _ = self._buffer.sample(global_steps=step, partition_id=partition, batch_size=len(tags))
        if not done.keys:
            return []
        fields = ["responses", "rm_scores", "extra_fields"]
        data = queue.kv_batch_get(keys=done.keys, partition_id=partition, select_fields=fields)
        queue.kv_clear(keys=done.keys, partition_id=partition)
        return [
            Rolled(
                self.tokenizer.decode(ids, skip_special_tokens=True),
                rewards.tolist(),
                getattr(extra, "data", extra)["reward_extra_info"],
            )
            for ids, rewards, extra in zip(data["responses"], data["rm_scores"], data["extra_fields"], strict=True)
        ]

    def close(self) -> None:
        for worker in [*self.workers.reward_loop_workers, *self.rollouts.agent_loop_workers]:
            ray.kill(worker)


def save_checkpoint(config: Any, step: int) -> Path:
    """What verl's trainer tells its callback when a checkpoint is written; the checkpoint's folder."""
    folder = Path(config.trainer.default_local_dir) / f"global_step_{step}"
    folder.mkdir(parents=True)
    trainer = SimpleNamespace(total_training_steps=step + 1)
    callback = build_checkpoint_callback(config)
    callback.on_save(trainer=trainer, global_step=step, checkpoint_dir=str(folder), async_save=False)
    return folder


@contextmanager
def queued(config: Any) -> Iterator[None]:
    """verl's queue between rollouts and training."""
    queue.init(config.transfer_queue)
    try:
        yield
    finally:
        queue.close()


class Writer:
    """verl's client of an inference server, without one: it writes what stands for a prompt, each time the next."""

    def __init__(self, completions: Mapping[str, Sequence[str]], tokenizer: str) -> None:
        self._completions = completions
        self._tokenizer = tokenizer
        self._n_written: Counter[str] = Counter()

    async def generate(self, request_id: str, *, prompt_ids: list[int], **_: Any) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(self._tokenizer)
        prompt = tokenizer.decode(prompt_ids, skip_special_tokens=True).strip()
        told = self._completions[prompt]
        text = told[self._n_written[prompt] % len(told)]
        self._n_written[prompt] += 1
        return TokenOutput(token_ids=tokenizer(text)["input_ids"], stop_reason="completed")


def process_of(actor: str) -> psutil.Process:
    """A process of this cluster that runs such an actor."""
    titles = {" ".join(p.cmdline()): p for p in psutil.Process().children(recursive=True)}
    return next(p for title, p in titles.items() if title.startswith("ray::") and actor in title)


def prompts(rollouts: Sequence[Rollout]) -> Any:
    """The prompts of a step as verl's trainer hands them to be rolled out."""
    references = {r.prompt: r.reference for r in rollouts}
    rows = {
        "raw_prompt": [[{"role": "user", "content": prompt}] for prompt in references],
        "uid": [str(uuid.uuid4()) for _ in references],
        "extra_info": [{"reference": reference} for reference in references.values()],
        "index": [0] * len(references),
        "data_source": ["test"] * len(references),
    }
    asked = get_tensordict(_objects(rows))
    assign_non_tensor_data(asked, "global_steps", global_step(rollouts[0]))
    if rollouts[0].split is Split.EVAL:
        assign_non_tensor_data(asked, "validate", True)
    return asked


def _objects(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    arrays = {}
    for name, values in columns.items():
        arrays[name] = np.empty(len(values), dtype=object)
        arrays[name][:] = values
    return arrays

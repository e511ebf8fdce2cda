"""TRL's PPOTrainer with a value head: the judge stands where its reward model would, no trainer subclassed.

TRL has PPO up to version 1.12. Its trainer reads prompts in an order of its own, evaluates nothing and can't resume, so
batches, evaluation and checkpoints are made here; `metapo.engines.ppo_judge` is what it takes for a reward model.
"""

import gc
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from metapo.engines.prompts import token_ids
from metapo.engines.ranks import micro_batch, rank, world_size
from metapo.errors import MetapoError, MissingExtra, ModelError, RunError, SettingsError
from metapo.rollout import Prompt
from metapo.run import CHECKPOINTS, MARKER
from metapo.settings import TrainSettings

try:
    import numpy
    import torch
    from accelerate.utils import gather_object
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        GenerationConfig,
        PrinterCallback,
        TrainerCallback,
        set_seed,
    )

    from metapo.engines.models import load_model, lora
    from metapo.engines.ppo_judge import Judge

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PPO is experimental is why its extra pins TRL
        from trl.experimental.ppo import PPOConfig, PPOTrainer
except ImportError as e:
    raise MissingExtra("ppo", "engine.algorithm ppo, which TRL has up to version 1.12 only,") from e

STATE, OF_RANK = "ppo.pt", "rank-{}.pt"
MIN_WHITENED = 8


class Reward(Protocol):
    """What PPO asks of `metapo.engines.trl.EvolvingReward`."""

    callback: Any

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]: ...
    def refuse(self, step: int, max_unscored: float) -> MetapoError | None: ...
    def end_evaluation(self) -> MetapoError | None: ...


def config(settings: TrainSettings, folder: Path) -> PPOConfig:
    """The trainer's arguments. Raises SettingsError where a batch can't be split as they say."""
    engine, ppo = settings.engine, settings.engine.ppo
    at_once, local = micro_batch(engine, world_size()), engine.batch_size // world_size()
    mini = local // ppo.mini_batches
    micro = min(at_once, mini)
    if local % ppo.mini_batches or mini % max(1, micro):
        raise SettingsError(
            f"engine.ppo.mini_batches {ppo.mini_batches} must divide the {local} completions of a rank, and "
            f"micro_batch_size {at_once} each mini batch"
        )
    if ppo.whiten_rewards and mini < MIN_WHITENED:
        raise SettingsError(
            f"engine.ppo.whiten_rewards needs {MIN_WHITENED} completions or more in a rank's mini batch; it has {mini}"
        )
    return PPOConfig(
        output_dir=str(folder / CHECKPOINTS),
        total_episodes=engine.steps * engine.batch_size,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=local // micro,
        local_rollout_forward_batch_size=at_once,
        num_mini_batches=ppo.mini_batches,
        num_ppo_epochs=ppo.epochs,
        response_length=engine.max_completion_tokens,
        stop_token="eos",
        temperature=engine.temperature,
        missing_eos_penalty=ppo.missing_eos_penalty or None,
        learning_rate=engine.learning_rate,
        lr_scheduler_type="constant_with_warmup" if engine.schedule == "constant" else engine.schedule,
        warmup_steps=engine.warmup,
        kl_coef=engine.kl,
        kl_estimator=ppo.kl_estimator,
        cliprange=ppo.clip,
        cliprange_value=ppo.value_clip,
        vf_coef=ppo.value_coefficient,
        lam=ppo.gae_lambda,
        gamma=ppo.gamma,
        whiten_rewards=ppo.whiten_rewards,
        seed=settings.seed,
        use_cpu=engine.device == "cpu" or not torch.cuda.is_available(),
        bf16=False,  # generation and reference run outside of the trainer's autocast: their ratios would be off
        gradient_checkpointing=False,  # the trainer never turns it on: the models do
        num_sample_generations=0,
        save_strategy="no",
        eval_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )


class PPO:
    """One run by PPO, with what `metapo.engines.trl.train` asks of a trainer.

    `prompts` are in the order in which the run reads them, `engine.num_generations` completions each.
    """

    def __init__(
        self,
        settings: TrainSettings,
        args: PPOConfig,
        model: str,
        tokenizer: Any,
        prompts: Sequence[Prompt],
        eval_prompts: Sequence[Prompt],
        reward: Reward,
        eval_generations: int = 1,
    ) -> None:
        """Raises ModelError, MissingExtra, SettingsError."""
        self.engine = settings.engine
        self._settings = settings
        self._tokenizer = tokenizer
        self._rows = [p for p in prompts for _ in range(settings.engine.num_generations)]
        self._eval_rows = [p for p in eval_prompts for _ in range(eval_generations)]
        self._reward = reward
        set_seed(settings.seed)  # the trainer leaves NumPy, which shuffles its mini batches, as it is
        policy, value = _policy(model, args), _value(model, settings, args)
        self._sampling_as_given = policy.generation_config
        policy.generation_config = GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        )  # a repetition penalty and the like would bend the probabilities that PPO compares
        adapter = lora(settings.policy.lora) if settings.policy.lora else None
        self._judge = Judge(self.score, self.check_batch)
        self._trainer = PPOTrainer(
            args=args,
            processing_class=tokenizer,
            model=policy,
            # the trainer finds the policy below an adapter only where nothing wraps it
            ref_model=_policy(model, args) if adapter and world_size() > 1 else None,
            reward_model=self._judge,
            value_model=value,
            train_dataset=Dataset.from_dict({"input_ids": [[0]] * len(self._rows)}),  # counted, never read
            callbacks=[_Callback(self, reward.callback)],
            peft_config=adapter,
        )
        if self._trainer.is_deepspeed_enabled or self._trainer.is_fsdp_enabled:
            raise SettingsError(
                "engine.algorithm ppo trains on one process or several alike ones: no DeepSpeed or FSDP"
            )
        self._trainer.remove_callback(PrinterCallback)
        self._trainer.dataloader = self._batches()
        # the trainer would step once per epoch, however many mini batches it has
        accumulated = args.gradient_accumulation_steps // args.num_mini_batches
        args.gradient_accumulation_steps = self.accelerator.gradient_accumulation_steps = accumulated
        self._unwrapped = self.accelerator.unwrap_model(self._trainer.model)
        self._unwrapped.value_model.score.register_forward_hook(self._judge.see_values)
        self._resume_from: Path | None = None

    @property
    def accelerator(self) -> Any:
        return self._trainer.accelerator

    @property
    def step(self) -> int:
        """Optimizer steps done, in the sense of the settings: batches trained on."""
        done: int = self._trainer.state.global_step
        return done

    def train(self, resume_from_checkpoint: str | None = None) -> None:
        self._resume_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        gc.freeze()  # the trainer collects garbage twice a step, each time through all that was ever imported
        try:
            self._trainer.train()
        finally:
            gc.unfreeze()

    def evaluate(self) -> None:
        """Complete the evaluation prompts and score them, each rank its share; training goes on as if nothing were."""
        mine, n = self._eval_rows[rank() :: world_size()], self._trainer.args.local_rollout_forward_batch_size
        self._unwrapped.eval()
        with _random_state_kept(self._settings.seed + rank()):
            for i in range(0, len(mine), n):
                self.score(mine[i : i + n], self._complete(mine[i : i + n]))
        self._unwrapped.train()
        self._reward.end_evaluation()

    def save_model(self, folder: str) -> None:
        """The policy, or its adapter, with its tokenizer; without the value head."""
        policy = self._unwrapped.policy
        if rank() == 0:
            policy.generation_config = self._sampling_as_given
            policy.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Any]) -> list[float | None]:
        """One reward for each completion, given as token ids."""
        return self._reward(
            [p.content for p in prompts],
            self._tokenizer.batch_decode(completions, skip_special_tokens=True),
            trainer_state=self._trainer.state,
            prompt_text=[p.text for p in prompts],
            reference=[p.reference for p in prompts],
            cluster=[p.cluster for p in prompts],
        )

    def check_batch(self) -> None:
        """Before a batch is trained on: raises the error that ends the run instead, on every rank."""
        limit = 0.0 if self.engine.unscored == "raise" else self._settings.max_unscored
        if error := self._reward.refuse(self.step, limit):
            self.save()
            raise error

    def save(self) -> None:
        """Write a checkpoint of the run as it was when the last step ended, and drop old ones; a no-op where there is
        one of this step."""
        folder = self._folder(self.step)
        if not gather_object([(folder / MARKER).exists()])[0]:  # what the first rank sees
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(self._mine, folder / OF_RANK.format(rank()))
            if rank() == 0:
                parts = {"optimizer": self._trainer.optimizer, "schedule": self._trainer.lr_scheduler}
                state = {name: part.state_dict() for name, part in parts.items()}
                torch.save({"weights": dict(_trained(self._unwrapped)), **state}, folder / STATE)
            self.accelerator.wait_for_everyone()
            callback, trainer = self._reward.callback, self._trainer
            callback.on_save(trainer.args, trainer.state, trainer.control)
            if rank() == 0:
                self._drop_old()

    def restore(self) -> None:
        """Go on from the checkpoint that training is to resume from, if any."""
        trainer = self._trainer
        if self._resume_from is not None:
            if (n_ranks := len([*self._resume_from.glob(OF_RANK.format("*"))])) != world_size():
                raise RunError(
                    f"{self._resume_from} was written by {n_ranks} processes; go on with as many, not {world_size()}"
                )
            done = _step_of(self._resume_from)
            state = torch.load(self._resume_from / STATE, map_location="cpu", weights_only=True)
            self._unwrapped.load_state_dict(state["weights"], strict=False)
            trainer.optimizer.load_state_dict(state["optimizer"])
            trainer.lr_scheduler.load_state_dict(state["schedule"])
            mine = torch.load(self._resume_from / OF_RANK.format(rank()), weights_only=True)
            _set_random(mine["random"])
            self._judge.before = mine["mean"]
            trainer.state.global_step, trainer.state.episode = done, done * self.engine.batch_size
            trainer.args.num_total_batches -= done
        self.remember()

    def remember(self) -> None:
        """A checkpoint goes on from here, whatever is drawn and judged until it is written."""
        self._mine = {"random": _random(), "mean": self._judge.mean}

    def figures(self, logs: Mapping[str, float]) -> dict[str, float]:
        """TRL's figures of a step, with those that other algorithms have too under their names."""
        loss = logs["loss/policy_avg"] + self.engine.ppo.value_coefficient * logs["loss/value_avg"]
        judged = self._judge.figures()
        kl = logs["objective/kl"] / (judged.pop("tokens") or 1)
        own = {"loss": loss, "kl": kl, "entropy": logs["policy/entropy_avg"], "learning_rate": logs["lr"]}
        return {**logs, **own, **judged}

    def _batches(self) -> Iterator[dict[str, Any]]:
        """Each step's prompts of this rank, padded on the left to one length."""
        n = self.engine.batch_size // world_size()
        while True:
            first = self.step * self.engine.batch_size + rank() * n
            rows = self._rows[first : first + n]
            ids = self._padded(rows)["input_ids"]
            self._judge.expect(rows, ids.shape[1])
            yield {"input_ids": ids}

    def _padded(self, rows: Sequence[Prompt]) -> Any:
        found = {"input_ids": [token_ids(row, self._tokenizer) for row in rows]}
        return self._tokenizer.pad(found, padding_side="left", return_attention_mask=True, return_tensors="pt")

    def _complete(self, rows: Sequence[Prompt]) -> Any:
        asked = self._padded(rows).to(self.accelerator.device)
        sampling = GenerationConfig(
            max_new_tokens=self.engine.max_completion_tokens,
            do_sample=True,
            temperature=self.engine.temperature,
            top_k=0,
            top_p=1.0,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        with torch.no_grad():
            written = self._unwrapped.policy.generate(**asked, generation_config=sampling)
        return written[:, asked["input_ids"].shape[1] :]

    def _folder(self, step: int) -> Path:
        return Path(self._trainer.args.output_dir) / f"checkpoint-{step}"

    def _drop_old(self) -> None:
        complete = [marker.parent for marker in Path(self._trainer.args.output_dir).glob(f"*/{MARKER}")]
        for folder in sorted(complete, key=_step_of)[: -self.engine.keep_checkpoints]:
            shutil.rmtree(folder)


class _Callback(TrainerCallback):  # type: ignore[misc]
    """Resumes, evaluates and saves where the trainer would not, around what the reward's own callback does."""

    def __init__(self, ppo: PPO, inner: Any) -> None:
        self._ppo = ppo
        self._inner = inner

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ppo.restore()
        self._inner.on_train_begin(args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "objective/kl" in logs:
            self._inner.on_log(args, state, control, logs=self._ppo.figures(logs))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._inner.on_step_end(args, state, control, **kwargs)
        ends, control.should_save = control.should_save, False
        step, engine = state.global_step, self._ppo.engine
        self._ppo.remember()
        if not ends and engine.eval_every and step % engine.eval_every == 0:
            self._ppo.evaluate()
        if ends or step % engine.save_every == 0 or step == engine.steps:
            self._ppo.save()
        if ends:  # the trainer would train on
            self._inner.on_train_end(args, state, control)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _policy(model: str, args: PPOConfig) -> Any:
    loaded = load_model(model, device="cpu", dtype="float32")
    if not args.use_cpu:
        loaded.gradient_checkpointing_enable()
    return loaded


def _value(model: str, settings: TrainSettings, args: PPOConfig) -> Any:
    """The policy's model with a head of one value per token in place of its words. Raises ModelError, MissingExtra."""
    try:
        value = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype="float32")
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"can't put a value head on {model}, which engine.algorithm ppo needs: {e}") from e
    if not hasattr(value, "score"):
        raise ModelError(f"{type(value).__name__} has no head named 'score', which TRL's PPO needs; use grpo or rloo")
    if settings.policy.lora:
        from peft import inject_adapter_in_model

        inject_adapter_in_model(lora(settings.policy.lora, "SEQ_CLS"), value)
        value.score.requires_grad_(True)
    if not args.use_cpu:
        value.gradient_checkpointing_enable()
    return value


def _trained(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


@contextmanager
def _random_state_kept(seed: int) -> Iterator[None]:
    """Draw from `seed` for a while, and go on as if nothing had been drawn."""
    before = _random()
    set_seed(seed)
    try:
        yield
    finally:
        _set_random(before)


def _random() -> dict[str, Any]:
    """The state of all that PPO draws from: tokens by torch, mini batches by NumPy."""
    shuffles = numpy.random.get_state(legacy=False)
    shuffles["state"]["key"] = shuffles["state"]["key"].tolist()  # a checkpoint is read back without pickled objects
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": shuffles}


def _set_random(state: Mapping[str, Any]) -> None:
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())

"""The arguments of TRL's trainers: what follows from the settings, and what `engine.trainer` adds to it."""

import dataclasses
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from metapo.engines.ranks import micro_batch
from metapo.errors import MissingExtra, SettingsError
from metapo.run import CHECKPOINTS
from metapo.settings import TrainSettings

try:
    import torch
    from trl import GRPOConfig, RLOOConfig
except ImportError as e:
    raise MissingExtra("trl", "training with TRL") from e

KEPT = {
    "output_dir": "the run folder",
    "max_steps": "engine.steps",
    "num_train_epochs": "engine.steps",
    "per_device_train_batch_size": "engine.batch_size and engine.micro_batch_size",
    "per_device_eval_batch_size": "engine.batch_size and engine.micro_batch_size",
    "gradient_accumulation_steps": "engine.batch_size and engine.micro_batch_size",
    "num_generations": "engine.num_generations",
    "num_generations_eval": "the command: metapo train evaluates one completion per prompt",
    "max_completion_length": "engine.max_completion_tokens",
    "learning_rate": "engine.learning_rate",
    "lr_scheduler_type": "engine.schedule",
    "warmup_steps": "engine.warmup",
    "warmup_ratio": "engine.warmup",
    "beta": "engine.kl",
    "temperature": "engine.temperature",
    "seed": "seed",
    "use_cpu": "engine.device",
    "save_steps": "engine.save_every",
    "save_total_limit": "engine.keep_checkpoints",
    "eval_strategy": "engine.eval_every",
    "eval_steps": "engine.eval_every",
    "resume_from_checkpoint": "metapo train --resume",
    **dict.fromkeys(
        ("generation_batch_size", "steps_per_generation", "num_iterations"),
        "the step, which trains on rollouts of its own",
    ),
    **dict.fromkeys(
        ("shuffle_dataset", "save_strategy", "save_only_model", "ignore_data_skip"), "what a resumed run needs"
    ),
    **dict.fromkeys(("logging_steps", "logging_strategy"), "metrics.jsonl, which has a row per step"),
    "remove_unused_columns": "the prompts, whose references and clusters are columns",
    "hub_token": "the environment, since settings are written down: set HF_TOKEN",
}
"""Arguments that `engine.trainer` can't set, each with what decides about it."""


def trainer_config(settings: TrainSettings, folder: Path, n_ranks: int, eval_generations: int = 1) -> Any:
    """TRL's configuration of a run in `folder` on `n_ranks` processes; an evaluation writes `eval_generations`
    completions to each prompt. Raises SettingsError."""
    engine = settings.engine
    config_class = GRPOConfig if engine.algorithm == "grpo" else RLOOConfig
    own = _own(settings, folder, n_ranks, eval_generations)
    added = _added(engine.trainer, config_class)
    try:
        return config_class(**{**own, **added})
    except (ValueError, ImportError) as e:
        if not added:
            raise
        raise SettingsError(f"engine.trainer, which sets {', '.join(added)}, is refused by TRL: {e}") from e


def _own(settings: TrainSettings, folder: Path, n_ranks: int, eval_generations: int) -> dict[str, Any]:
    engine = settings.engine
    per_device = micro_batch(engine, n_ranks)
    on_gpu = engine.device == "auto" and torch.cuda.is_available()
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": engine.steps,
        "per_device_train_batch_size": per_device,
        "per_device_eval_batch_size": per_device,
        "gradient_accumulation_steps": engine.batch_size // (n_ranks * per_device),
        "num_generations": engine.num_generations,
        "num_generations_eval": eval_generations,
        "max_completion_length": engine.max_completion_tokens,
        "learning_rate": engine.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if engine.schedule == "constant" else engine.schedule,
        "warmup_steps": engine.warmup,
        "beta": engine.kl,
        "temperature": engine.temperature,
        "seed": settings.seed,
        "shuffle_dataset": False,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "gradient_checkpointing": on_gpu,
        "save_steps": engine.save_every,
        "save_total_limit": engine.keep_checkpoints,
        "eval_strategy": "steps" if engine.eval_every else "no",
        "eval_steps": engine.eval_every or None,
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }


def _added(trainer: Mapping[str, Any], config_class: Any) -> dict[str, Any]:
    """`engine.trainer`, each argument as the type that TRL declares."""
    types = get_type_hints(config_class)
    known = [field.name for field in dataclasses.fields(config_class) if field.init]
    for name in trainer:
        if name in KEPT:
            raise SettingsError(f"engine.trainer.{name} can't be set: it follows from {KEPT[name]}")
        if name not in known:
            near = get_close_matches(name, [one for one in known if one not in KEPT], n=3)
            advice = f"Similar ones: {', '.join(near)}." if near else "`pip show trl` tells the version."
            raise SettingsError(
                f"engine.trainer.{name}: the installed TRL's {config_class.__name__} has no such argument. {advice}"
            )
    added = {name: _typed(name, value, types[name]) for name, value in trainer.items()}
    if added.get("use_vllm") and find_spec("vllm") is None:
        raise SettingsError("engine.trainer.use_vllm needs vLLM. Install it with: pip install 'trl[vllm]'")
    return added


def _typed(name: str, value: Any, declared: Any) -> Any:
    try:
        return TypeAdapter(declared, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as e:
        raise SettingsError(f"engine.trainer.{name}: {e.errors()[0]['msg']}; got {str(value)[:80]!r}") from e

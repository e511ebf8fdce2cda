"""Models and tokenizers from a folder or the hub, with errors that say what to do."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from metapo.errors import MissingExtra, ModelError
from metapo.settings import LoraSettings


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model folder or hub id. Raises ModelError."""
    check_name(model)
    is_here = Path(model).exists()
    advice = (
        f"Save the right one there with tokenizer.save_pretrained({model!r})."
        if is_here
        else "Correct the name or see to the connection (a gated model needs HF_TOKEN), or give a model folder."
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError, ImportError) as e:
        raise ModelError(f"can't load a tokenizer from {model}: {e}. {advice}") from e
    if len(tokenizer) == 0 or not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise ModelError(f"the tokenizer in {model} gives no tokens: its vocabulary files are missing. {advice}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: str, *, device: str, dtype: str) -> Any:
    """The causal language model of a model folder or hub id, ready to generate; of an adapter's folder, its base model
    with the adapter on it. Raises ModelError, MissingExtra.

    A `dtype` of "auto" is the one that the weights were saved in.
    """
    check_name(model)
    _check_base(Path(model))
    try:
        loaded, info = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
        raise ModelError(f"can't load a model from {model}: {e}. Give a folder written by save_pretrained.") from e
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{model} lacks {len(missing)} of the model's weights, such as {missing[0]}: they would be random. "
            "Give a folder that holds a whole causal language model."
        )
    return loaded.to(device).eval()


def lora(settings: LoraSettings, task: str = "CAUSAL_LM") -> Any:
    """The configuration of an adapter for a causal language model, or for peft's `task`. Raises MissingExtra."""
    try:
        from peft import LoraConfig
    except ImportError as e:
        raise MissingExtra("lora", "training an adapter (policy.lora)") from e
    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    return LoraConfig(
        task_type=task,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
    )


def _check_base(folder: Path) -> None:
    """Refuse an adapter that can't be put on its base model. Raises ModelError, MissingExtra."""
    if not (folder / "adapter_config.json").exists() or (folder / "config.json").exists():
        return
    if find_spec("peft") is None:
        raise MissingExtra("lora", f"the adapter in {folder}")
    try:
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        check_name(base)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ModelError(f"adapter_config.json in {folder} names no base_model_name_or_path: write it there.") from e
    except ModelError as e:
        raise ModelError(
            f"{folder} holds an adapter, and its base model isn't there: {e} Or write where it is now as "
            f"base_model_name_or_path into {folder / 'adapter_config.json'}."
        ) from e


def check_name(model: str) -> None:
    """Refuse a folder that holds no model, and a path that leads nowhere: no hub is asked for it. Raises ModelError."""
    path = Path(model)
    if path.exists():
        if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{model} is no model folder: it has no config.json. Give a folder written by save_pretrained."
            )
    elif model.startswith("~"):
        raise ModelError(f"there is no model folder {model}: '~' is not expanded here. Write the whole path.")
    elif _is_path(path, model):
        raise ModelError(
            f"there is no model folder {model} (seen from {Path.cwd()}). Give a folder written by save_pretrained, or "
            "a hub id such as Qwen/Qwen2-1.5B-Instruct."
        )


def _is_path(path: Path, model: str) -> bool:
    """Does a name that doesn't exist mean a folder? Hub ids have the form owner/name, and no owner is a folder here."""
    parts = model.replace(os.sep, "/").split("/")
    return model.startswith(".") or path.is_absolute() or len(parts) > 2 or (len(parts) == 2 and path.parent.exists())

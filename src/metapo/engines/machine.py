"""What this machine has to train with, and how large the policy is."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from metapo.errors import MissingExtra, ModelError

try:
    import httpx
    import torch
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from transformers import AutoConfig

    from metapo.engines.models import check_name
except ImportError as e:
    raise MissingExtra("trl", "a look at GPUs and models") from e

HUB_TIMEOUT_S = 10.0
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1}


@dataclass(frozen=True)
class GPU:
    """One that torch sees, and its memory in bytes."""

    name: str
    total: int
    free: int


def gpus() -> list[GPU]:
    """Those that training would find here."""
    found = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        found.append(GPU(torch.cuda.get_device_name(i), total, free))
    return found


@cache
def weights_bytes(model: str) -> int | None:
    """Bytes of a model's weights, in their folder or as the hub tells them; None where neither does. Raises ModelError
    for a model that can't be had: sooner than loading it would."""
    check_name(model)
    if not Path(model).exists():
        return _on_hub(model)
    index = Path(model) / "model.safetensors.index.json"
    if index.is_file():
        size: int | None = json.loads(index.read_text(encoding="utf-8")).get("metadata", {}).get("total_size")
        return size
    return sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) or None


def _on_hub(model: str) -> int | None:
    try:
        info = HfApi().model_info(model, timeout=HUB_TIMEOUT_S)
    except (HfHubHTTPError, HFValidationError) as e:
        raise ModelError(
            f"{model} is neither a folder here nor a model on the hub that you may read: "
            f"{' '.join(str(e).split())[:200]}. "
            "Correct the name; for a gated model accept its terms there and set HF_TOKEN."
        ) from e
    except (httpx.HTTPError, OfflineModeIsEnabled, OSError) as e:
        if isinstance(try_to_load_from_cache(model, "config.json"), str):
            return None
        raise ModelError(
            f"{model} is no folder here, it was never downloaded, and the hub can't be reached ({e}). Give a model "
            "folder, or see to the connection."
        ) from e
    counts = info.safetensors.parameters if info.safetensors else {}
    return sum(n * BYTES.get(dtype, 4) for dtype, n in counts.items()) or None


def context_length(model: str) -> int | None:
    """Tokens that a model was made for; None where its configuration doesn't say. Raises OSError, ValueError."""
    config = AutoConfig.from_pretrained(model).get_text_config()
    length: int | None = getattr(config, "max_position_embeddings", None)
    return length

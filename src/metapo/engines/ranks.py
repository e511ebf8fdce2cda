"""This process among those of one training run, as the launcher set them; known before the process group is up."""

import os

from metapo.errors import SettingsError
from metapo.settings import EngineSettings


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def micro_batch(engine: EngineSettings, n_ranks: int) -> int:
    """How many completions each of `n_ranks` holds at once. Raises SettingsError where the batch can't be split so."""
    per_device = min(engine.micro_batch_size or engine.batch_size // n_ranks, engine.batch_size // n_ranks)
    if engine.batch_size % engine.num_generations or engine.batch_size % (n_ranks * max(1, per_device)):
        raise SettingsError(
            f"engine.batch_size {engine.batch_size} must be a multiple of engine.num_generations "
            f"{engine.num_generations} and of {n_ranks} ranks x micro_batch_size {per_device}"
        )
    return per_device

"""verl's checkpoint callback: a checkpoint that is written knows its step and revision."""

import json
from pathlib import Path
from typing import Any

from metapo.bridge import Bridge
from metapo.engines.verl.asking import Keeps, who_keeps
from metapo.engines.verl.options import VerlOptions
from metapo.errors import MetapoError, MissingExtra
from metapo.files import write_whole
from metapo.run import MARKER

try:
    from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
except ImportError as e:
    raise MissingExtra("verl", "training with verl") from e


class Checkpoints(CheckpointCallback):  # type: ignore[misc]
    """Made by the trainer before anything else, so that wrong options show before a model is loaded."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._options = VerlOptions.of(config)
        if self._options.server is None:
            self._options.load_settings()
        self._bridge = Bridge()
        self._kept: Keeps | None = None

    def on_save(self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **_: Any) -> None:
        """Ties the checkpoint to its step and to the revision in force from there on. Where rollouts keep to steps the
        step is closed first; errors that end the run are raised when the checkpoint is whole."""
        kept = self._kept = self._kept or who_keeps(self._options)
        ended = self._close(kept, global_step) if self.config.trainer.v1.trainer_mode == "sync" else None
        standing = self._bridge.run(kept.standing())
        marker = {"step": global_step, "revision": standing.revision_id}
        write_whole(Path(checkpoint_dir) / MARKER, json.dumps(marker))
        if ended is not None:
            raise ended
        if global_step >= trainer.total_training_steps:
            self._bridge.run(kept.finish())

    def _close(self, kept: Keeps, step: int) -> MetapoError | None:
        """The error that ends the run, if any."""
        try:
            self._bridge.run(kept.begin(step))
        except MetapoError as e:
            return e
        return None

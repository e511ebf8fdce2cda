"""verl's agent loop manager, with three words to who keeps the run before each batch is rolled out: where training
begins, how many steps are done, and whether to go on. It also marks each batch as training or validation."""

import json
import logging
from pathlib import Path
from typing import Any

from metapo.bridge import Bridge
from metapo.engines.verl.asking import who_keeps
from metapo.engines.verl.manager import SPLIT, steps_done
from metapo.engines.verl.options import VerlOptions
from metapo.errors import MissingExtra
from metapo.rollout import Split
from metapo.run import MARKER

try:
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ
    from verl.utils.tensordict_utils import assign_non_tensor_data, get_non_tensor_data
except ImportError as e:
    raise MissingExtra("verl", "training with verl") from e

log = logging.getLogger(__name__)


class RolloutManager(AgentLoopManagerTQ):  # type: ignore[misc]
    """Made once by each process that trains; it starts the run's keeper, unless a server keeps the run. Errors that end
    the run are raised here, in the driver."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._kept = who_keeps(VerlOptions.of(config), begins=True)
        self._bridge = Bridge()
        self._begun = False

    def generate_sequences(self, prompts: Any) -> None:
        """Raises Stopped, JudgeFailureLimit, LineageError where a checkpoint is not the run's, and what keeps the run
        from being opened."""
        split = Split.EVAL if get_non_tensor_data(prompts, "validate", default=False) else Split.TRAIN
        step = steps_done(int(prompts["global_steps"]), split)
        if not self._begun:
            self._begin(step)
        elif self.config.trainer.v1.trainer_mode == "sync":
            self._bridge.run(self._kept.begin(step))
        self._bridge.run(self._kept.check(step, self._n_rollouts))
        assign_non_tensor_data(prompts, SPLIT, split.value)
        super().generate_sequences(prompts)

    @property
    def _n_rollouts(self) -> int:
        return int(self.config.data.train_batch_size * self.config.actor_rollout_ref.rollout.n)

    def _begin(self, step: int) -> None:
        """Training begins, or goes on from a checkpoint. One that only validates an old checkpoint changes nothing."""
        if not self.config.trainer.get("val_only", False):
            written_under = _written_under(self.config, step)
            self._bridge.run(self._kept.begin(step, resumed=True, written_under=written_under))
        self._begun = True


def _written_under(config: Any, step: int) -> str:
    """The id of the revision in the marker of the checkpoint that verl went on from; "" where there is none."""
    if step == 0:
        return ""
    folder = Path(config.trainer.default_local_dir) / f"global_step_{step}"
    if config.trainer.resume_mode == "resume_path":
        folder = Path(config.trainer.resume_from_path)
    try:
        return str(json.loads((folder / MARKER).read_text(encoding="utf-8"))["revision"])
    except FileNotFoundError:
        log.warning(
            "%s has no %s, so nothing says whether it belongs to the run. Set "
            "trainer.checkpoint_callback_class to metapo.engines.verl.checkpoints.Checkpoints.",
            folder,
            MARKER,
        )
        return ""

"""verl's reward manager: one sample is decoded, scored by who keeps the run, and comes back as one number."""

from typing import Any

from metapo.asked import Asked
from metapo.engines.verl.asking import Keeps, who_keeps
from metapo.engines.verl.options import VerlOptions
from metapo.engines.verl.slots import Given, metrics
from metapo.errors import DataError, MissingExtra, RolloutUnscored
from metapo.rollout import Split
from metapo.rubric import digest

try:
    from verl.experimental.reward_loop.reward_manager import register
    from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
except ImportError as e:
    raise MissingExtra("verl", "training with verl") from e

SPLIT = "metapo_split"
"""The field of a sample that says whether it is trained on or validates."""


@register("metapo")
class RewardManager(RewardManagerBase):  # type: ignore[misc]
    """Of a sample it reads `raw_prompt`, `uid`, `session_id`, `global_steps`, the split that RolloutManager marked it
    with, and of `extra_info` the texts `reference` and `cluster`."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_of_reward_models: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._options = VerlOptions.of(config)
        self._kept: Keeps | None = None

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Raises RolloutUnscored where there is no reward and the options say `raise`, Stopped, DataError, RunError
        where the keeper is gone, RewardServerError."""
        sample = data[-1:][0]  # of a rollout in several sequences the last one holds the reward
        completion = await self.loop.run_in_executor(None, self._decode, sample)
        given = await self._score(asked(sample.non_tensor_batch, completion))
        return {"reward_score": self._reward(given), "reward_extra_info": metrics(given, self._options.slots)}

    def _decode(self, sample: Any) -> str:
        ids = sample.batch["responses"]
        n_valid = int(sample.batch["attention_mask"][-ids.shape[-1] :].sum())
        text: str = self.tokenizer.decode(ids[:n_valid], skip_special_tokens=True)
        return text

    async def _score(self, asked: Asked) -> Given:
        if self._kept is None:
            self._kept = who_keeps(self._options)
        return await self._kept.score(asked)

    def _reward(self, given: Given) -> float:
        if given.value is not None:
            return given.value
        if self._options.neutral is None:
            raise RolloutUnscored(
                f"a rollout has no reward: {given.why or 'the task gives none'}. verl counts its group as failed. To "
                "go on with a number of yours instead, set metapo.unscored to neutral."
            )
        return self._options.neutral


def asked(fields: Any, completion: str) -> Asked:
    """What to ask for a sample with these fields. Raises DataError where one is missing."""
    try:
        split, global_step = Split(str(fields[SPLIT])), int(fields["global_steps"])
        prompt = [dict(message) for message in fields["raw_prompt"]]
        group = str(fields["uid"])
    except KeyError as e:
        raise DataError(
            f"a sample lacks the field {e.args[0]!r}; it has {', '.join(fields)}. Training samples can't be told from "
            "validation without it: set actor_rollout_ref.rollout.agent.agent_loop_manager_class to "
            "metapo.engines.verl.rollouts.RolloutManager."
        ) from e
    info = fields.get("extra_info") or {}
    reference = info.get("reference")
    return Asked(
        prompt=prompt,
        completion=completion,
        reference=None if reference is None else str(reference),
        cluster=str(info.get("cluster") or ""),
        step=steps_done(global_step, split),
        group=group,
        split=split,
        # the completion is part of it: async modes write anew, under the same uid, what a restart interrupted
        key=digest([split.value, global_step, group, int(fields.get("session_id", 0)), completion]),
    )


def steps_done(global_step: int, split: Split) -> int:
    """How many optimizer steps were done when verl wrote a sample. Its training steps count from 1, and it validates
    after a step has been done."""
    return global_step if split is Split.EVAL else global_step - 1

"""What TRL's PPOTrainer takes for its reward model: it knows the batch's prompts and asks the reward for scores."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import gather_object

from metapo.rollout import Prompt

LEAST_VARIANCE = 1e-9
Ask = Callable[[Sequence[Prompt], Sequence[Any]], list[float | None]]


class Judge(torch.nn.Module):  # type: ignore[misc]
    """What the trainer takes for its reward model: `backbone` gets token ids, and `score` what that gave.

    The trainer shows a batch in parts, in order, each first to the value model.
    """

    base_model_prefix = "backbone"

    def __init__(self, ask: Ask, check_batch: Callable[[], None]) -> None:
        """`ask` gives the rewards of completions, as token ids, and `check_batch` is called once all of a batch are
        known."""
        super().__init__()
        self._ask = ask
        self._check_batch = check_batch
        self.before = 0.0
        self._known: list[float] = []
        self.expect([], 0)

    @property
    def mean(self) -> float:
        """Of the step's scores so far, on this rank; before there are any that of the step before, at the very first
        0."""
        return fmean(self._known) if self._known else self.before

    def expect(self, rows: Sequence[Prompt], width: int) -> None:
        """A batch begins: its prompts in order, `width` tokens each, padding included."""
        self.before = self.mean
        self._waiting, self._width = list(rows), width
        self._values: Any = None
        self._known = []
        self._n_neutral = 0
        self._fits: list[dict[str, float]] = []
        self._began = time.monotonic()

    def see_values(self, head: Any, inputs: Any, values: Any) -> None:
        """The value head's hook: keep what it says of completions before they are trained on."""
        if not torch.is_grad_enabled():
            self._values = values.detach()

    def backbone(self, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        """The scores of a part of the batch, at every token, where a model would have its hidden states."""
        n = len(input_ids)
        rows, self._waiting = self._waiting[:n], self._waiting[n:]
        written = attention_mask[:, self._width :].bool()
        completions = [ids[mask] for ids, mask in zip(input_ids[:, self._width :], written, strict=True)]
        scores = torch.tensor(self._filled(self._ask(rows, completions)), device=input_ids.device)
        self._fits.append(fit(self._values[:, self._width - 1 : -1, 0], scores, written))
        if not self._waiting:
            self._check_batch()
        return SimpleNamespace(hidden_states=(scores.view(-1, 1, 1).expand(*input_ids.shape, 1),))

    def score(self, scores: Any) -> Any:
        return scores

    def figures(self) -> dict[str, float]:
        """Of the last batch, over all ranks."""
        fits, neutral = zip(*gather_object([(self._fits, self._n_neutral)]), strict=True)
        merged = [one for part in fits for one in part]
        n = sum(one["completions"] for one in merged)
        return {
            "step_time": time.monotonic() - self._began,
            "tokens": sum(one["tokens"] for one in merged) / n,
            "neutral": sum(neutral) / n,
            **explained(merged),
        }

    def _filled(self, scores: Sequence[float | None]) -> list[float]:
        """Without gaps: the mean stands for a score that is missing."""
        self._known += [score for score in scores if score is not None]
        self._n_neutral += sum(score is None for score in scores)
        return [self.mean if score is None else score for score in scores]


def fit(values: Any, scores: Any, written: Any) -> dict[str, float]:
    """Sums over the tokens of completions, of their scores and of how far the values before each token lie above."""
    score = scores.unsqueeze(1).expand_as(values)[written]
    error = values[written] - score
    sums = {"score": score, "score_squared": score**2, "error": error, "error_squared": error**2}
    return {"completions": len(scores), "tokens": len(score), **{name: x.sum().item() for name, x in sums.items()}}


def explained(fits: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How well the values foretell the scores: `value/bias` is their mean less the scores', in units of the reward;
    `value/explained` the share of the scores' variance that is not in the error too, 1 at best, below 0 where a
    constant would do better; left out where all scores are equal. `value/score_sd` is the scores' standard deviation.
    Each token counts."""
    total: Counter[str] = Counter()
    for one in fits:
        total.update(one)
    if not total["tokens"]:
        return {}
    mean = {name: total[name] / total["tokens"] for name in ("score", "score_squared", "error", "error_squared")}
    of_score = max(0.0, mean["score_squared"] - mean["score"] ** 2)
    of_error = mean["error_squared"] - mean["error"] ** 2
    found = {"value/bias": mean["error"], "value/score_sd": of_score**0.5}
    return found | ({"value/explained": 1 - of_error / of_score} if of_score > LEAST_VARIANCE else {})

"""What is written to the store and read back: frozen records in the vocabulary of the layers above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from metapo.rollout import Rollout
from metapo.rubric import Outcome, Revision


@dataclass(frozen=True)
class CallRecord:
    """One request: the raw reply and its usage, or the error (then `reply` is empty). `role` is judge, monitor or
    meta."""

    reply: str
    error: str = ""
    model: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0
    role: str = "judge"
    endpoint: str = ""
    cached_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class OpinionRecord:
    """One judge's outcome where several were asked (role "panel") or one is only watched ("monitor")."""

    role: str
    judge: str
    outcome: Outcome


@dataclass(frozen=True)
class RolloutRecord:
    """A rollout, the revision that scored it, its reward (None when unscored), its outcomes and the calls they took.

    `n_reused` outcomes were known already, `n_left_out` characters of the completion were not shown; `monitor` is the
    normalised score of the monitor, in [0, 1].
    """

    rollout: Rollout
    revision_id: str
    value: float | None
    normalized: float | None
    raw: float | None
    outcomes: tuple[Outcome, ...]
    calls: tuple[CallRecord, ...] = ()
    n_reused: int = 0
    n_left_out: int = 0
    monitor: float | None = None
    opinions: tuple[OpinionRecord, ...] = ()


@dataclass(frozen=True)
class ExchangeRecord:
    """One request to the meta model; `sample` counts the step's samples from 0, None in the merge."""

    stage: str
    sample: int | None
    prompt: str
    reply: str
    error: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float = 0.0


@dataclass(frozen=True)
class MetaStepRecord:
    """One meta step after `step` optimizer steps; `samples` are the rollouts that it read."""

    step: int
    parent_id: str
    child: Revision | None
    decision: str
    reason: str
    samples: tuple[Rollout, ...]
    exchanges: tuple[ExchangeRecord, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Spent:
    """What calls cost; of a run, all of them so far: to judges and meta model alike, in interrupted attempts too."""

    n_calls: int
    tokens: int
    cost_usd: float

    @classmethod
    def of(cls, calls: Sequence[CallRecord]) -> Self:
        tokens = sum((call.prompt_tokens or 0) + (call.completion_tokens or 0) for call in calls)
        return cls(len(calls), tokens, math.fsum(call.cost_usd or 0.0 for call in calls))

    def __str__(self) -> str:
        cost = f", {self.cost_usd:.4f} USD" if self.cost_usd else ""
        return f"{self.n_calls} requests, {self.tokens} tokens{cost}"

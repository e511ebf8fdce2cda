"""What is written to the store and read back: frozen records in the vocabulary of the layers above."""

from dataclasses import dataclass

from metapo.rollout import Rollout
from metapo.rubric import Outcome, Revision


@dataclass(frozen=True)
class CallRecord:
    """One request to the judge: the raw reply and its usage, or the error (then `reply` is empty)."""

    reply: str
    error: str = ""
    model: str = ""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float = 0.0


@dataclass(frozen=True)
class RolloutRecord:
    """A rollout, the revision that scored it, its reward (None when unscored), its outcomes and the calls they took."""

    rollout: Rollout
    revision_id: str
    value: float | None
    normalized: float | None
    raw: float | None
    outcomes: tuple[Outcome, ...]
    calls: tuple[CallRecord, ...] = ()


@dataclass(frozen=True)
class ExchangeRecord:
    """One request to the meta model; `sample` counts the step's samples from 0, None in the merge."""

    stage: str
    sample: int | None
    prompt: str
    reply: str
    error: str = ""


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

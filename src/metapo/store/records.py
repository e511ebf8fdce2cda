"""What is written to the store and read back: frozen records in the vocabulary of the layers above."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from metapo.rollout import Rollout
from metapo.rubric import Outcome, Revision, Rubric


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
    normalised score of the monitor, in [0, 1]; `screened` says why the task's own rule gave the reward, if it did.
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
    screened: str = ""


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
class SampleRecord:
    """A rollout that a meta step read, why it was chosen, and what detectors flagged."""

    rollout: Rollout
    why: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class FindingRecord:
    """One check of the gate: `parent` and `child` are shares (0 to 1) of `n_pairs` in the right order."""

    gate_check: str
    passed: bool
    detail: str
    parent: float | None = None
    child: float | None = None
    n_pairs: int = 0


@dataclass(frozen=True)
class ProposalRecord:
    """A revision that a meta step proposed, what the gate made of it, and the number of the one that it repairs."""

    revision: Revision
    accepted: bool
    reason: str = ""
    repairs: int | None = None
    findings: tuple[FindingRecord, ...] = ()


@dataclass(frozen=True)
class AnchorRecord:
    """Two completions of a prompt whose order is known: `source` is "anchor" where a person says so, "archive" where
    the pair spoke for an accepted proposal, "earlier" where it examined others. `added_at` is a time in UTC."""

    prompt: str
    better: str
    worse: str
    source: str
    why: str
    who: str = ""
    added_at: str = ""
    reference: str | None = None


@dataclass(frozen=True)
class AttemptRecord:
    """The run began, or went on after `resumed_step` steps, at a time in UTC."""

    number: int
    resumed_step: int
    started_at: str


@dataclass(frozen=True)
class BegunRecord:
    """A meta step began after `step` steps, for the reason `why`; what it brings holds from `adopt_step` on."""

    step: int
    adopt_step: int
    why: str
    cluster: str = ""


@dataclass(frozen=True)
class AdoptionRecord:
    """From `step` on this revision scores, and each value v becomes `factor` * v + `shift`."""

    step: int
    revision: Revision
    factor: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class DecisionRecord:
    """How a meta step ended, without its texts."""

    step: int
    adopt_step: int
    decision: str
    parent_id: str
    child_id: str | None


@dataclass(frozen=True)
class MetaStepRecord:
    """One meta step, which began after `step` optimizer steps for the reason `why`; `samples` are the rollouts that it
    read, `child` the revision that it chose, adopted or not, `evidence` the pairs that examined it."""

    step: int
    adopt_step: int
    parent_id: str
    child: Revision | None
    decision: str
    reason: str
    why: str = ""
    cluster: str = ""
    samples: tuple[SampleRecord, ...] = ()
    exchanges: tuple[ExchangeRecord, ...] = ()
    proposals: tuple[ProposalRecord, ...] = ()
    evidence: tuple[AnchorRecord, ...] = ()
    seconds: float = 0.0


class ActKind(StrEnum):
    """What a person may do to the rubric of a run; to evolve is to ask for a meta step now."""

    APPROVE = "approve"
    REJECT = "reject"
    EDIT = "edit"
    PIN = "pin"
    UNPIN = "unpin"
    EVOLVE = "evolve"


@dataclass(frozen=True)
class ActRecord:
    """What somebody decided, when (UTC) and why. `cluster` None means all; `about` is the revision decided on,
    `criterion` the one to pin, `rubric` the one to put in force."""

    kind: ActKind
    who: str
    why: str
    done_at: str
    cluster: str | None = None
    about: str | None = None
    criterion: str = ""
    rubric: Rubric | None = None
    id: int = 0


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

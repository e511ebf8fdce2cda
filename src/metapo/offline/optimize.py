"""A rubric evolved before training by GEPA (Agrawal et al. 2025, arXiv 2507.19457) on pairs whose order is known.

GEPA's library drives: which rubric is tried next, on which pairs, and which stay in the pool. Here it is started,
stopped and put on record; `adapter.py` does what it asks for.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from metapo.errors import DataError, JudgeFailureLimit, MissingExtra
from metapo.judge.budget import Budget
from metapo.meta.conversation import MetaModel
from metapo.meta.pairs import TIE, Pair
from metapo.meta.step import Decision
from metapo.offline.adapter import PairAdapter, Runs
from metapo.offline.lineage import Lineage, Round
from metapo.rubric import Revision, Rubric
from metapo.scorer import Scorer
from metapo.store import FindingRecord, ProposalRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimizerPlan:
    """How far a search goes: `rounds` proposals within the `budget`, each written from at most `minibatch` pairs. More
    than the share `max_unscored` (0 to 1) of pairs without verdicts under the first rubric ends it."""

    rounds: int = 20
    minibatch: int = 3
    budget: Budget = field(default_factory=Budget)
    max_unscored: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Optimized:
    """How a search ended: the shares of `n` held-out pairs in the right order (0 to 1) under the first rubric and under
    the best, why it ended, and how many pairs were left out since the judge gave no verdict on them."""

    before: float
    after: float
    n: int
    why: str
    n_left_out: int


def split_pairs(pairs: Sequence[Pair], rng: Random) -> tuple[list[Pair], list[Pair]]:
    """Pairs to read and pairs to choose by, about as many; those of one prompt stay together. Raises DataError where
    all are of one prompt."""
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    if len(prompts) < 2:
        raise DataError(
            "all pairs are of one prompt; give pairs of two or more, as one part of them is read and the other chooses"
        )
    rng.shuffle(prompts)
    chosen: set[str] = set()
    for prompt in prompts[:-1]:
        if sum(pair.prompt in chosen for pair in pairs) * 2 < len(pairs):
            chosen.add(prompt)
    return [p for p in pairs if p.prompt not in chosen], [p for p in pairs if p.prompt in chosen]


class Optimizer:
    """The search. `run` drives what is asynchronous; all else happens in the thread that calls `optimize`."""

    def __init__(self, lineage: Lineage, scorer: Scorer, model: MetaModel, plan: OptimizerPlan, run: Runs) -> None:
        self._lineage = lineage
        self._scorer = scorer
        self._model = model
        self._plan = plan
        self._run = run

    def optimize(self, pairs: Sequence[Pair]) -> Optimized:
        """Search, and leave the best rubric in the lineage. Raises MissingExtra, DataError, JudgeFailureLimit,
        ChatMisconfigured."""
        gepa = _gepa()
        first = self._lineage.best
        adapter = PairAdapter(self._scorer, self._model, self._run)
        usable = self._usable(adapter, first.rubric, pairs)
        read, held_out = split_pairs(usable, Random(f"{self._plan.seed}/split"))
        steering = _Steering(self._lineage, adapter, self._plan, self._model.name, len(held_out))
        try:
            result = gepa.optimize(
                seed_candidate=adapter.candidate(first.rubric),
                trainset=read,
                valset=held_out,
                adapter=adapter,
                reflection_minibatch_size=self._plan.minibatch,
                stop_callbacks=steering,
                callbacks=[steering],
                logger=_Quiet(),
                seed=self._plan.seed,
                raise_on_exception=False,  # a proposal that fails is given up; steering raises what ends the search
            )
        except BaseException:
            self._lineage.record_calls(adapter.work)
            raise
        scores = result.val_aggregate_scores
        n_left_out = len(pairs) - len(usable)
        return Optimized(scores[0], max(scores), len(held_out), steering.why, n_left_out)

    def _usable(self, adapter: PairAdapter, first: Rubric, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs on which there are verdicts under the first rubric. Raises JudgeFailureLimit."""
        try:
            judged = adapter.judge(first, pairs)
        finally:
            self._lineage.record_calls(adapter.work)
            adapter.begin(0)
        usable = [j.pair for j in judged if j is not None]
        if len(pairs) - len(usable) > self._plan.max_unscored * len(pairs):
            raise JudgeFailureLimit(
                f"{len(pairs) - len(usable)} of {len(pairs)} pairs have no verdicts under the first rubric, more than "
                f"max_unscored = {self._plan.max_unscored:g} allows. Mend the judge, and give the same command again."
            )
        return usable


def _gepa() -> Any:
    try:
        import gepa
    except ImportError as e:
        raise MissingExtra("optimize", "metapo optimize") from e
    return gepa


class _Quiet:
    """GEPA's own words, for those who switch logging on."""

    def log(self, message: str) -> None:
        log.debug(message)


class _Steering:
    """GEPA asks before each round whether to stop: the place to record the round before."""

    def __init__(
        self, lineage: Lineage, adapter: PairAdapter, plan: OptimizerPlan, proposer: str, n_held_out: int
    ) -> None:
        self.why = ""
        self._lineage = lineage
        self._adapter = adapter
        self._plan = plan
        self._proposer = proposer
        self._n_held_out = n_held_out
        first = lineage.best
        self._revisions = {first.rubric.digest: first}
        self._n_pooled = 1
        self._share = 0.0
        self._started = time.monotonic()

    def __call__(self, state: Any) -> bool:
        """Does the search end? Raises what a round ended in that no other round would escape."""
        if self._adapter.failure is not None:
            raise self._adapter.failure
        done: int = state.i + 1
        if done:
            self._record(state)
        else:
            self._lineage.record_calls(self._adapter.work)
            self._share = state.program_full_scores_val_set[0]
        self._adapter.begin(done)
        self._started = time.monotonic()
        if reached := self._lineage.reached(self._plan.budget):
            self.why = f"the budget ended it: {reached}"
        elif done >= self._plan.rounds:
            self.why = "all rounds are done"
        return bool(self.why)

    def on_error(self, event: Mapping[str, Any]) -> None:
        """A round that failed for want of verdicts is given up; anything else ends the search."""
        if not isinstance(event["exception"], JudgeFailureLimit):
            self._adapter.failure = event["exception"]

    def _record(self, state: Any) -> None:
        work, proposed = self._adapter.work, self._adapter.proposed
        work.seconds = time.monotonic() - self._started
        work.why = "GEPA"
        if proposed is None:
            work.decision = Decision.FAILED if self._adapter.notes else Decision.UNCHANGED
            work.reason = "; ".join(self._adapter.notes) or "every pair that was read is in the right order"
        else:
            self._weigh(work, *proposed, state)
        self._lineage.record(work)

    def _weigh(self, work: Round, parent: Rubric, rubric: Rubric, state: Any) -> None:
        """The proposal as GEPA took it: in force where it orders more held-out pairs rightly than any before."""
        parents = dict.fromkeys((self._lineage.best.id, self._revisions[parent.digest].id))
        origin = "; ".join(["rewritten from misordered pairs", *self._adapter.notes])
        work.child = Revision(
            rubric=rubric, parents=tuple(parents), reason=origin, proposer=self._proposer, step=work.number
        )
        finding = self._finding(state)
        if finding.passed and finding.child is not None:
            self._share = finding.child
        self._revisions.setdefault(rubric.digest, work.child)
        self._n_pooled = len(state.program_candidates)
        work.decision = Decision.ADOPTED if finding.passed else Decision.REJECTED
        work.reason = f"{origin} ({finding.detail})"
        work.proposals.append(ProposalRecord(work.child, finding.passed, finding.detail, findings=(finding,)))

    def _finding(self, state: Any) -> FindingRecord:
        if len(state.program_candidates) == self._n_pooled:
            return FindingRecord("minibatch", False, _refusal(state.full_program_trace[-1]))
        share: float = state.program_full_scores_val_set[-1]
        detail = f"{share:.1%} of {self._n_held_out} held-out pairs in the right order, {self._share:.1%} before"
        return FindingRecord("held_out", share > self._share + TIE, detail, self._share, share, self._n_held_out)


def _refusal(trace: Mapping[str, Any]) -> str:
    """Why GEPA kept a proposal out of its pool."""
    if "new_subsample_scores" not in trace:
        return "not every pair got a verdict"
    after, before = (sum(trace[name]) for name in ("new_subsample_scores", "subsample_scores"))
    if after > before:
        return "not every held-out pair got a verdict"
    n = len(trace["subsample_scores"])
    return f"{after:g} of the {n} pairs that it was written from in the right order, {before:g} before"

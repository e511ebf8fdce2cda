"""A rubric evolved before training by GEPA (Agrawal et al. 2025, arXiv 2507.19457) on pairs whose order is known.

GEPA's library drives: which rubric is tried next, on which pairs, and which stay in the pool. What it asks for is done
here: pairs are judged under a rubric, and the meta model rewrites a rubric from the pairs that it orders wrongly.

GEPA knows no missing score. A pair that gets no verdict is asked again; where it still has none under a new rubric,
that rubric is given up and its parent stays.
"""

import logging
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol, TypeVar

from metapo.errors import DataError, JudgeFailureLimit, MissingExtra
from metapo.judge.budget import Budget
from metapo.judge.template import fence
from metapo.meta.change import place
from metapo.meta.conversation import MetaModel
from metapo.meta.pairs import TIE, Pair
from metapo.meta.step import Decision
from metapo.offline.cases import shown, verdicts_text
from metapo.offline.lineage import Lineage, Round
from metapo.offline.rewriting import rewrite
from metapo.reward import Scored
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.scorer import Scorer
from metapo.store import FindingRecord, ProposalRecord

PART = "rubric"  # the one component of GEPA's candidates
TRIES = 3  # to get a verdict on a pair
log = logging.getLogger(__name__)
T = TypeVar("T")


class Runs(Protocol):
    """Runs a coroutine to its end, from code that is not asynchronous."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> T: ...


@dataclass(frozen=True)
class Judged:
    """A pair under one rubric: both completions have a score."""

    pair: Pair
    better: Scored
    worse: Scored

    @property
    def gap(self) -> float:
        """By how much the better completion scores higher, -1 to 1."""
        return (self.better.reward.normalized or 0.0) - (self.worse.reward.normalized or 0.0)

    @property
    def place(self) -> float:
        """1 for the right order, 0.5 for a tie, 0 for the wrong one."""
        return place(self.gap)


@dataclass(frozen=True)
class Plan:
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

    def __init__(self, lineage: Lineage, scorer: Scorer, model: MetaModel, plan: Plan, run: Runs) -> None:
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
        adapter = _Adapter(self._scorer, self._model, self._run)
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

    def _usable(self, adapter: "_Adapter", first: Rubric, pairs: Sequence[Pair]) -> list[Pair]:
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


class _Adapter:
    """What GEPA asks for. Of the round under way, `work` takes what was asked, `proposed` the parent and the rubric
    written from it, `notes` what there is to say; `failure` ends the search."""

    def __init__(self, scorer: Scorer, model: MetaModel, run: Runs) -> None:
        self._scorer = scorer
        self._model = model
        self._run = run
        self._rubrics: dict[str, Rubric] = {}
        self.failure: BaseException | None = None
        self.begin(0)

    def begin(self, number: int) -> None:
        self.work = Round(number)
        self.proposed: tuple[Rubric, Rubric] | None = None
        self.notes: list[str] = []

    def candidate(self, rubric: Rubric) -> dict[str, str]:
        """A rubric in GEPA's form: its text."""
        text = render_rubric(rubric)
        self._rubrics[text] = rubric
        return {PART: text}

    def rubric(self, candidate: Mapping[str, str]) -> Rubric:
        return self._rubrics[candidate[PART]]

    def judge(self, rubric: Rubric, pairs: Sequence[Pair]) -> list[Judged | None]:
        """Each pair under a rubric; None where a completion still has no score after TRIES. Raises
        ChatMisconfigured."""
        found: dict[int, Judged] = {}
        for _ in range(TRIES):
            if not (missing := [i for i in range(len(pairs)) if i not in found]):
                break
            rollouts = [rollout for i in missing for rollout in pairs[i].rollouts()]
            scored = self._run(self._scorer.appraise(rubric, rollouts))
            self.work.judged += scored
            for i, better, worse in zip(missing, scored[::2], scored[1::2], strict=True):
                if better.reward.normalized is not None and worse.reward.normalized is not None:
                    found[i] = Judged(pairs[i], better, worse)
        return [found.get(i) for i in range(len(pairs))]

    # --- GEPA's protocol

    def evaluate(self, batch: list[Pair], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Scores of 1, 0.5 or 0. Raises JudgeFailureLimit where a pair has none."""
        from gepa.core.adapter import EvaluationBatch

        judged = self.judge(self.rubric(candidate), batch)
        scored = [j for j in judged if j is not None]
        if len(scored) < len(batch):
            self.notes.append(f"{len(batch) - len(scored)} of {len(batch)} pairs have no verdicts in {TRIES} tries")
            raise JudgeFailureLimit(self.notes[-1])
        places = [j.place for j in scored]
        return EvaluationBatch(outputs=places, scores=places, trajectories=scored if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The pairs that are not in the right order, with the judge's reasons."""
        rubric = self.rubric(candidate)
        with self._failing():
            wrong = [self._explained(rubric, judged) for judged in eval_batch.trajectories if judged.place < 1]
        return {PART: [{"evidence": _evidence(judged)} for judged in wrong]}

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The rubric as the meta model rewrites it; nothing where that can't be read, which leaves the parent."""
        evidence = "\n\n".join(
            f"Pair {number}. {record['evidence']}" for number, record in enumerate(reflective_dataset[PART], 1)
        )
        with self._failing():
            parent = self.rubric(candidate)
            rubric, note = self._run(rewrite(self._model, parent, evidence, self.work.log))
        self.notes += [note] if note else []
        if rubric is None:
            return {}
        self.proposed = parent, rubric
        return self.candidate(rubric)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """GEPA swallows what is raised in here, or asks again: so it is kept, and raised where GEPA lets it through."""
        if self.failure is not None:
            raise self.failure
        try:
            yield
        except BaseException as e:
            self.failure = e
            raise

    def _explained(self, rubric: Rubric, judged: Judged) -> Judged:
        better, worse = (self._run(self._scorer.explain(rubric, one)) for one in (judged.better, judged.worse))
        self.work.judged += [better, worse]
        return replace(judged, better=better, worse=worse)


class _Steering:
    """GEPA asks before each round whether to stop: the place to record the round before."""

    def __init__(self, lineage: Lineage, adapter: _Adapter, plan: Plan, proposer: str, n_held_out: int) -> None:
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


def _evidence(judged: Judged) -> str:
    pair = judged.pair
    better, worse = (judged.better.reward.normalized, judged.worse.reward.normalized)
    parts = [
        f"Completion A is known to be better than completion B. The judge gives A {better:.2f} and B {worse:.2f} of 1.",
        shown("why A is better", pair.why),
        shown("prompt", pair.prompt),
        *([] if pair.reference is None else [shown("reference solution", pair.reference)]),
        shown("completion A, the better one", pair.better),
        fence("verdicts on A", verdicts_text(judged.better)),
        shown("completion B, the worse one", pair.worse),
        fence("verdicts on B", verdicts_text(judged.worse)),
    ]
    return "\n\n".join(parts)

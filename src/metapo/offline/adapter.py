"""What GEPA asks for: pairs judged under a rubric, and a rubric rewritten from the pairs that it orders wrongly.

GEPA knows no missing score. A pair that gets no verdict is asked again; where it still has none under a new rubric,
that rubric is given up and its parent stays.
"""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from metapo.aio import each
from metapo.errors import JudgeFailureLimit
from metapo.judge.template import fence
from metapo.meta.change import place
from metapo.meta.conversation import MetaModel
from metapo.meta.pairs import Pair
from metapo.offline.cases import quoted, verdicts_text
from metapo.offline.lineage import Round
from metapo.offline.rewriting import rewrite
from metapo.reward import Scored
from metapo.rubric import Rubric
from metapo.rubric_text import render_rubric
from metapo.scorer import Scorer

PART = "rubric"  # the one component of GEPA's candidates
TRIES = 3  # to get a verdict on a pair
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
        better, worse = self.better.reward.normalized, self.worse.reward.normalized
        assert better is not None
        assert worse is not None
        return better - worse

    @property
    def place(self) -> float:
        """1 for the right order, 0.5 for a tie, 0 for the wrong one."""
        return place(self.gap)


class PairAdapter:
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
        wrong: list[Judged] = [judged for judged in eval_batch.trajectories if judged.place < 1]
        with self._failing():
            explained = self._run(self._explain(self.rubric(candidate), wrong))
        return {PART: [{"evidence": _evidence(judged)} for judged in explained]}

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

    async def _explain(self, rubric: Rubric, wrong: Sequence[Judged]) -> list[Judged]:
        scored = [one for judged in wrong for one in (judged.better, judged.worse)]
        explained = await each(lambda one: self._scorer.explain(rubric, one), scored)
        self.work.judged += explained
        return [
            replace(judged, better=better, worse=worse)
            for judged, better, worse in zip(wrong, explained[::2], explained[1::2], strict=True)
        ]


def _evidence(judged: Judged) -> str:
    pair = judged.pair
    better, worse = judged.better.reward.normalized, judged.worse.reward.normalized
    parts = [
        f"Completion A is known to be better than completion B. The judge gives A {better:.2f} and B {worse:.2f} of 1.",
        quoted("why A is better", pair.why),
        quoted("prompt", pair.prompt),
        *([] if pair.reference is None else [quoted("reference solution", pair.reference)]),
        quoted("completion A, the better one", pair.better),
        fence("verdicts on A", verdicts_text(judged.better)),
        quoted("completion B, the worse one", pair.worse),
        fence("verdicts on B", verdicts_text(judged.worse)),
    ]
    return "\n\n".join(parts)

"""The folder of a search for a better rubric: a store like a run's, in which each round is a meta step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from metapo.errors import RunError, RunExists
from metapo.files import hold, write_whole
from metapo.judge.budget import Budget
from metapo.judge.ledger import Ledger
from metapo.meta.conversation import Exchange
from metapo.meta.step import Decision
from metapo.records import call_records, exchange_record, records_of, take_records
from metapo.reward import Scored
from metapo.rubric import Revision, Rubric, digest
from metapo.run import LOCK, STORE
from metapo.store import CallRecord, MetaStepRecord, ProposalRecord, RolloutRecord, SampleRecord, Store

SEARCH = "search.json"
BEST = "rubric.yaml"


@dataclass
class Round:
    """What one round did so far. `judged` are the assessments whose calls stand in no rollout of `rollouts`; `child` is
    what comes into force where the `decision` brings a child."""

    number: int
    log: list[Exchange] = field(default_factory=list)
    judged: list[Scored] = field(default_factory=list)
    rollouts: list[RolloutRecord] = field(default_factory=list)
    samples: list[SampleRecord] = field(default_factory=list)
    proposals: list[ProposalRecord] = field(default_factory=list)
    decision: Decision = Decision.FAILED
    child: Revision | None = None
    reason: str = ""
    why: str = ""
    seconds: float = 0.0

    @property
    def calls(self) -> list[CallRecord]:
        """The calls that are no exchange and belong to no rollout."""
        tries = [record for e in self.log for record in call_records(e.call, "meta")[:-1]]
        return [*tries, *(record for scored in self.judged for record in records_of(scored))]


class Lineage:
    """A search's rounds, the rubrics that it tried and the best of them, on disk."""

    def __init__(self, folder: Path, lock: Any, ledger: Ledger) -> None:
        self.folder = folder
        self.store = Store(folder / STORE)
        self._lock = lock
        self._ledger = ledger
        self._attempt = 0

    @classmethod
    def open(
        cls,
        folder: Path,
        first: Rubric,
        inputs: Mapping[str, Any],
        *,
        ledger: Ledger,
        answered_by: Mapping[str, str],
        resumes: bool = True,
    ) -> Self:
        """Begin with the rubric `first` in a new or empty folder, or go on where the same search stopped: one whose
        `inputs`, values for JSON, are equal. Without `resumes` a folder with a search is refused.

        Raises RunExists, RunInUse, RunError.
        """
        mark = digest([first.digest, inputs])
        lock = hold(folder / LOCK, f"the folder {folder}")
        try:
            _check_same(folder, mark)
            write_whole(folder / SEARCH, json.dumps({"digest": mark, **inputs}) + "\n")
            lineage = cls(folder, lock, ledger)
            try:
                lineage._begin(first, answered_by, resumes)
            except BaseException:
                lineage.store.close()
                raise
        except BaseException:
            lock.release()
            raise
        return lineage

    def _begin(self, first: Rubric, answered_by: Mapping[str, str], resumes: bool) -> None:
        if self.n_rounds and not resumes:
            raise RunExists(
                f"{self.folder} holds a search already, and one like this can't go on. To begin with the best rubric "
                f"that it found, give {self.folder} as the rubric, and another folder with --out."
            )
        before = self.store.answered_by()
        if changed := [role for role, who in answered_by.items() if before.get(role, who) != who]:
            told = " ".join(f"The {role} was {before[role]}, now it is {answered_by[role]}." for role in changed)
            raise RunError(
                f"other models answer than before in {self.folder}. {told} Choose another folder with --out."
            )
        self._attempt = self.store.begin_attempt(
            resumed_step=self.n_rounds, now=datetime.now(UTC), answered_by=answered_by
        )
        if not self.store.adoptions():
            start = Revision(rubric=first, reason="given", proposer="person", step=0)
            self.store.adopt(self._attempt, 0, start)
        self._write_best()

    @property
    def n_rounds(self) -> int:
        """How many rounds are done."""
        return len(self.store.decisions())

    @property
    def best(self) -> Revision:
        """The revision in force."""
        return self.store.lineage()[-1][1]

    @property
    def tried(self) -> list[Rubric]:
        """Every rubric so far, each once: the first one, then those proposed, in order."""
        revisions = [self.store.lineage()[0][1]]
        revisions += [p.revision for m in self.store.meta_steps() for p in m.proposals]
        return list({r.rubric.digest: r.rubric for r in revisions}.values())

    def reached(self, budget: Budget) -> str:
        """How the calls so far reach the budget, in words; empty while they don't."""
        spent = self.store.spent()
        reached = budget.reached(spent.tokens, spent.cost_usd)
        return f"{spent} reach {reached}" if reached else ""

    def record(self, done: Round) -> None:
        """Write a round; what it brings is in force from the next one on."""
        self.store.append_rollouts(self._attempt, done.rollouts)
        parent = self.best
        if done.decision.brings_child and done.child:
            self.store.adopt(self._attempt, done.number + 1, done.child)
        record = MetaStepRecord(
            step=done.number,
            adopt_step=done.number + 1,
            parent_id=parent.id,
            child=done.child,
            decision=done.decision.value,
            reason=done.reason,
            why=done.why,
            samples=tuple(done.samples),
            exchanges=tuple(exchange_record(e) for e in done.log),
            proposals=tuple(done.proposals),
            seconds=done.seconds,
        )
        self.store.append_meta_step(self._attempt, record, self._rest(done))
        self._write_best()

    def record_calls(self, of: Round) -> None:
        """Write the calls alone of what is no whole round: one that broke off, which begins anew when the search goes
        on, or a look at the cases between two."""
        calls = [record for e in of.log for record in call_records(e.call, "meta")[-1:]]
        calls += [record for rollout in of.rollouts for record in rollout.calls]
        self.store.append_other_calls(self._attempt, of.number, [*calls, *self._rest(of)])

    def close(self) -> None:
        """Write the calls that are left, and give the folder free."""
        try:
            self.store.append_other_calls(self._attempt, self.n_rounds, take_records(self._ledger))
        finally:
            self.store.close()
            self._lock.release()

    def _write_best(self) -> None:
        write_whole(self.folder / BEST, self.best.rubric.to_yaml())

    def _rest(self, of: Round) -> list[CallRecord]:
        """The calls of a round that have no place of their own, and those that nobody else has on record."""
        judged = [call for scored in of.judged for assessment in scored.assessments for call in assessment.calls]
        for call in (*(exchange.call for exchange in of.log), *judged):
            self._ledger.claim(call.sent)
        return [*of.calls, *take_records(self._ledger)]


def _check_same(folder: Path, mark: str) -> None:
    """Raises RunExists where the folder holds a run, or a search from other inputs."""
    path = folder / SEARCH
    if not path.exists() and (folder / STORE).exists():
        raise RunExists(f"{folder} holds a run already. Choose another folder with --out.")
    if path.exists() and _mark(path) != mark:
        raise RunExists(
            f"{folder} holds a search with another rubric, other data or other settings. Give these again to go on "
            "with it, or choose another folder with --out."
        )


def _mark(path: Path) -> str:
    """What a search's file says that it began with; empty where it was damaged."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["digest"])
    except (ValueError, KeyError, TypeError):
        return ""

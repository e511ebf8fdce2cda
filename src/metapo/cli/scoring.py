"""Judging rollouts for a command: with progress, and as far as the budget in the settings reaches."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metapo.judge.ledger import Ledger
    from metapo.judge.transport import Transport
    from metapo.reward import Scored
    from metapo.rollout import Rollout
    from metapo.rubric import Rubric
    from metapo.scorer import Scorer
    from metapo.settings import Settings
    from metapo.store import Spent

CHUNK = 256  # rollouts between two looks at the budget


@dataclass(frozen=True)
class Judged:
    """The rollouts that were judged, the first ones in order, what that took, and, where the budget left some out, how
    it was reached."""

    scored: "list[Scored]"
    spent: "Spent"
    reached: str = ""


@dataclass(frozen=True)
class Appraised:
    """What came of each rubric that was reached, what that took, who judged, and, where the budget left some out, which
    part of it was reached."""

    scored: "list[list[Scored]]"
    spent: "Spent"
    judge: str
    reached: str = ""


async def judge_rollouts(settings: "Settings", rollouts: "Sequence[Rollout]", cache: Path | None = None) -> Judged:
    """Judge rollouts under the settings' rubric, with the verdicts known in the file `cache`. Raises ChatError where a
    judge is not there, and ChatMisconfigured."""
    from metapo.cli.progress import counting
    from metapo.records import records_of, take_records
    from metapo.settings import BudgetSettings
    from metapo.store import CallRecord, Spent

    async with _scorer(settings, cache) as (scorer, ledger, _):
        chunk = len(rollouts) if settings.budget == BudgetSettings() else CHUNK
        scored: list[Scored] = []
        calls: list[CallRecord] = []
        with counting(len(rollouts)) as tally:
            for start in range(0, len(rollouts), chunk):
                spent = Spent.of(calls)
                if start and (reached := settings.budget.reached(spent.tokens, spent.cost_usd)):
                    took = (
                        f"{start} of {len(rollouts)} rollouts took {spent.tokens} tokens and {spent.cost_usd:.4f} USD"
                    )
                    return Judged(scored, spent, f"{took}, which reaches {reached}")
                scored += await scorer.score(rollouts[start : start + chunk], tally.count)
                calls += [record for s in scored[start:] for record in records_of(s)]
                calls += take_records(ledger)
        return Judged(scored, Spent.of(calls))


async def appraise_rollouts(
    settings: "Settings",
    tasks: "Sequence[tuple[Rubric, Sequence[Rollout]]]",
    cache: Path | str | None = None,
    judge: "Transport | None" = None,
) -> Appraised:
    """Judge rollouts under rubrics of their own, whatever the settings' is: whole, and not watched by the monitor.
    `judge` replaces the transport to the settings' judge. Raises as `judge_rollouts`."""
    from metapo.cli.progress import counting
    from metapo.records import records_of, take_records
    from metapo.store import CallRecord, Spent

    async with _scorer(settings, cache, judge) as (scorer, ledger, name):
        scored: list[list[Scored]] = []
        calls: list[CallRecord] = []
        with counting(sum(len(rollouts) for _, rollouts in tasks), "judgements") as tally:
            for rubric, rollouts in tasks:
                spent = Spent.of(calls)
                if scored and (reached := settings.budget.reached(spent.tokens, spent.cost_usd)):
                    return Appraised(scored, spent, name, reached)
                scored.append(await scorer.appraise(rubric, rollouts))
                calls += [record for s in scored[-1] for record in records_of(s)]
                calls += take_records(ledger)
                for one in scored[-1]:
                    tally.count(one)
        return Appraised(scored, Spent.of(calls), name)


@asynccontextmanager
async def _scorer(
    settings: "Settings", cache: Path | str | None, judge: "Transport | None" = None
) -> AsyncIterator["tuple[Scorer, Ledger, str]"]:
    """A scorer under the settings' rubric, what it notes requests in, and who answers it."""
    from metapo.engines.connect import connect
    from metapo.rubric import Revision
    from metapo.scorer import Scorer
    from metapo.store import KnownAnswers

    revision = Revision(rubric=settings.rubric, reason="given", proposer="person", step=0)
    known = None if cache is None else KnownAnswers(cache)
    connections = connect(settings, judge=judge)
    try:
        # who is not there is found out here, or it would cost every rollout its deadline
        name = (await connections.identify())["judge"]
        yield Scorer(settings, connections, revision, known), connections.ledger, name
    finally:
        if known is not None:
            known.close()
        await connections.aclose()

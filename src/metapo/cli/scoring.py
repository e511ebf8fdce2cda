"""Judging rollouts for a command: with progress, and as far as the budget in the settings reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metapo.reward import Scored
    from metapo.rollout import Rollout
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


async def judge_rollouts(settings: "Settings", rollouts: "Sequence[Rollout]", cache: Path | None = None) -> Judged:
    """Judge rollouts under the settings' rubric, with the verdicts known in the file `cache`. Raises ChatError where a
    judge is not there, and ChatMisconfigured."""
    from metapo.cli.progress import counting
    from metapo.engines.connect import connect
    from metapo.records import records_of, take_records
    from metapo.rubric import Revision
    from metapo.scorer import Scorer
    from metapo.settings import BudgetSettings
    from metapo.store import CallRecord, KnownAnswers, Spent

    revision = Revision(rubric=settings.rubric, reason="given", proposer="person", step=0)
    known = None if cache is None else KnownAnswers(cache)
    connections = connect(settings)
    try:
        await connections.identify()  # or a server that is not there costs every rollout its deadline
        scorer = Scorer(settings, connections, revision, known)
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
                calls += take_records(connections.ledger)
        return Judged(scored, Spent.of(calls))
    finally:
        if known is not None:
            known.close()
        await connections.aclose()

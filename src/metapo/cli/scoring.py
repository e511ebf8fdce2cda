"""Judging rollouts for a command: with progress, and as far as the budget in the settings reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metapo.reward import Scored
    from metapo.rollout import Rollout
    from metapo.settings import Settings

CHUNK = 256  # rollouts between two looks at the budget


@dataclass(frozen=True)
class Judged:
    """The rollouts that were judged, the first ones in order, and, where the budget left some out, what it took to
    reach it."""

    scored: "list[Scored]"
    spent: str = ""


async def judge_rollouts(settings: "Settings", rollouts: "Sequence[Rollout]", cache: Path | None = None) -> Judged:
    """Judge rollouts under the settings' rubric, with the verdicts known in the file `cache`. Raises ChatError where a
    judge is not there, and ChatMisconfigured."""
    from metapo.cli.progress import counting
    from metapo.engines.connect import connect
    from metapo.rubric import Revision
    from metapo.scorer import Scorer
    from metapo.settings import BudgetSettings
    from metapo.store import KnownAnswers

    revision = Revision(rubric=settings.rubric, reason="given", proposer="person", step=0)
    known = None if cache is None else KnownAnswers(cache)
    connections = connect(settings)
    try:
        await connections.identify()  # or a server that is not there costs every rollout its deadline
        scorer = Scorer(settings, connections, revision, known)
        chunk = len(rollouts) if settings.budget == BudgetSettings() else CHUNK
        scored: list[Scored] = []
        with counting(len(rollouts)) as tally:
            for start in range(0, len(rollouts), chunk):
                if spent := _spent(settings, scored, len(rollouts)):
                    return Judged(scored, spent)
                scored += await scorer.score(rollouts[start : start + chunk], tally.count)
        return Judged(scored)
    finally:
        if known is not None:
            known.close()
        await connections.aclose()


def _spent(settings: "Settings", scored: "Sequence[Scored]", n_all: int) -> str:
    """What the rollouts so far took, where that reaches the budget; else empty."""
    from metapo.run import summarize

    if not scored:
        return ""
    figures = summarize(scored)
    tokens = figures["judge/prompt_tokens"] + figures["judge/completion_tokens"]
    usd = figures.get("judge/cost_usd", 0.0)
    allowed = settings.budget.reached(tokens, usd)
    if not allowed:
        return ""
    return f"{len(scored)} of {n_all} rollouts took {tokens:g} tokens and {usd:.4f} USD, which reaches {allowed}"

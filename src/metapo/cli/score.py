"""metapo score"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, read_rollouts
from metapo.cli.judging import judge_options, judge_settings
from metapo.errors import BudgetSpent, RunError, SettingsError

if TYPE_CHECKING:
    from metapo.reward import Scored
    from metapo.rollout import Rollout
    from metapo.settings import Settings

CHUNK = 256  # rollouts between two looks at the budget


@click.command()
@click.option("--rubric", "source", help="A rubric file, a run folder, or RUN@REVISION.")
@click.option("--rollouts", type=FILE, required=True, help="JSON lines with prompt and completion (or response).")
@click.option("--out", type=FILE, required=True, help="JSON lines to write: each row with reward and verdicts.")
@click.option("--cache", type=FILE, help="File of known verdicts (default: beside --out, with .known.db at its end).")
@click.option("--no-cache", is_flag=True, help="Judge everything anew and remember nothing.")
@judge_options
def score(source: str | None, rollouts: Path, out: Path, cache: Path | None, no_cache: bool, **flags: Any) -> None:
    """Judge the rollouts in a file under a rubric. A rollout that could not be judged gets a reward of null.

    Verdicts are kept in the cache as they come: after an interruption, the same command goes on where it stopped.
    """
    from metapo.files import write_whole
    from metapo.run import summarize

    settings = judge_settings(source, flags)
    if no_cache and cache is not None:
        raise SettingsError("give either --cache or --no-cache")
    if no_cache:
        settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cache": False})})
    rows, batch = read_rollouts(rollouts)
    _check_writable(out)
    known = None if no_cache else cache or out.with_name(f"{out.name}.known.db")
    scored, spent = asyncio.run(_score(settings, batch, known))
    lines = [_line(row, s) for row, s in zip(rows, scored, strict=False)]
    lines += [{**row, "reward": None, "raw": None, "verdicts": []} for row in rows[len(scored) :]]
    write_whole(out, "".join(json.dumps(line) + "\n" for line in lines))
    if spent is not None:
        raise spent
    figures = summarize(scored)
    mean = f"mean reward {figures['reward']:.3f}" if "reward" in figures else "no reward"
    cost = f", {figures['judge/cost_usd']:.4f} USD" if "judge/cost_usd" in figures else ""
    reused = f", {figures['judge/reused']:g} verdicts known already" if figures["judge/reused"] else ""
    calls = f"{figures['judge/calls']:g} requests"
    click.echo(f"{len(scored)} rollouts, {mean}, {figures['unscored']:.1%} unscored; {calls}{reused}{cost}")
    click.echo(f"Written to {out}")
    if reasons := _reasons(scored):
        click.echo(f"Unscored verdicts: {reasons}. The same command asks again for these alone.", err=True)
    if figures["unscored"] == 1:
        first = scored[0].assessment.unscored[0]
        raise SettingsError(f"no rollout could be judged. {first.reason.value}: {first.detail}")


async def _score(
    settings: "Settings", batch: "Sequence[Rollout]", cache: Path | None
) -> "tuple[list[Scored], BudgetSpent | None]":
    """The rollouts as far as the budget reaches, and what to say where it didn't reach to the end."""
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
        chunk = len(batch) if settings.budget == BudgetSettings() else CHUNK
        scored: list[Scored] = []
        with counting(len(batch)) as tally:
            for start in range(0, len(batch), chunk):
                if spent := _overspent(settings, scored, len(batch)):
                    return scored, spent
                scored += await scorer.score(batch[start : start + chunk], tally.count)
        return scored, None
    finally:
        if known is not None:
            known.close()
        await connections.aclose()


def _overspent(settings: "Settings", scored: "Sequence[Scored]", n_all: int) -> BudgetSpent | None:
    from metapo.run import summarize

    if not scored:
        return None
    figures = summarize(scored)
    tokens = figures["judge/prompt_tokens"] + figures["judge/completion_tokens"]
    usd = figures.get("judge/cost_usd", 0.0)
    allowed = settings.budget.reached(tokens, usd)
    if not allowed:
        return None
    again = "The same command goes on with them, with as much to spend again." if settings.judging.cache else ""
    return BudgetSpent(
        f"{len(scored)} of {n_all} rollouts took {tokens:g} tokens and {usd:.4f} USD, which reaches {allowed}. They "
        f"are written; the others have a reward of null. {again}"
    )


def _line(row: dict[str, Any], scored: "Scored") -> dict[str, Any]:
    line = {
        **row,
        "reward": scored.reward.value,
        "raw": scored.reward.raw,
        "verdicts": [o.model_dump(mode="json", exclude_defaults=True) for o in scored.assessment.outcomes],
    }
    if scored.assessment.opinions:
        line["opinions"] = {
            o.judge: [outcome.model_dump(mode="json", exclude_defaults=True) for outcome in o.outcomes]
            for o in scored.assessment.opinions
        }
    if scored.monitored:
        line["monitor"] = scored.monitored.reward.normalized
    return line


def _reasons(scored: "Sequence[Scored]") -> str:
    counts = Counter(u.reason.value for s in scored for u in s.assessment.unscored)
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common())


def _check_writable(out: Path) -> None:
    """Before anything is paid for. Raises RunError."""
    folder = next(p for p in out.absolute().parents if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK) or out.is_dir():
        raise RunError(f"can't write {out}: {folder} takes no new file. Choose another with --out.")

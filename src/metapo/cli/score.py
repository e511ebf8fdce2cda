"""metapo score"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, NumberRange, read_rollouts
from metapo.cli.judging import judge_options, judge_settings
from metapo.cli.scoring import judge_rollouts
from metapo.errors import BudgetSpent, JudgeFailureLimit, MetapoError, RunError, SettingsError

if TYPE_CHECKING:
    from metapo.cli.scoring import Judged
    from metapo.reward import Scored


@click.command()
@click.option(
    "--rubric", "source", help="A shipped rubric, such as essay/expert, a file, a run folder, or RUN@REVISION."
)
@click.option("--rollouts", type=FILE, required=True, help="JSON lines with prompt and completion (or response).")
@click.option("--out", type=FILE, required=True, help="JSON lines to write: each row with reward and verdicts.")
@click.option("--cache", type=FILE, help="File of known verdicts (default: beside --out, with .known.db at its end).")
@click.option("--no-cache", is_flag=True, help="Judge everything anew and remember nothing.")
@click.option(
    "--max-unscored",
    type=NumberRange(0, 1),
    help="The share of rollouts that may stay without a reward (default: as the settings say, or 0.1).",
)
@judge_options
def score(
    source: str | None,
    rollouts: Path,
    out: Path,
    cache: Path | None,
    no_cache: bool,
    max_unscored: float | None,
    **flags: Any,
) -> None:
    """Judge the rollouts in a file under a rubric. A rollout that could not be judged gets a reward of null; when there
    are too many of them, the file is written all the same and the exit code is 1.

    The judge scores every rollout: what a task's screen would score in training is judged here as well.

    Verdicts are kept in the cache as they come: after an interruption, the same command goes on where it stopped.
    """
    from metapo.files import write_whole

    settings = judge_settings(source, flags)
    if no_cache and cache is not None:
        raise SettingsError("give either --cache or --no-cache")
    if no_cache:
        settings = settings.model_copy(update={"judging": settings.judging.model_copy(update={"cache": False})})
    rows, batch = read_rollouts(rollouts)
    _check_writable(out)
    known = None if no_cache else cache or out.with_name(f"{out.name}.known.db")
    judged = asyncio.run(judge_rollouts(settings, batch, known))
    scored = judged.scored
    lines = [_line(row, s) for row, s in zip(rows, scored, strict=False)]
    lines += [{**row, "reward": None, "raw": None, "verdicts": []} for row in rows[len(scored) :]]
    write_whole(out, "".join(json.dumps(line) + "\n" for line in lines))
    if judged.reached:
        again = " The same command goes on with them, with as much to spend again." if settings.judging.cache else ""
        raise BudgetSpent(f"{judged.reached}. They are written; the others have a reward of null.{again}")
    _show(judged)
    click.echo(f"Written to {out}")
    if reasons := _reasons(scored):
        again = " The same command asks again for these alone." if settings.judging.cache else ""
        click.echo(f"Unscored verdicts: {reasons}.{again}", err=True)
    if failure := _failure(scored, settings.max_unscored if max_unscored is None else max_unscored):
        raise failure


def _show(judged: "Judged") -> None:
    from metapo.figures import summarize

    figures = summarize(judged.scored)
    mean = f"mean reward {figures['reward']:.3f}" if "reward" in figures else "no reward"
    reused = f"{figures['judge/reused']:g} verdicts known already, " if figures["judge/reused"] else ""
    unscored = f"{figures['unscored']:.1%} unscored"
    click.echo(f"{len(judged.scored)} rollouts, {mean}, {unscored}; {reused}{judged.spent}")


def _failure(scored: "Sequence[Scored]", max_unscored: float) -> MetapoError | None:
    """Why the rewards are not fit for use, if so."""
    failed = [s for s in scored if s.reward.value is None]
    if len(failed) == len(scored):
        first = scored[0].assessment.unscored[0]
        return SettingsError(f"no rollout could be judged. {first.reason.value}: {first.detail}")
    if len(failed) / len(scored) <= max_unscored:
        return None
    return JudgeFailureLimit(
        f"{len(failed)} of {len(scored)} rollouts have no reward, more than max_unscored = {max_unscored:g} allows. "
        "All are written. Mend the judge and give the same command again, or allow more with --max-unscored."
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

"""metapo audit"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, load_rubric, open_store, read_rollouts
from metapo.cli.judging import judge_options, judge_settings
from metapo.cli.scoring import judge_rollouts
from metapo.errors import BudgetSpent, DataError

if TYPE_CHECKING:
    from metapo.audit.attacking import AttackReport
    from metapo.cli.scoring import Judged
    from metapo.settings import Settings

N_SHOWN = 10


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "out", type=FILE, help="Write the report here as JSON.")
@click.option(
    "--rubric",
    "rubric_source",
    help="A shipped rubric, such as essay/expert, a file, a run folder, or RUN@REVISION: finds parroting of it.",
)
@click.option(
    "--min-words", type=click.IntRange(min=1), default=100, show_default=True, help="Fewest words of a long text."
)
@click.option(
    "--bases",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Responses that are attacked, with a judge.",
)
@judge_options
def audit(source: Path, out: Path | None, rubric_source: str | None, min_words: int, bases: int, **flags: Any) -> None:
    """Look for hacked and broken responses in SOURCE: JSON lines with prompt and response, texts or
    lists of chat messages, or a run folder.

    The detectors need no model. With a judge, an attack set is run against it as well: responses written to score high
    while being bad, and which of them raised the score, by how much, on which criteria.
    """
    from metapo.audit.static import audit_rows
    from metapo.files import write_whole

    wants_judge = bool(flags["urls"] or flags["local"] or flags["file"])
    settings = judge_settings(rubric_source, flags) if wants_judge else None
    rubric = settings.rubric if settings else load_rubric(rubric_source) if rubric_source else None
    rows = _rows(source)
    report = audit_rows(rows, rubric=rubric, min_words=min_words)
    click.echo(f"{report.n} responses, {report.flagged} flagged ({report.flagged / max(report.n, 1):.2%})")
    for detector, count in report.detectors.items():
        click.echo(f"  {detector.value:<20} {count}")
    data = report.model_dump(mode="json")
    reached = ""
    if settings is not None:
        attacked, judged = _attack(settings, rows[:bases])
        reached = judged.reached
        _show(attacked)
        click.echo(f"It took {judged.spent}")
        data["attacks"] = attacked.model_dump(mode="json")
    if out is not None:
        write_whole(out, json.dumps(data, indent=1))
        click.echo(f"Written to {out}")
    if reached:
        raise BudgetSpent(f"{reached}. The other attacks were not tried: raise the budget in the settings to try them.")


def _rows(source: Path) -> list[dict[str, str]]:
    """Prompt and response of each row of a file, or of each live training rollout of a run."""
    if source.is_file():
        rollouts = read_rollouts(source)[1]
    else:
        store = open_store(source)
        try:
            rollouts = [record.rollout for record in store.rollouts()]
        finally:
            store.close()
    if not rollouts:
        raise DataError(f"{source} holds no responses")
    return [{"prompt": rollout.prompt, "response": rollout.spoken} for rollout in rollouts]


def _attack(settings: "Settings", rows: Sequence[dict[str, str]]) -> "tuple[AttackReport, Judged]":
    """What the attacks on these rows did, and all that was judged for it."""
    from metapo.audit.attacking import attack_set, report_attacks, weaken
    from metapo.rollout import Rollout, completion_text

    weak = [completion_text(weaken(row["response"])) for row in rows]
    bases = [Rollout(prompt=r["prompt"], completion=weak[i], position=i) for i, r in enumerate(rows)]
    judged = asyncio.run(judge_rollouts(settings, attack_set(settings.rubric, bases)))
    return report_attacks(settings.rubric, len(bases), judged.scored), judged


def _show(report: "AttackReport") -> None:
    untried = f", {report.untried} were not tried" if report.untried else ""
    click.echo(
        f"{report.n} attacks, {report.raised} raised the score, {report.unscored} left it without a verdict{untried}"
    )
    for family, part in report.families.items():
        how_far = "" if part.mean_rise is None else f"mean {part.mean_rise:+.2f}, at most {part.max_rise:+.2f}"
        click.echo(f"  {family.value:<20} {part.raised:>3} of {part.n:<3} raised  {how_far}")
    for criterion_id, rise in sorted(report.criteria.items(), key=lambda item: -item[1]):
        click.echo(f"  criterion {criterion_id:<30} mean {rise:+.2f} of its range")
    raised = sorted((r for r in report.results if r.is_raised), key=lambda r: -(r.rise or 0.0))
    for result in raised[:N_SHOWN]:
        click.echo(f"  {result.attack:<34} {result.before:.2f} -> {result.after:.2f}")

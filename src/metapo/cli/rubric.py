"""metapo rubric"""

from pathlib import Path

import click

from metapo.cli.common import PLACE, RUBRIC, counted, load_rubric, open_store


@click.group()
def rubric() -> None:
    """Read rubrics and lineages. SOURCE is a shipped rubric, such as essay/expert, a .yaml or .json file, a text in
    the form that models write, a run (its newest revision), or RUN@REVISION with the first digits of an id. RUN is a
    run folder, or the URL of the database that holds the run's store."""


@rubric.command()
@click.argument("source", type=RUBRIC)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "yaml"]),
    default="text",
    show_default=True,
    help="The judge's text form, or YAML.",
)
def show(source: str, form: str) -> None:
    """Print a rubric."""
    from metapo.rubric_text import render_rubric

    found = load_rubric(source)
    click.echo(render_rubric(found) if form == "text" else found.to_yaml().rstrip())
    scale = f"{found.min_points:g} to {found.max_points:g} points"
    click.echo(f"# {counted(len(found.criteria), 'criterion', 'criteria')}, {scale}, digest {found.digest[:10]}")


@rubric.command()
@click.argument("before", type=RUBRIC)
@click.argument("after", type=RUBRIC)
def diff(before: str, after: str) -> None:
    """Print what changed between two rubrics, criterion by criterion."""
    from metapo.rubric_diff import Change, diff_rubrics

    old, new = load_rubric(before), load_rubric(after)
    changed = [d for d in diff_rubrics(old, new) if d.changed]
    words = {Change.ADDED: "added", Change.REMOVED: "removed", Change.SAME: "changed"}
    for part in changed:
        click.echo(f"{part.criterion_id}: {words[part.change]}")
        for line in part.lines:
            click.secho(f"  {line.change.value} {line.text}", fg={"+": "green", "-": "red"}.get(line.change.value))
    if not changed:
        click.echo("no difference" if old == new else "the same criteria in another order")


@rubric.command()
@click.argument("source", type=RUBRIC)
def lint(source: str) -> None:
    """Check a rubric: errors end with exit code 1, advice does not."""
    from metapo.rubric_lint import lint as findings_of

    findings = findings_of(load_rubric(source))
    for finding in findings:
        click.echo(f"advice: {finding}")
    advice = counted(len(findings), "piece of advice", "pieces of advice")
    click.echo(f"valid, {advice}" if findings else "valid, nothing to advise")


@rubric.command()
@click.argument("run", type=PLACE)
def log(run: Path | str) -> None:
    """Print a run's lineage and its meta steps with the proposals that the gate refused, after checking that the hash
    chain holds. Where prompts have clusters, each is named."""
    from metapo.history import history

    store = open_store(run)
    try:
        n_revisions = store.verify()
        for step, text in history(store):
            click.echo(f"step {step:>5}  {text}")
        click.echo(f"{counted(n_revisions, 'revision')}, the chain holds")
    finally:
        store.close()

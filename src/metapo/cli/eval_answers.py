"""metapo eval equal, accuracy, rouge, agreement: what a file of answers, summaries or scores comes to."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, counted
from metapo.errors import DataError

if TYPE_CHECKING:
    from metapo.evals.agreement import Agreement, Drift
    from metapo.intervals import Interval

SOURCE = click.argument("source", metavar="FILE", type=FILE)
OUT = click.option("--json", "out", type=FILE, help="Write the result here as JSON, row by row where rows have one.")


@click.command()
@SOURCE
@OUT
def equal(source: Path, out: Path | None) -> None:
    """Say whether mathematical answers are equal. FILE has texts predicted and reference in each row.

    A text with a \\boxed{...} stands for what the last of them holds. What can't be compared in bounded time is not
    equal, and the reason says so.
    """
    from metapo.evals.equality import compare_rows

    found = compare_rows(source, _rows(source))
    n_equal = sum(e.equal for e in found)
    click.echo(f"{counted(len(found), 'pair')}, {n_equal} equal ({n_equal / len(found):.2%})")
    for reason, n in Counter(e.why.value for e in found).most_common():
        click.echo(f"  {reason:<12} {n}")
    _write(out, {"rows": [{"equal": e.equal, "reason": e.why.value} for e in found]})


@click.command()
@SOURCE
@click.option(
    "--kind",
    type=click.Choice(["verdict", "math"]),
    default="verdict",
    show_default=True,
    help="What a completion ends in: <verdict>RIGHT</verdict>, or a \\boxed{...} answer.",
)
@click.option("--label", help="The column to compare with (default: label, or reference for --kind math).")
@click.option("--labels", default="RIGHT,WRONG", show_default=True, help="The labels there are, with commas.")
@OUT
def accuracy(source: Path, kind: str, label: str | None, labels: str, out: Path | None) -> None:
    """Count the completions that come to the right verdict or answer. FILE has a completion (or response) and a label
    in each row; for --kind math, a reference: a solution or its answer. Rows with the same prompt are drawn together
    for the intervals.

    The last <verdict> counts. A completion without a verdict is wrong in the first figure, which is the MPO paper's,
    and left out of the second.
    """
    from metapo.evals.accuracy import mark_answers, mark_verdicts, report_accuracy

    rows = _rows(source)
    if kind == "math":
        marked = mark_answers(source, rows, label or "reference")
    else:
        names = tuple(name.strip() for name in labels.split(",") if name.strip())
        marked = mark_verdicts(source, rows, label or "label", names)
    report = report_accuracy(marked, _prompts(source, rows))
    counts = ", ".join(f"{n} {mark.value}" for mark, n in report.marks.items())
    click.echo(f"{counted(report.n, 'completion')}: {counts}")
    for words, share in (("accuracy", report.accuracy), ("of verdicts", report.accuracy_of_verdicts)):
        click.echo(f"  {words:<12} {_percent(share.value)}{_interval(share.interval, 100)}")
    if report.uncompared:
        reasons = ", ".join(f"{n} {why}" for why, n in report.uncompared.items())
        click.echo(f"  wrong because not compared: {reasons}")
    for name, marks in report.by_label.items():
        click.echo(f"  {name:<12} " + ", ".join(f"{n} {mark.value}" for mark, n in marks.items()))
    _write(out, asdict(report))


@click.command()
@SOURCE
@click.option("--stem", is_flag=True, help="Take words by their stems (Porter's), as some papers do.")
@OUT
def rouge(source: Path, stem: bool, out: Path | None) -> None:
    """ROUGE-1, -2, -L and -Lsum (F, 0 to 100) of summaries, with bootstrap intervals. FILE has texts predicted (or
    completion) and reference in each row; for Lsum, each line of a text is a sentence."""
    from metapo.evals.rouge import rouge_rows

    report = rouge_rows(source, _rows(source), stem=stem)
    click.echo(counted(report.n, "summary", "summaries"))
    for kind, mean in report.means.items():
        rest = f"precision {mean.precision:.2f}, recall {mean.recall:.2f}"
        click.echo(f"  {kind:<10} {mean.f:6.2f}{_interval(mean.interval)}  {rest}")
    _write(out, asdict(report))


@click.command()
@SOURCE
@click.option("--score", default="score", show_default=True, help="The column with the judge's score.")
@click.option("--label", default="label", show_default=True, help="The column with the label, a number.")
@OUT
def agreement(source: Path, score: str, label: str, out: Path | None) -> None:
    """Compare a judge's scores with labels, and revisions with each other. FILE has in each row a prompt, a score (null
    for unscored), and as far as they go: a label, a revision, and a rollout or completion, which tells what several
    revisions scored.

    Agreement: pairs of one prompt in the right order, Spearman's correlation, Krippendorff's alpha (where labels and
    scores share a scale), and a confusion matrix where there are few of both. Drift: by how much a later revision, in
    the order of the file, scores the same rollouts higher or lower.
    """
    from metapo.evals.agreement import read_scorings, report_agreement

    report = report_agreement(source, read_scorings(source, _rows(source), score, label))
    for revision, found in report.agreement.items():
        _show_agreement(revision, found)
    for step in report.drift:
        _show_drift(step)
    _write(out, asdict(report))


ANSWERS = (equal, accuracy, rouge, agreement)


def _show_agreement(revision: str, found: "Agreement") -> None:
    of = f"revision {revision}: " if revision else ""
    unscored = f", {found.n_unscored} unscored" if found.n_unscored else ""
    click.echo(f"{of}{counted(found.n, 'rollout')} with label and score{unscored}")
    pairs = found.pairwise
    right = f"{_percent(pairs.value)}{_interval(pairs.interval, 100)}"
    click.echo(f"  in the right order  {right} of {counted(pairs.n_pairs, 'pair')}, {pairs.tied} tied")
    click.echo(f"  Spearman            {_figure(found.spearman)}")
    click.echo(
        f"  alpha               {_figure(found.alpha_ordinal)} ordinal, {_figure(found.alpha_interval)} interval"
    )
    if found.confusion is not None:
        click.echo("  each label (row) with each score (column):")
        click.echo(" " * 12 + "".join(f"{name:>7}" for name in next(iter(found.confusion.values()))))
        for name, counts in found.confusion.items():
            click.echo(f"  {name:>10}" + "".join(f"{n:>7}" for n in counts.values()))


def _show_drift(step: "Drift") -> None:
    names = f"{step.earlier or 'no name'} -> {step.later or 'no name'}"
    if step.difference is None:
        click.echo(f"{names}: no rollout was scored under both")
        return
    counts = f"{step.lower} lower, {step.equal} equal, {step.higher} higher"
    counts += f", {step.n_apart} scored under one only" if step.n_apart else ""
    click.echo(f"{names}: {step.difference:+.3f}{_interval(step.interval, digits=3)}, {counts}: {step.word.value}")


def _rows(source: Path) -> list[dict[str, Any]]:
    from metapo.tasks.reading import read_jsonl

    rows = read_jsonl(source)
    if not rows:
        raise DataError(f"{source} holds no rows")
    return rows


def _prompts(source: Path, rows: Sequence[dict[str, Any]]) -> list[str] | None:
    """The rows' prompts; None where no row has one. Raises DataError where some have none: which rows belong together
    would be unknown."""
    prompts = [row.get("prompt") for row in rows]
    if not any(prompts):
        return None
    if bare := next((number for number, prompt in enumerate(prompts, 1) if not prompt), None):
        raise DataError(f"{source}, row {bare}: no 'prompt', as other rows have. Give each row one, or none.")
    return [json.dumps(prompt) for prompt in prompts]


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def _interval(interval: "Interval | None", times: float = 1, digits: int = 2) -> str:
    return "" if interval is None else f" [{times * interval.low:.{digits}f}, {times * interval.high:.{digits}f}]"


def _write(out: Path | None, result: dict[str, Any]) -> None:
    from metapo.files import write_whole

    if out is not None:
        write_whole(out, json.dumps(result, indent=1))
        click.echo(f"Written to {out}")

"""metapo track"""

from contextlib import closing
from pathlib import Path

import click

from metapo.cli.common import FOLDER, PLACE, NumberRange, counted

TO = ("tensorboard", "wandb", "trackio")


@click.command()
@click.argument("run", type=PLACE)
@click.option("--to", type=click.Choice(TO), required=True, help="Where the figures go.")
@click.option("--out", type=FOLDER, help="TensorBoard: folder for its files (default: RUN/tensorboard).")
@click.option("--project", default="metapo", show_default=True, help="wandb, trackio: the project.")
@click.option("--name", help="wandb, trackio: the run's name there (default: its folder's).")
@click.option("--follow", is_flag=True, help="Go on while the run writes, until it has its policy.")
@click.option(
    "--every",
    type=NumberRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="With --follow, seconds between two looks.",
)
def track(
    run: Path | str, to: str, out: Path | None, project: str, name: str | None, follow: bool, every: float
) -> None:
    """Send the metrics of RUN, a run folder or the URL of a store, to TensorBoard, Weights & Biases or trackio.

    For runs whose engine doesn't: TRL's trainers report themselves where engine.trainer.report_to says so.
    """
    from metapo import tracking

    if follow and not isinstance(run, Path):
        raise click.UsageError("--follow takes a run folder")
    if to == "tensorboard" and out is None and not isinstance(run, Path):
        raise click.UsageError("give --out FOLDER: a URL is no place for TensorBoard's files")
    rows = tracking.rows_of(run)  # a run that isn't there opens nothing elsewhere
    name = name or (run.absolute().name if isinstance(run, Path) else "served")
    if to == "tensorboard":
        folder = out or Path(run) / "tensorboard"
        tracker = tracking.tensorboard(folder)
    else:
        tracker = {"wandb": tracking.wandb, "trackio": tracking.trackio}[to](project, name)
    with closing(tracker):
        if follow and isinstance(run, Path):
            n = tracking.follow(run, tracker, every)
        else:
            n = tracking.send(rows, tracker, set())
    click.echo(
        f"{counted(n, 'row')} sent to {folder if to == 'tensorboard' else f'{to}, project {project}, run {name}'}"
    )

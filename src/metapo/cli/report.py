"""metapo report"""

from datetime import UTC, datetime
from pathlib import Path

import click

from metapo.cli.common import PLACE
from metapo.files import write_whole


@click.command()
@click.argument("runs", metavar="RUN...", type=PLACE, nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write.",
)
@click.option(
    "--rollouts",
    type=click.IntRange(0, 20_000),
    default=400,
    show_default=True,
    help="How many rollouts of each run it holds: those that meta steps read, and some of evenly spaced steps.",
)
def report(runs: tuple[Path | str, ...], out: Path, rollouts: int) -> None:
    """Write what `metapo ui` shows as one HTML file that opens without server and network.

    RUN is the folder of a run, a folder that holds runs, or the URL of a store.
    """
    from metapo.viewing.report import write
    from metapo.viewing.runs import close, open_runs

    found = open_runs(runs)
    try:
        write_whole(out, write(found, rollouts, datetime.now(UTC)))
    finally:
        close(found)
    size_mb = out.stat().st_size / 1e6
    click.echo(f"{len(found)} {'run' if len(found) == 1 else 'runs'} in {out} ({size_mb:.1f} MB)")

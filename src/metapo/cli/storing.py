"""metapo export and metapo prune"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metapo.cli.common import FOLDER, PLACE, counted, open_store

if TYPE_CHECKING:
    from metapo.store import Store


@click.command()
@click.argument("run", type=PLACE)
@click.option("--out", type=FOLDER, required=True, help="A new folder for the files.")
def export(run: Path | str, out: Path) -> None:
    """Write what RUN has on record as Parquet files, one for each table and each question that people ask. RUN is a run
    folder, or the URL of a PostgreSQL database that holds a store.

    A run that goes on may be exported: the files hold one state of its store. Rows that count have a column `live` that
    says so. Needs the extra `export`.
    """
    from metapo.store.export import export as write

    with closing(open_store(run)) as store:
        for name, n_rows in write(store, out).items():
            click.echo(f"{out / f'{name}.parquet'}: {counted(n_rows, 'row')}")


@click.command()
@click.argument("run", type=PLACE)
@click.option(
    "--keep-steps", type=click.IntRange(min=0), required=True, help="How many of the newest steps keep everything."
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
def prune(run: Path | str, keep_steps: int, dry_run: bool) -> None:
    """Remove from the store of RUN, a run folder or the URL of a PostgreSQL database, what hardly anybody asks for once
    a step is old: the calls to judges word for word, answers kept so that they are not paid for twice, and what was
    superseded when the run was resumed.

    Rubrics and their lineage, rollouts, verdicts, meta steps with all that the gate found, anchors, acts and what
    everything cost stay. What was removed goes on record. A run in a folder must be stopped for it, and so must
    its reward servers, which nothing checks; a store on a database server need not be left alone.
    """
    with _held(run), closing(open_store(run)) as store:
        before = _size(store)
        found = store.prune(keep_steps, datetime.now(UTC), dry_run=dry_run)
        for table, n_rows in found.items():
            click.echo(f"{table}: {counted(n_rows, 'row')} {'would go' if dry_run else 'removed'}")
        if not dry_run and any(found.values()):
            store.shrink()
            if store.path is not None:
                click.echo(f"{store.path}: {before / 1e6:.1f} MB before, {_size(store) / 1e6:.1f} MB now")


@contextmanager
def _held(run: Path | str) -> Iterator[None]:
    """A run folder that nobody else uses meanwhile."""
    from metapo.files import hold
    from metapo.run import LOCK

    lock = hold(run / LOCK, f"the run folder {run}") if isinstance(run, Path) and run.is_dir() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _size(store: "Store") -> int:
    return store.path.stat().st_size if store.path is not None else 0

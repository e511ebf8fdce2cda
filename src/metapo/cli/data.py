"""metapo data"""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, SEED, counted
from metapo.errors import DataError, SettingsError

if TYPE_CHECKING:
    from metapo.tasks.clusters import Clustered

COLUMN = "cluster"
N_CLUSTERS = 3
Rows = list[dict[str, Any]]


@click.group()
def data() -> None:
    """Prepare files of prompts."""


@data.command()
@click.argument("source", metavar="PROMPTS")
@click.option("--out", type=FILE, required=True, help="JSON lines to write: each row with its cluster.")
@click.option("--split", default="train", show_default=True, help="The split of a dataset on the hub.")
@click.option("--text-column", default="prompt", show_default=True, help="The column with the texts to compare.")
@click.option(
    "--group-column", help="A column of texts: only rows with the same one share a cluster (default: all may)."
)
@click.option("--clusters", type=click.IntRange(min=1), help=f"Clusters per group (default: {N_CLUSTERS}).")
@click.option("--seed", type=SEED, help="Where K-means begins (default: 0).")
@click.option(
    "--like", type=FILE, help="JSON lines that are clustered already: put each row into the nearest of theirs."
)
@click.option("--model", help="Compare by this model of sentence-transformers (default: by runs of letters).")
def cluster(
    source: str,
    out: Path,
    split: str,
    text_column: str,
    group_column: str | None,
    clusters: int | None,
    seed: int | None,
    like: Path | None,
    model: str | None,
) -> None:
    """Put PROMPTS that are alike into clusters, each of which may have a rubric of its own: name the new column
    "cluster" as data.cluster_column. PROMPTS is a .jsonl or .parquet file, or a dataset folder or hub id.

    Within each group, K-means over embeddings; a group of fewer different texts than clusters has one for each. Rows
    that training doesn't see, such as those for evaluation, belong into the clusters of those it does: --like.
    """
    from metapo.files import write_whole
    from metapo.tasks.clusters import assign_texts, by_letters, by_model, cluster_texts

    if like is not None and (clusters is not None or seed is not None):
        raise SettingsError("with --like the clusters are those of that file: leave out --clusters and --seed")
    rows = _rows(source, split)
    texts, groups = _texts_and_groups(source, rows, text_column, group_column)
    known = None if like is None else _known(like, text_column, group_column)
    embed = by_letters if model is None else by_model(model)
    if known is None:
        names = cluster_texts(texts, groups, N_CLUSTERS if clusters is None else clusters, seed or 0, embed)
    else:
        names = assign_texts(texts, groups, known, embed)
    _show(names, groups)
    lines = [json.dumps({**row, COLUMN: name}, default=str) + "\n" for row, name in zip(rows, names, strict=True)]
    write_whole(out, "".join(lines))
    click.echo(f"Written to {out}")


def _rows(source: str, split: str) -> Rows:
    """Rows that have no cluster yet. Raises DataError."""
    from metapo.tasks.reading import read_source

    rows = [dict(row) for row in read_source(source, split)]
    if not rows:
        raise DataError(f"{source} holds no rows")
    for number, row in enumerate(rows, 1):
        if COLUMN in row:
            raise DataError(f"{source}, row {number}: there is a column {COLUMN!r} already; rename or remove it")
    return rows


def _texts_and_groups(
    source: str | Path, rows: Rows, text_column: str, group_column: str | None
) -> tuple[list[str], list[str]]:
    """Raises DataError for what is no text, or blank."""
    texts = [_filled(source, n, row, text_column) for n, row in enumerate(rows, 1)]
    groups = ["" if group_column is None else _filled(source, n, row, group_column) for n, row in enumerate(rows, 1)]
    return texts, groups


def _known(like: Path, text_column: str, group_column: str | None) -> "list[Clustered]":
    """What a clustered file knows. Raises DataError."""
    from metapo.tasks.clusters import Clustered
    from metapo.tasks.reading import read_jsonl

    rows = read_jsonl(like)
    texts, groups = _texts_and_groups(like, rows, text_column, group_column)
    names = [_filled(like, n, row, COLUMN) for n, row in enumerate(rows, 1)]
    return [Clustered(*item) for item in zip(texts, groups, names, strict=True)]


def _filled(source: str | Path, number: int, row: dict[str, Any], column: str) -> str:
    from metapo.evals.columns import text

    value = text(source, number, row, column)
    if not value.strip():
        raise DataError(
            f"{source}, row {number}: {column!r} is blank; it needs at least one letter. Leave the row out."
        )
    return value


def _show(names: list[str], groups: list[str]) -> None:
    sizes = Counter(names)
    in_groups = f" in {counted(len(set(groups)), 'group')}" if any(groups) else ""
    click.echo(f"{counted(len(names), 'text')}{in_groups}, {counted(len(sizes), 'cluster')}")
    width = max(map(len, sizes))
    for name in sorted(sizes, key=_natural):
        click.echo(f"  {name:<{width}}  {sizes[name]:>6}")


def _natural(name: str) -> tuple[str, int, str]:
    """algebra/2 before algebra/10"""
    group, _, number = name.rpartition("/")
    return group, int(number) if number.isdecimal() else -1, number

"""A store as Parquet files, one for each table and each question that people ask."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from metapo.errors import MissingExtra, StoreError
from metapo.files import whole_folder
from metapo.store import schema as t
from metapo.store.database import Database
from metapo.store.views import SUPERSEDED, VIEWS, live

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 2000
"""How many rows are in memory at once."""


def export(store: Database, folder: Path) -> dict[str, int]:
    """Write NAME.parquet for each table and view into a new folder, all of them as the store is at this moment; returns
    the number of rows by name. Where rows can be superseded, a column `live` says which count.

    Raises StoreError, MissingExtra.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as e:
        raise MissingExtra("export", "an export to Parquet") from e
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} isn't empty: choose another folder for the export")
    try:
        with whole_folder(folder) as draft, store.snapshot() as db:
            return {name: _write(db, query, draft / f"{name}.parquet") for name, query in queries().items()}
    except OSError as e:
        raise StoreError(f"can't write {folder}: {e.strerror or e}. Free some space, or choose another folder.") from e


def queries() -> dict[str, sa.Select[Any]]:
    """What is written, by name. Known answers are left out: they are copies of replies, by keys that nobody reads."""
    tables = {table.name: _facts(table) for table in t.metadata.sorted_tables if table is not t.known_answer}
    return tables | {view.name: sa.select(view) for view in VIEWS}


def _facts(table: sa.Table) -> sa.Select[Any]:
    """A table's rows; with `live` where some can be superseded."""
    if table not in SUPERSEDED:
        return sa.select(table).order_by(*table.primary_key)
    counts = live(table)
    same = sa.and_(*(table.c[column.name] == counts.c[column.name] for column in table.primary_key))
    is_live = counts.c[next(iter(table.primary_key)).name].is_not(None)
    return (
        sa.select(table, is_live.label("live")).select_from(table.outerjoin(counts, same)).order_by(*table.primary_key)
    )


def _write(db: sa.Connection, query: sa.Select[Any], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(c.name, _kind(c.type)) for c in query.selected_columns])
    n_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in db.execute(query, execution_options={"yield_per": BATCH}).partitions():
            writer.write_batch(_batch(rows, schema))
            n_rows += len(rows)
    return n_rows


def _batch(rows: Sequence[Any], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    makes = {pa.int64(): int, pa.float64(): float, pa.bool_(): bool, pa.string(): str}
    columns = [
        pa.array([None if value is None else makes[field.type](value) for value in column], field.type)
        for field, column in zip(schema, zip(*rows, strict=True), strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def _kind(kind: sa.types.TypeEngine[Any]) -> "pa.DataType":
    import pyarrow as pa

    if isinstance(kind, sa.Boolean):
        return pa.bool_()
    if isinstance(kind, sa.Integer):
        return pa.int64()
    return pa.float64() if isinstance(kind, sa.Float) else pa.string()

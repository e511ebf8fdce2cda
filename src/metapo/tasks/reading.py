"""Rows as they lie in a file or dataset."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metapo.errors import DataError, MissingExtra


def column(row: Mapping[str, Any], *names: str) -> Any:
    """What stands in the first of these columns that the row has. Raises DataError that says which it has."""
    for name in names:
        if name in row:
            return row[name]
    wanted = " or ".join(map(repr, names))
    raise DataError(f"no column {wanted}; it has {', '.join(map(repr, row)) or 'none'}")


def read_source(source: str, hub_split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of a .jsonl or .parquet file, a dataset folder or a split of a dataset on the hub, as they are. Raises
    DataError, MissingExtra."""
    path = Path(source)
    if path.suffix in (".jsonl", ".json"):
        return read_jsonl(path)
    if path.suffix == ".parquet" and not path.is_file():
        raise DataError(f"there is no file {path}. Its path is seen from {Path.cwd()}.")
    return _read_dataset(source, hub_split)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object per line, empty lines left out. Raises DataError that names the line."""
    return [row for _, row in numbered_jsonl(path)]


def numbered_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """One object per line with the line's number (from 1), empty lines left out. Raises DataError that names the
    line."""
    try:
        # not splitlines(): a JSON string may hold U+2028 and its like as they are
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as e:
        hint = f"Give a file of JSON lines; its path is seen from {Path.cwd()}."
        raise DataError(f"can't read {path}: {e.strerror}. {hint}") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 text: {e.reason} at byte {e.start}") from e
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            why = e.msg if isinstance(e, json.JSONDecodeError) else e
            is_cut = number == len(lines)  # the last line lacks its end
            advice = ". The file ends in this line: it was cut while it was written; write it anew" if is_cut else ""
            raise DataError(f"{path}, line {number}: not JSON ({why}): {line[:80]!r}{advice}") from e
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected an object with columns; got {line[:80]!r}")
        rows.append((number, row))
    return rows


def _read_dataset(source: str, hub_split: str) -> Iterable[Mapping[str, Any]]:
    try:
        from datasets import Dataset, load_dataset, load_from_disk
        from datasets.exceptions import DatasetGenerationError
    except ImportError as e:
        raise MissingExtra("trl", f"reading {source}") from e
    path = Path(source)
    try:
        if path.suffix == ".parquet":
            return Dataset.from_parquet(source)  # type: ignore[no-any-return]
        if (path / "dataset_info.json").exists():
            return load_from_disk(source)  # type: ignore[no-any-return]
        return load_dataset(source, split=hub_split)  # type: ignore[no-any-return]
    # IndexError is what an empty table on disk ends in; a damaged file hides its reason in the cause
    except (OSError, ValueError, IndexError, DatasetGenerationError) as e:
        why = str(e.__cause__ if isinstance(e, DatasetGenerationError) else e).rstrip(".")
        raise DataError(
            f"can't load {source!r}: {why}. Give a .jsonl or .parquet file, a folder written by datasets, or a hub id."
        ) from e

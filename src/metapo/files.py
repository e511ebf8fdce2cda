"""Files written whole or not at all, and by one process at a time."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from metapo.errors import RunError, RunInUse


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, also after a crash. Raises RunError."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as e:
        raise RunError(
            f"can't write {path}: {e.strerror or e}. Free some space or fix the permissions, then try again."
        ) from e


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of `folder` at the end; after an error or a crash the old one stands."""
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def hold(lock: Path, what: str) -> filelock.BaseFileLock:
    """Keep other processes that ask for the same lock file out until it is released. Its folder is made; `what` names
    what it guards. Raises RunInUse, RunError."""
    held = filelock.FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=0)
    except filelock.Timeout as e:
        raise RunInUse(f"another process is using {what}. Wait for it to end, or choose another with --out.") from e
    except OSError as e:
        raise RunError(f"can't write {what}: {e.strerror}. Choose another with --out.") from e
    return held


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line. Raises RunError."""
    try:
        with path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
    except OSError as e:
        raise RunError(f"can't write {path}: {e.strerror or e}. Free some space, then resume the run.") from e


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file that we wrote; a last line that was cut by a crash is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)

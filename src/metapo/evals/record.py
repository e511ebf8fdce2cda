"""The file of a tournament's matches: rows are only ever appended, and an interrupted tournament goes on from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
from pydantic import ValidationError

from metapo.errors import DataError, RunError, RunInUse
from metapo.evals.tournament import Played
from metapo.files import append_row


@dataclass
class MatchFile:
    """The matches on record, by id; of a match that was judged again, the last row counts."""

    path: Path
    played: dict[str, Played]

    def append(self, played: Played) -> None:
        """Put a match on record. Raises RunError."""
        append_row(self.path, played.model_dump(mode="json"))
        self.played[played.id] = played

    def check(self, question: str, judge: str | None = None) -> None:
        """Raises RunError where matches on record were judged by another judge, or otherwise asked."""
        for played in self.played.values():
            if judge is not None and played.judge != judge:
                raise RunError(
                    f"{self.path} holds matches judged by {played.judge}; this is {judge}. Results of two judges don't "
                    "compare: ask the first one, or write to another file with --out."
                )
            if played.question != question:
                raise RunError(
                    f"{self.path} holds matches that were judged with another task, template or reply length. Give the "
                    "same as before, or write to another file with --out."
                )


def read_played(path: Path) -> dict[str, Played]:
    """The matches in a file, by id; nothing where there is no file. A last line that was cut by a crash is left out.
    Raises DataError that names the line."""
    found: dict[str, Played] = {}
    for number, line in enumerate(_whole_lines(path), 1):
        try:
            played = Played.model_validate_json(line)
        except ValidationError as e:
            wrong = e.errors()[0]
            where = ".".join(map(str, wrong["loc"])) or "the line"
            raise DataError(
                f"{path}, line {number}: expected a match that `metapo eval tournament` wrote, but {where}: "
                f"{wrong['msg']}. Write to another file with --out."
            ) from e
        found[played.id] = played
    return found


@contextmanager
def open_matches(path: Path) -> Iterator[MatchFile]:
    """The file, ready for more, and nobody else's meanwhile. Raises RunInUse, RunError, DataError."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout as e:
        raise RunInUse(f"another tournament writes to {path}. Wait for it to end, or choose another --out.") from e
    except OSError as e:
        raise RunError(f"can't write {path}: {e.strerror}. Choose another file with --out.") from e
    try:
        matches = MatchFile(path, read_played(path))
        _drop_torn_line(path)
        yield matches
    finally:
        lock.release()


def _whole_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as e:
        raise DataError(f"can't read {path}: {e.strerror}") from e


def _drop_torn_line(path: Path) -> None:
    """Cut off what a crash left behind the last line end, or the next row would stand on the same line."""
    if not path.exists():
        return
    try:
        with path.open("r+b") as f:
            f.truncate(f.read().rfind(b"\n") + 1)
    except OSError as e:
        raise RunError(f"can't write {path}: {e.strerror}. Choose another file with --out.") from e

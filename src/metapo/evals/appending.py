"""Files of rows that are only ever appended, from which an interrupted command goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from metapo.errors import DataError, RunError
from metapo.files import hold

Row = TypeVar("Row", bound=BaseModel)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """While the context is open, no other process that asks this way writes to the file. Raises RunInUse, RunError."""
    lock = hold(path.with_name(f".{path.name}.lock"), str(path))
    try:
        yield
    finally:
        lock.release()


def read_own(path: Path, kind: type[Row], what: str) -> list[Row]:
    """The rows of a file that we wrote; none where there is no file. A last line that was cut by a crash is left out.
    `what` names such a row, and the command that writes it. Raises DataError that names the line."""
    found = []
    *lines, torn = _content(path).split(b"\n")
    if torn and not torn.startswith(b"{"):  # whatever it is, it is not ours to cut off
        lines.append(torn)
    for number, line in enumerate(lines, 1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as e:
            wrong = e.errors()[0]
            where = ".".join(map(str, wrong["loc"])) or "the line"
            raise DataError(
                f"{path}, line {number}: expected {what}, but {where}: {wrong['msg']}. Write to another file with "
                "--out."
            ) from e
    return found


def drop_torn_line(path: Path) -> None:
    """Cut off what a crash left behind the last line end, or the next row would stand on the same line. Raises
    RunError."""
    if not path.exists():
        return
    try:
        with path.open("r+b") as f:
            f.truncate(f.read().rfind(b"\n") + 1)
    except OSError as e:
        raise RunError(f"can't write {path}: {e.strerror}. Choose another file with --out.") from e


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise DataError(f"can't read {path}: {e.strerror}") from e

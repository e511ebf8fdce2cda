"""The file of a tournament's matches: rows are only ever appended, and an interrupted tournament goes on from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metapo.errors import RunError
from metapo.evals.appending import drop_torn_line, only_writer, read_own
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
    return {played.id: played for played in read_own(path, Played, "a match that `metapo eval tournament` wrote")}


@contextmanager
def open_matches(path: Path) -> Iterator[MatchFile]:
    """The file, ready for more, and nobody else's meanwhile. Raises RunInUse, RunError, DataError."""
    with only_writer(path):
        matches = MatchFile(path, read_played(path))
        drop_torn_line(path)
        yield matches

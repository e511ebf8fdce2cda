"""Who reads the machine's clock: what records or compares times, and a server's Retry-After, which may name one."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "metapo"
CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
}
READERS = {
    "cli/report.py": "when a report was written",
    "cli/storing.py": "when something was removed",
    "course.py": "when an attempt began",
    "judge/wire.py": "how long until the date of a Retry-After",
    "offline/lineage.py": "when an attempt began",
    "people.py": "when somebody decided",
    "preflight/machine.py": "how far the database's clock is from this machine's",
    "run.py": "when pairs were pinned",
    "service.py": "when a step was closed, and somebody asked for something",
    "viewing/runs.py": "whether a run has written of late",
}


def test_nothing_but_what_records_a_time_reads_the_clock() -> None:
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if reads_clock(path.read_text())}
    assert found == READERS.keys()


def reads_clock(source: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in CALLS
        for node in ast.walk(ast.parse(source))
    )


def test_a_reader_is_found() -> None:
    assert reads_clock("until = time.time() + 5")
    assert reads_clock("clock = datetime.now")
    assert not reads_clock("until = time.monotonic() + 5")

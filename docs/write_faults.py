"""Write docs/faults.md: what comes of each fault in tests/faults.py, measured.

Run `.venv/bin/python docs/write_faults.py` after a change to that table; a test compares.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults import FAULTS, Fault, Seen, measure  # noqa: E402

PAGE = Path(__file__).with_name("faults.md")
HEAD = """\
# Faults

What becomes of one rollout when its judge fails, under a rubric of two criteria. Each row is run against a server on
loopback that fails in this way. This page is made by `docs/write_faults.py` of the table in `tests/faults.py`.

- **Ends as**: a verdict per criterion, or the reason why there is none. A rollout without all of its verdicts has no
  reward (None, never 0). "The run stops" is for what no other rollout would survive either.
- **Requests**: how many HTTP requests reached the server, those included with which metapo finds out what the server
  can. "Until the deadline" are as many as fit into `deadline_s`.
- **Recorded**: the calls that the assessment and the store keep, each a reply or an error, and the errors of the HTTP
  requests that failed on the way to them.
"""
COLUMNS = ("Fault", "What the judge does", "Ends as", "Requests", "Recorded")


def main() -> None:
    seen = asyncio.run(measured())
    PAGE.write_text(page(seen))
    print(f"wrote {PAGE.name}")
    for name, (saw, expected) in {f.name: (seen[f.name], f.expected) for s in FAULTS.values() for f in s}.items():
        if saw != expected:
            print(f"not as the table expects: {name}: {saw}, expected {expected}")


async def measured() -> dict[str, Seen]:
    """One after another, as some of them are about time."""
    return {fault.name: await measure(fault) for section in FAULTS.values() for fault in section}


def page(seen: Mapping[str, Seen]) -> str:
    """The page, from what was seen by the name of the fault."""
    sections = [f"## {title}\n\n{_table(faults, seen)}\n" for title, faults in FAULTS.items()]
    return "\n".join([HEAD, *sections])


def _table(faults: Sequence[Fault], seen: Mapping[str, Seen]) -> str:
    rows = [COLUMNS, len(COLUMNS) * ("--",), *(_row(fault, seen[fault.name]) for fault in faults)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(fault: Fault, seen: Seen) -> tuple[str, ...]:
    requests = "until the deadline" if seen.n_requests is None else str(seen.n_requests)
    return (fault.name, fault.does, _end(seen.outcomes), requests, _recorded(seen))


def _end(outcomes: tuple[str, ...]) -> str:
    if outcomes == ("stop",):
        return "the run stops"
    if set(outcomes) == {"verdict"}:
        return "verdicts"
    if len(set(outcomes)) == 1:
        return f"unscored: {outcomes[0]}"
    return "; ".join(o if o == "verdict" else f"unscored: {o}" for o in outcomes)


def _recorded(seen: Seen) -> str:
    calls = _counted(seen.calls)
    return f"{calls}; failed requests: {_counted(seen.tries)}" if seen.tries else calls


def _counted(names: Sequence[str]) -> str:
    return ", ".join(name if n == 1 else f"{n} × {name}" for name, n in Counter(names).items())


if __name__ == "__main__":
    main()

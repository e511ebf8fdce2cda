"""Write docs/faults.md: what comes of each fault in tests/faults.py, measured; and docs/outages.md of tests/outages.py.

Run `.venv/bin/python docs/write_faults.py` after a change to those tables; tests compare.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults import FAULTS, Fault, Seen, measure  # noqa: E402
from tests.outages import OUTAGES, Outage  # noqa: E402

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
OUTAGES_PAGE = Path(__file__).with_name("outages.md")
OUTAGES_HEAD = """\
# Outages

What becomes of a served run when something around it fails. Each row is run for real: `metapo serve` on loopback, a
judge behind it, and clients that ask as [serving.md](serving.md) says: each completion under a key of its own, and
again while an answer is `retryable` or none comes. This page is made by `docs/write_faults.py` of the table in
`tests/outages.py`.

- **Clients may meet**: what they ask again after: status and code, or a connection that breaks.
- **It ends with**: what the requests that it hit get in the end. null is a reward of null with its reason; a failed
  judgement is never a low score.
- **On record**: "each once" is: every answer that a client got, once, with the reward that it was given; "nothing" is:
  nothing of what was refused. Every row ends with a look at the store: the figures of each step stand there once, each
  meta step was begun and ended once, the lineage holds. No row sees a 500.
- **To go on, do**: what brings rewards again once the outage is over.
"""
OUTAGES_COLUMNS = (
    "What fails",
    "What the server does",
    "Clients may meet",
    "It ends with",
    "On record",
    "To go on, do",
)


def main() -> None:
    seen = asyncio.run(measured())
    PAGE.write_text(page(seen))
    OUTAGES_PAGE.write_text(outages_page())
    print(f"wrote {PAGE.name} and {OUTAGES_PAGE.name}")
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


def outages_page() -> str:
    """The page on outages: what its test sees to."""
    sections = [
        f"## {title}\n\n{_rows(OUTAGES_COLUMNS, map(_outage_row, outages))}\n" for title, outages in OUTAGES.items()
    ]
    return "\n".join([OUTAGES_HEAD, *sections])


def _outage_row(outage: Outage) -> tuple[str, ...]:
    seen = outage.expected
    met, ends = (", ".join(sorted(part)) or "-" for part in (seen.met, seen.ends))
    return (outage.name, outage.does, met, ends, "each once" if seen.on_record else "nothing", outage.then)


def _table(faults: Sequence[Fault], seen: Mapping[str, Seen]) -> str:
    return _rows(COLUMNS, (_row(fault, seen[fault.name]) for fault in faults))


def _rows(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, len(columns) * ("--",), *rows))


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

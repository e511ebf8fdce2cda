"""What the store's own queries cost as it grows: those of every step or request, and those that somebody asks for.

Stores are filled with rollouts of four verdicts and one call each, in steps of 64, for three clusters; every tenth
rollout is an evaluation's, and a tenth of the steps was written twice, as by a run that was killed and resumed. Then
each query is timed: the median of some repetitions, and in relation to the smallest store. A query that every step asks
should not grow with the store; "x" tells by how much it did.

PostgreSQL is measured on a server of its own, started here, where its programs are installed; with `--url` on yours, in
the schema that the URL names, which has to be empty and is left behind.
Times depend on the machine and on who else uses it: compare only what one run has measured.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import sqlalchemy as sa
from tests.postgres import running

from metapo.rollout import Rollout, Split
from metapo.rubric import Revision, Verdict, digest
from metapo.shipped import shipped_rubric
from metapo.store import CallRecord, RolloutRecord, Store
from metapo.store import schema as t
from metapo.store.rows import rollout_id, rollout_row, verdict_row

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PER_STEP, CLUSTERS = 64, ("", "law", "medicine")
CRITERIA = ("depth", "form", "sources", "style")
TEXT = "The policy wrote this, and went on for a while. " * 10
CHUNK_STEPS = 50
REPEATS = 7
RUBRIC = shipped_rubric("essay/iter0")


def main() -> None:
    args = parse_args()
    for name, places in (("SQLite", files), ("PostgreSQL", servers(args.url))):
        try:
            with places() as new_place:
                report(name, {n: measure(new_place(), n) for n in args.verdicts})
        except LookupError as e:
            print(f"{name}: not measured. {e}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, nargs="+", default=[10_000, 40_000], help="sizes, smallest first")
    parser.add_argument("--url", default="", help="a PostgreSQL database to measure one size in")
    return parser.parse_args()


@contextmanager
def files() -> Iterator[Callable[[], Path | str]]:
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(1000))
        yield lambda: Path(folder) / f"{next(numbers)}.db"


def servers(url: str) -> Callable[[], Any]:
    @contextmanager
    def places() -> Iterator[Callable[[], Path | str]]:
        if url:
            yield lambda: url
            return
        with running() as server:
            yield server.new_schema

    return places


def measure(place: Path | str, n_verdicts: int) -> dict[str, float]:
    """Seconds by what was asked, and bytes."""
    with closing(Store(place)) as store:
        n_steps = fill(store, n_verdicts)
        found = {name: timed(ask) for name, ask in questions(store, n_steps).items()}
    return {**found, "open": timed(lambda: Store(place).close()), "size": size(place)}


def fill(store: Store, n_verdicts: int) -> int:
    """Plain bulk inserts; returns how many steps there are."""
    first = Revision(rubric=RUBRIC, reason="start", proposer="settings", step=0)
    attempt = store.begin_attempt(resumed_step=0, now=NOW)
    store.adopt(attempt, 0, first)
    n_steps = max(10, n_verdicts // (PER_STEP * len(CRITERIA)))
    for begin in range(0, n_steps, CHUNK_STEPS):
        steps = range(begin, min(n_steps, begin + CHUNK_STEPS))
        insert(store, [(attempt, record(first, step, i)) for step in steps for i in range(PER_STEP)])
    again = store.begin_attempt(resumed_step=n_steps - n_steps // 10, now=NOW)
    for step in range(n_steps - n_steps // 10, n_steps):
        insert(store, [(again, record(first, step, i)) for i in range(PER_STEP)])
    settle(store)
    return n_steps


def settle(store: Store) -> None:
    """What the filling left to do is done before anything is timed."""
    statements = ("ANALYZE", "CHECKPOINT") if store.path is None else ("PRAGMA wal_checkpoint(TRUNCATE)",)
    outside = sa.create_engine(store._engine.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with outside.connect() as db:
        for statement in statements:
            db.exec_driver_sql(statement)
    os.sync()


def record(first: Revision, step: int, i: int) -> RolloutRecord:
    split = Split.EVAL if i % 10 == 9 else Split.TRAIN
    rollout = Rollout(
        prompt=f"{step}/{i}",
        completion=TEXT,
        step=step,
        position=i,
        split=split,
        cluster=CLUSTERS[i // 8 % len(CLUSTERS)],
    )
    outcomes = tuple(Verdict(criterion_id=c, points=3, rationale="As it says.") for c in CRITERIA)
    call = CallRecord(TEXT, model="m", prompt_tokens=900, completion_tokens=90, cost_usd=0.001, latency_s=1.0)
    return RolloutRecord(rollout, first.id, 0.5, 0.5, 12.0, outcomes, (call,))


def insert(store: Store, records: Sequence[tuple[int, RolloutRecord]]) -> None:
    named = [(rollout_id(attempt, r.rollout), attempt, r) for attempt, r in records]
    with store._transaction(writes=True) as db:
        db.execute(t.rollout.insert(), [rollout_row(*of) for of in named])
        db.execute(t.verdict.insert(), [verdict_row(i, o) for i, _, r in named for o in r.outcomes])
        db.execute(t.judge_call.insert(), [{"rollout_id": i, "number": 0, **vars(r.calls[0])} for i, _, r in named])
        db.execute(t.known_answer.insert(), [{"key": digest(i), "body": TEXT, "step": 0} for i, _, _ in named])


def questions(store: Store, n_steps: int) -> dict[str, Callable[[], Any]]:
    """What the program asks, by when: in each step or request first, what somebody asks for last."""
    first = store.lineage()[0][1]
    positions = iter(range(PER_STEP, sys.maxsize, PER_STEP))

    def append() -> None:
        begin = next(positions)
        made = [record(first, n_steps, i) for i in range(PER_STEP)]
        at = [r.rollout.model_copy(update={"position": begin + r.rollout.position}) for r in made]
        store.append_rollouts(2, [replace(r, rollout=x) for r, x in zip(made, at, strict=True)])

    return {
        "append 64 rollouts": append,
        "rollouts of 4 steps": lambda: store.rollouts(from_step=n_steps // 2, to_step=n_steps // 2 + 4),
        "the same of a cluster": lambda: store.rollouts(
            from_step=n_steps // 2, to_step=n_steps // 2 + 4, cluster="law"
        ),
        "spent": store.spent,
        "first_step": lambda: store.first_step("law"),
        "last_step": lambda: store.last_step(n_steps, "law"),
        "clusters": store.clusters,
        "decisions, n_begun": lambda: (store.decisions("law"), store.n_begun()),
        "adoptions": lambda: store.adoptions("law"),
        "open_acts": lambda: store.open_acts("law", n_steps),
        "known_answer": lambda: store.known_answer(digest("1/train/0/0")),
        "remember 64": lambda: store.remember({f"{time.perf_counter()}/{i}": TEXT for i in range(64)}),
        "append_other_calls": lambda: store.append_other_calls(2, n_steps, [CallRecord("yes")] * 8),
        "begin_attempt": lambda: store.begin_attempt(resumed_step=n_steps + 2, now=NOW),
        "claim": lambda: store.claim("boundary").release(),  # type: ignore[union-attr]
        "verify": store.verify,
    }


def timed(ask: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
        if sum(seconds) > 5:
            break
    return median(seconds)


def size(place: Path | str) -> float:
    """Bytes on disk, once all is in its place."""
    if isinstance(place, Path):
        return sum(path.stat().st_size for path in place.parent.glob(f"{place.name}*"))
    engine = sa.create_engine(place)
    tables = "SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    with engine.connect() as db:
        found = db.scalar(sa.text(f"SELECT SUM(pg_total_relation_size(oid)) FROM ({tables}) AS t"))
    engine.dispose()
    return float(found)


def report(name: str, by_size: dict[int, dict[str, float]]) -> None:
    smallest = next(iter(by_size.values()))
    print(f"\n{name:<22} {'':>12}" + "".join(f"{n:>13,} {'x':>6}" for n in by_size) + "   verdicts")
    for what in smallest:
        scale, unit = (2**-20, "MiB") if what == "size" else (1000, "ms")
        row = "".join(f"{scale * of[what]:>13.2f} {of[what] / smallest[what]:>6.1f}" for of in by_size.values())
        print(f"{what:<22} {unit:>12}{row}")


if __name__ == "__main__":
    main()

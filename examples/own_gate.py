"""A gate of your own, behind the shipped one or in its place (`meta: {gate: off}`): with `meta: {approve: manual}` what
a meta step proposes waits, and a program may decide as well as a person.

    python own_gate.py runs/essay        decides on what waits now; let cron or a loop call it while the run trains
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from metapo import Rubric, Store
from metapo.people import waiting_in
from metapo.store import ActKind, ActRecord

MAX_GROWTH = 2.0


def objection(parent: Rubric, child: Rubric) -> str:
    """Why a rubric may not come into force; empty where nothing speaks against it. The part to replace."""
    if child.n_words > MAX_GROWTH * parent.n_words:
        return f"it has {child.n_words} words, more than {MAX_GROWTH:g} times its parent's {parent.n_words}"
    if lost := {c.id for c in parent.criteria if c.min_points < 0} - {c.id for c in child.criteria}:
        return f"it no longer deducts for {', '.join(sorted(lost))}"
    return ""


store = Store(Path(sys.argv[1]) / "store.db")
for record in waiting_in(store, ""):
    child, parent = record.child, store.lineage()[-1][1]
    assert child is not None
    why = objection(parent.rubric, child.rubric)
    kind = ActKind.REJECT if why else ActKind.APPROVE
    now = datetime.now(UTC).isoformat(timespec="seconds")
    store.append_act(
        ActRecord(kind, who="own_gate.py", why=why or "nothing speaks against it", done_at=now, about=child.id)
    )
    print(f"{child.short_id}: {kind.value}, {why or 'nothing speaks against it'}")
store.close()

"""What people decided and pinned, what waits for them, and how they do it: by the same path as the command line."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from metapo.anchors import pair_of
from metapo.errors import DataError, RubricError
from metapo.people import WHEN, clusters_of, find_waiting, foreseen_in, note, now, pin_pairs, told
from metapo.rubric import Rubric
from metapo.rubric_text import parse_rubric
from metapo.store import ActKind, ActRecord, Store
from metapo.store import schema as t
from metapo.store.views import live
from metapo.viewing.answers import (
    ActAnswer,
    ActRequest,
    ActsAnswer,
    ActShown,
    AnchorsAnswer,
    AnchorShown,
    AnchorsRequest,
    Outcome,
    PinnedAnswer,
    Status,
    WaitingShown,
)
from metapo.viewing.lineage import clusters, nodes
from metapo.viewing.rollouts import make_cursor, read_cursor
from metapo.viewing.runs import Viewed


def record(run: Viewed) -> ActsAnswer:
    """Raises StoreError."""
    outcomes: dict[int, list[Outcome]] = {}
    for number, cluster, step, outcome in run.store.outcomes_of_acts():
        outcomes.setdefault(number, []).append(Outcome(cluster=cluster, step=step, outcome=outcome))
    acts = tuple(_shown(act, tuple(outcomes.get(act.id, ()))) for act in run.store.acts())
    return ActsAnswer(acts=acts, waiting=tuple(one for cluster in clusters(run) for one in _waiting(run, cluster)))


def decide(run: Viewed, request: ActRequest) -> ActAnswer:
    """Put an act on record. Raises ActRefused, RubricError, StoreError."""
    with closing(Store(run.place)) as store:
        act = ActRecord(request.kind, request.who, request.why, now(), request.cluster, request.about)
        if request.about is not None:
            about, cluster = _about(store, request.kind, request.about, request.cluster)
            act = replace(act, about=about, cluster=cluster)
        act = replace(act, criterion=request.criterion or "", rubric=_written(request))
        return ActAnswer(act=note(store, act), told=told(act), when=WHEN)


def pin(run: Viewed, request: AnchorsRequest) -> PinnedAnswer:
    """Pin pairs of known order. Raises DataError that names the pair (counted from 0), StoreError."""
    pairs = []
    for i, pair in enumerate(request.pairs):
        try:
            pairs.append(pair_of(pair.model_dump(), pair.better, pair.worse, request.why))
        except DataError as e:
            raise DataError(f"pair {i}: {e}") from e
    with closing(Store(run.place)) as store:
        pinned = pin_pairs(store, pairs, request.who)
    return PinnedAnswer(pinned=pinned, known=len(pairs) - pinned)


def anchors(run: Viewed, source: str | None, cursor: str | None, limit: int) -> AnchorsAnswer:
    """Raises DataError, StoreError."""
    table = live(t.anchor)
    where = [table.c.source == source] if source is not None else []
    before = [table.c.number < read_cursor(cursor, "anchors", [int])[0]] if cursor else []
    asked = sa.select(table).where(*where, *before).order_by(table.c.number.desc()).limit(limit + 1)
    with run.store.snapshot() as db:
        rows = db.execute(asked).all()
        by_source = db.execute(sa.select(table.c.source, sa.func.count().label("n")).group_by(table.c.source)).all()
    return AnchorsAnswer(
        anchors=tuple(_anchor(row) for row in rows[:limit]),
        next=make_cursor("anchors", [rows[limit - 1].number]) if len(rows) > limit else None,
        n_by_source={row.source: row.n for row in by_source},
    )


def _about(store: Store, kind: ActKind, prefix: str, cluster: str | None) -> tuple[str, str | None]:
    """The revision that an act is about: one that waits, or where it is edited the one in force. Raises ActRefused."""
    if kind is ActKind.EDIT:
        chains = {of: store.lineage(of) for of in clusters_of(store, cluster)}
        named = [(of, chain[-1][1].id) for of, chain in chains.items() if chain and chain[-1][1].id.startswith(prefix)]
        if len(named) == 1:
            return named[0][1], named[0][0]
    return find_waiting(store, prefix, cluster)


def _waiting(run: Viewed, cluster: str) -> list[WaitingShown]:
    found = []
    for node in nodes(run, cluster):
        if node.status is Status.WAITING:
            approval = ActRecord(ActKind.APPROVE, "", "", "", cluster, node.id)
            foreseen = foreseen_in(run.store, approval, cluster)
            found.append(
                WaitingShown(
                    cluster=cluster,
                    node=node,
                    if_approved=foreseen.outcome,
                    can_be_approved=foreseen.child is not None,
                )
            )
    return found


def _written(request: ActRequest) -> Rubric | None:
    """The rubric that a person wrote, as YAML or in the form in which rubrics are printed. Raises RubricError."""
    if request.text is None:
        return request.rubric
    if "<rubric" not in request.text:
        return Rubric.from_yaml(request.text)
    parsed = parse_rubric(request.text)
    if parsed.problems or parsed.rubric is None:
        raise RubricError("\n".join(str(problem) for problem in parsed.problems) or "there is no criterion in the text")
    return parsed.rubric


def _shown(act: ActRecord, outcomes: tuple[Outcome, ...]) -> ActShown:
    named: dict[str, Any] = {name: getattr(act, name) for name in ActShown.model_fields.keys() - {"told", "outcomes"}}
    return ActShown(**named, told=told(act), outcomes=outcomes)


def _anchor(row: Any) -> AnchorShown:
    return AnchorShown(**{name: getattr(row, name) for name in AnchorShown.model_fields})

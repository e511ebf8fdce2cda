"""Pages of rollouts hold what a plain loop over all of them finds, in its order, each once."""

from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from metapo.errors import DataError, UnknownRecord, UnknownRevision
from metapo.rollout import Split
from metapo.rubric import Unscored
from metapo.store import RolloutRecord, Store
from metapo.store.text import prompt_id
from metapo.viewing import one, rollouts
from metapo.viewing.lineage import clusters, nodes
from metapo.viewing.rollouts import Order, Wanted, find, make_cursor
from metapo.viewing.runs import Viewed
from tests.store.test_store import FIRST, begin, record

Holds = Callable[[RolloutRecord], bool]


@cache
def everything(run: Viewed) -> list[RolloutRecord]:
    return [*run.store.rollouts(), *run.store.rollouts(split=Split.EVAL)]


def place(record: RolloutRecord) -> tuple[int, str, int]:
    return record.rollout.step, record.rollout.split.value, record.rollout.position


def pages(run: Viewed, wanted: Wanted, order: Order, limit: int) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    cursor = None
    while True:
        page = find(run, wanted, order, cursor, limit)
        assert len(page.rollouts) <= limit
        found += [entry.id for entry in page.rollouts]
        cursor = page.next
        if cursor is None:
            return found


def naive(run: Viewed, holds: Holds, order: Order) -> list[str]:
    chosen = [record for record in everything(run) if holds(record)]
    if order in (Order.BEST, Order.WORST):
        chosen = [record for record in chosen if record.value is not None]
        chosen.sort(key=lambda r: (r.value, *place(r)))
    else:
        chosen.sort(key=place)
    if order.is_falling:
        chosen.reverse()
    return [f"1-{r.rollout.split}-{r.rollout.step}-{r.rollout.position}" for r in chosen]


def is_unscored(record: RolloutRecord, criterion: str) -> bool:
    return any(isinstance(o, Unscored) and o.criterion_id == criterion for o in record.outcomes)


def has_points(record: RolloutRecord, criterion: str, points: int) -> bool:
    return any(
        not isinstance(o, Unscored) and (o.criterion_id, o.points) == (criterion, points) for o in record.outcomes
    )


QUESTIONS: dict[str, tuple[Wanted, Holds]] = {
    "all": (Wanted(), lambda r: True),
    "steps": (Wanted(from_step=7, to_step=9), lambda r: 7 <= r.rollout.step <= 9),
    "reward": (Wanted(min_reward=0.3, max_reward=0.4), lambda r: r.value is not None and 0.3 <= r.value <= 0.4),
    "unscored": (Wanted(has_reward=False), lambda r: r.value is None),
    "evaluation": (Wanted(split=Split.EVAL), lambda r: r.rollout.split is Split.EVAL),
    "level": (Wanted(criterion="style", points=3), lambda r: has_points(r, "style", 3)),
    "missing": (Wanted(criterion="style", has_verdict=False), lambda r: is_unscored(r, "style")),
    "text": (
        Wanted(text="NIGHT Trains"),
        lambda r: "night trains" in (r.rollout.prompt + r.rollout.completion).lower(),
    ),
    "no text": (Wanted(text="100%_\\"), lambda r: False),
    "screened": (Wanted(screened=True), lambda r: False),
}


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("name", QUESTIONS)
def test_pages_are_what_a_plain_loop_finds(
    run: Viewed, name: str, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts, "FEW", 40)  # so that what is found lies in several windows
    monkeypatch.setattr(rollouts, "MOST_LOOKED_AT", 500)
    wanted, holds = QUESTIONS[name]
    assert pages(run, wanted, order, 97) == naive(run, holds, order)


def test_a_page_tells_how_far_it_looked(run: Viewed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "MOST_LOOKED_AT", 500)
    page = find(run, Wanted(screened=True), Order.NEWEST, None, 10)
    assert (page.rollouts, page.n_looked_at) == ((), 500)
    assert page.next is not None
    assert find(run, Wanted(), Order.NEWEST, None, 10).n_looked_at == 11


def test_a_flag_finds_the_rollouts_that_have_it(run: Viewed) -> None:
    found = pages(run, Wanted(flag="repetition"), Order.OLDEST, 200)
    shown = [entry for i in found for entry in [one.rollout(run, i).entry]]
    assert shown
    assert all("repetition" in entry.flags for entry in shown)
    rest = find(run, Wanted(), Order.OLDEST, None, 200).rollouts
    assert {e.id for e in rest if "repetition" in e.flags} <= set(found)
    assert pages(run, Wanted(flag="no such"), Order.OLDEST, 200) == []


def test_a_revision_finds_what_it_scored(run: Viewed) -> None:
    for cluster in clusters(run):
        for node in nodes(run, cluster)[:3]:
            wanted = Wanted(revision=node.id[:12], cluster=cluster)
            expected = naive(
                run, lambda r, n=node, c=cluster: (r.revision_id, r.rollout.cluster) == (n.id, c), Order.OLDEST
            )
            assert pages(run, wanted, Order.OLDEST, 200) == expected


def test_a_revision_that_is_not_there_is_told(run: Viewed) -> None:
    with pytest.raises(UnknownRevision):
        find(run, Wanted(revision="ffff"), Order.NEWEST, None, 1)


BAD = [
    make_cursor("newest", [step, "train", 0, attempt])
    for step, attempt in ((None, 1), ("1", 1), (True, 1), (2**60, 1), (1.5, 1), (1, float("nan")))
]


@pytest.mark.parametrize("cursor", ["", "x", "!!", "bnVsbA", make_cursor("best", [1, 2]), *BAD])
def test_a_cursor_of_something_else_is_refused(run: Viewed, cursor: str) -> None:
    with pytest.raises(DataError, match="begin without one"):
        find(run, Wanted(), Order.NEWEST, cursor, 5)


def test_one_rollout_is_shown_in_full(run: Viewed) -> None:
    known = next(
        r
        for r in everything(run)
        if r.value is not None and r.rollout.split is Split.TRAIN and any(v.quote for v in r.outcomes)
    )  # type: ignore[union-attr]
    of = known.rollout
    shown = one.rollout(run, f"1-train-{of.step}-{of.position}")
    assert (shown.prompt, shown.completion, shown.entry.reward) == (of.prompt, of.completion, known.value)
    assert [v.criterion for v in shown.verdicts] == [c.id for c in run.rubric(known.revision_id).criteria]
    given = {o.criterion_id: (o.points, o.rationale, o.quote) for o in known.outcomes if not isinstance(o, Unscored)}
    assert {v.criterion: (v.points, v.rationale, v.quote) for v in shown.verdicts} == given
    for verdict in shown.verdicts:
        assert [of.completion[s.start : s.end] for s in verdict.spans] == [verdict.quote] * len(verdict.spans)
        assert bool(verdict.spans) == (bool(verdict.quote) and verdict.quote in of.completion)
    assert [o.role for o in shown.opinions] == ["monitor"]
    assert [(c.role, c.prompt_tokens) for c in shown.calls] == [("judge", 900)]
    group = [r for r in run.store.rollouts(from_step=of.step, to_step=of.step + 1) if r.rollout.prompt == of.prompt]
    assert [e.position for e in shown.group] == [r.rollout.position for r in group if r.rollout != of]


@pytest.mark.parametrize("name", ["9-train-0-0", "1-eval-0-0"])
def test_a_rollout_that_is_not_there_is_told(run: Viewed, name: str) -> None:
    with pytest.raises(UnknownRecord, match=name):
        one.rollout(run, name)


def test_a_prompt_is_followed_through_the_steps(run: Viewed) -> None:
    prompt = everything(run)[0].rollout.prompt
    expected = naive(run, lambda r: r.rollout.prompt == prompt, Order.OLDEST)
    found: list[str] = []
    cursor = None
    while True:
        page = one.prompt(run, prompt_id(prompt), cursor, 5)
        assert page.prompt == prompt
        found += [entry.id for entry in page.rollouts]
        cursor = page.next
        if cursor is None:
            break
    assert found == expected
    with pytest.raises(UnknownRecord):
        one.prompt(run, "0" * 16, None, 5)


def test_prompts_under_two_revisions_stand_side_by_side(run: Viewed) -> None:
    cluster = clusters(run)[0]
    left, right = [n.id for n in nodes(run, cluster) if n.in_force_from is not None][-2:]
    by_prompt: dict[str, set[str]] = {}
    for known in everything(run):
        by_prompt.setdefault(prompt_id(known.rollout.prompt), set()).add(known.revision_id)
    expected = sorted(i for i, revisions in by_prompt.items() if {left, right} <= revisions)
    found = []
    cursor = None
    while True:
        page = one.pairs(run, left[:8], right[:8], cursor, 4)
        found += [pair.prompt_id for pair in page.pairs]
        for pair in page.pairs:
            assert {e.revision for e in pair.left} == {left}
            assert {e.revision for e in pair.right} == {right}
            assert {e.prompt_id for e in (*pair.left, *pair.right)} == {pair.prompt_id}
        cursor = page.next
        if cursor is None:
            break
    assert found == expected


def test_what_a_later_attempt_superseded_is_not_shown(place: Path | str) -> None:
    with closing(Store(place)) as store:
        first = begin(store)
        store.append_rollouts(first, [record(step) for step in range(3)])
        again = begin(store, resumed_step=1)
        store.append_rollouts(again, [record(1)])
        viewed = Viewed("run", store, None, place)
        assert pages(viewed, Wanted(), Order.OLDEST, 1) == ["1-train-0-0", "2-train-1-0"]
        assert pages(viewed, Wanted(revision=FIRST.id), Order.BEST, 5) == ["2-train-1-0", "1-train-0-0"]
        with pytest.raises(UnknownRecord, match="no rollout '1-train-1-0' that counts"):
            one.rollout(viewed, "1-train-1-0")


def test_a_store_without_rollouts_has_none_to_show(place: Path | str) -> None:
    with closing(Store(place)) as store:
        empty = find(Viewed("run", store, None, place), Wanted(text="x"), Order.BEST, None, 5)
        assert (empty.rollouts, empty.next, empty.n_looked_at) == ((), None, 0)

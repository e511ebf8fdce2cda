"""Hygiene after merging."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.meta.tidy import tidy
from metapo.rubric import Criterion, Rubric
from tests.helpers import criterion, plain_criteria, rubric

PARENT = rubric(criterion("depth"))


def pinned(criterion_id: str) -> Criterion:
    return criterion(criterion_id, (0, 7)).model_copy(update={"pinned": True})


def ids(kept: Rubric) -> list[str]:
    return [c.id for c in kept.criteria]


def test_order_is_kept_and_duplicates_go() -> None:
    style, again = criterion("style", (0, 1)), criterion("style", (0, 9))
    same_levels = criterion("manner", (0, 1))
    kept, notes = tidy(PARENT, [style, criterion("depth"), again, same_levels], 12, 1500)
    assert ids(kept) == ["style", "depth"]
    assert notes == ["left out 'style': it repeats 'style'", "left out 'manner': it repeats 'style'"]


def test_pinned_criteria_survive_unchanged_and_nobody_else_can_pin() -> None:
    parent = rubric(pinned("core"), criterion("depth"))
    imitation = criterion("core", (0, 1))
    kept, _ = tidy(
        parent, [criterion("style", (0, 3)), imitation, pinned("mine").model_copy(update={"name": "M"})], 12, 1500
    )
    assert kept.criterion("core") == parent.criterion("core")
    assert [c.id for c in kept.criteria if c.pinned] == ["core"]


def test_bounds_take_from_the_end_and_say_so() -> None:
    many = [criterion(f"c{i}", (0, i + 1)) for i in range(5)]
    kept, notes = tidy(PARENT, many, 3, 1500)
    assert ids(kept) == ["c0", "c1", "c2"]
    assert notes == ["left out 'c4': more than 3 criteria", "left out 'c3': more than 3 criteria"]
    kept, notes = tidy(PARENT, many, 12, 11)
    assert ids(kept) == ["c0", "c1"]
    assert notes[-1] == "left out 'c2': more than 11 words"


@given(st.lists(plain_criteria(), min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_bounds_pins_and_unique_levels_always_hold(
    proposed: list[Criterion], max_criteria: int, max_words: int, pin: bool
) -> None:
    parent = rubric(pinned("core") if pin else criterion("core"))
    kept, _ = tidy(parent, proposed, max_criteria, max_words)
    assert len(kept.criteria) <= max(max_criteria, 1)
    assert kept.n_words <= max_words or len(kept.criteria) == 1
    assert [c for c in kept.criteria if c.pinned] == [c for c in parent.criteria if c.pinned]
    assert len({c.levels for c in kept.criteria}) == len(kept.criteria)
    order = [c.id for c in proposed if c.id in ids(kept)]
    assert [i for i in ids(kept) if not kept.criterion(i).pinned] == list(dict.fromkeys(order))[: len(ids(kept))]  # type: ignore[union-attr]

from collections import Counter

import pytest
from hypothesis import given

from metapo.rubric import Criterion, Level, Polarity, Rubric
from metapo.rubric_diff import Change, CriterionDiff, Line, diff_rubrics, diff_words
from tests.helpers import any_criteria, criterion, odd_texts, rubric, rubrics

DEPTH = criterion("depth", (0, 2, 5))
STYLE = criterion("style", (0, 1))


def lines(found: CriterionDiff) -> list[str]:
    return [f"{line.change} {line.text}" for line in found.lines]


def changed(before: Criterion, after: Criterion) -> list[str]:
    """The lines that differ between two versions of one criterion."""
    [found] = diff_rubrics(rubric(before), rubric(after))
    assert found.change is Change.SAME
    assert found.changed == any(line[0] != " " for line in lines(found))
    return [line for line in lines(found) if line[0] != " "]


# --- by hand


def test_a_criterion_that_stays_shows_every_line_as_the_same() -> None:
    [found] = diff_rubrics(rubric(DEPTH), rubric(DEPTH))
    assert (found.criterion_id, found.change, found.changed) == ("depth", Change.SAME, False)
    assert lines(found) == ["  Depth (weight 1, positive)", "  +0  worth 0", "  +2  worth 2", "  +5  worth 5"]


def test_criteria_come_and_go_whole() -> None:
    come, gone = diff_rubrics(rubric(DEPTH), rubric(STYLE))
    assert (come.criterion_id, come.change, come.changed) == ("style", Change.ADDED, True)
    assert lines(come) == ["+ Style (weight 1, positive)", "+ +0  worth 0", "+ +1  worth 1"]
    assert (gone.criterion_id, gone.change, gone.changed) == ("depth", Change.REMOVED, True)
    assert {line.change for line in gone.lines} == {Change.REMOVED}


def test_what_is_left_comes_first_in_its_new_order_then_what_was_removed() -> None:
    before = rubric(criterion("a"), DEPTH, criterion("b"), STYLE)
    after = rubric(STYLE, criterion("new"), DEPTH)
    found = diff_rubrics(before, after)
    assert [(d.criterion_id, d.change) for d in found] == [
        ("style", Change.SAME),
        ("new", Change.ADDED),
        ("depth", Change.SAME),
        ("a", Change.REMOVED),
        ("b", Change.REMOVED),
    ]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "Rigour", ["- Depth (weight 1, positive)", "+ Rigour (weight 1, positive)"]),
        ("weight", 2.5, ["- Depth (weight 1, positive)", "+ Depth (weight 2.5, positive)"]),
        ("weight", 1.0000001, ["- Depth (weight 1, positive)", "+ Depth (weight 1.0000001, positive)"]),
        ("pinned", True, ["- Depth (weight 1, positive)", "+ Depth (weight 1, positive, pinned)"]),
        ("instruction", "Look closely.", ["+ Look closely."]),
    ],
)
def test_a_changed_field_shows_before_and_after(field: str, value: object, expected: list[str]) -> None:
    assert changed(DEPTH, DEPTH.model_copy(update={field: value})) == expected


def test_polarity_shows() -> None:
    deducts = criterion("talk", (-5, 0))
    assert deducts.polarity is Polarity.NEGATIVE
    assert changed(deducts, deducts.model_copy(update={"polarity": Polarity.POSITIVE})) == [
        "- Talk (weight 1, negative)",
        "+ Talk (weight 1, positive)",
    ]


def with_levels(*levels: Level) -> Criterion:
    return DEPTH.model_copy(update={"levels": levels})


def test_levels_are_matched_by_their_points() -> None:
    low, middle, top = DEPTH.levels
    reworded = middle.model_copy(update={"description": "worth a bit"})
    assert changed(DEPTH, with_levels(low, reworded, top)) == ["- +2  worth 2", "+ +2  worth a bit"]
    assert changed(DEPTH, with_levels(low, top)) == ["- +2  worth 2"]
    more = Level(points=7, description="worth 7", example="all of it")
    assert changed(DEPTH, with_levels(*DEPTH.levels, more)) == ["+ +7  worth 7 (Example: all of it)"]
    moved = middle.model_copy(update={"points": 3})
    assert changed(DEPTH, with_levels(low, moved, top)) == ["- +2  worth 2", "+ +3  worth 2"]


def test_levels_stand_worst_to_best_also_where_some_come_and_some_go() -> None:
    after = with_levels(*(Level(points=p, description=f"now {p}") for p in (-3, 2, 9)))
    [found] = diff_rubrics(rubric(DEPTH), rubric(after))
    assert lines(found)[1:] == [
        *("+ -3  now -3", "- +0  worth 0", "- +2  worth 2", "+ +2  now 2", "- +5  worth 5", "+ +9  now 9"),
    ]


# --- any two rubrics


@given(rubrics())
def test_nothing_differs_from_itself(r: Rubric) -> None:
    assert not any(d.changed for d in diff_rubrics(r, r))


@given(rubrics())
def test_order_alone_is_no_change(r: Rubric) -> None:
    assert not any(d.changed for d in diff_rubrics(r, Rubric(criteria=r.criteria[::-1])))


@given(rubrics(), rubrics())
def test_every_criterion_is_told_once(before: Rubric, after: Rubric) -> None:
    found = diff_rubrics(before, after)
    ids = [d.criterion_id for d in found]
    assert Counter(ids) == Counter({c.id for c in (*before.criteria, *after.criteria)})
    assert ids[: len(after.criteria)] == [c.id for c in after.criteria]


@given(any_criteria, any_criteria)
def test_a_criterion_is_unchanged_only_if_it_is_equal(before: Criterion, after: Criterion) -> None:
    after = after.model_copy(update={"id": before.id})
    assert bool(changed(before, after)) == (before != after)


@given(rubrics(), rubrics())
def test_one_way_is_the_other_mirrored(before: Rubric, after: Rubric) -> None:
    there = {d.criterion_id: d for d in diff_rubrics(before, after)}
    back = {d.criterion_id: d for d in diff_rubrics(after, before)}
    mirror = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED, Change.SAME: Change.SAME}
    for name, found in there.items():
        assert back[name].change is mirror[found.change]
        mirrored = Counter(Line(mirror[line.change], line.text) for line in found.lines)
        assert Counter(back[name].lines) == mirrored


@given(rubrics(), rubrics())
def test_lines_tell_both_rubrics_whole(before: Rubric, after: Rubric) -> None:
    """Without the removed lines the difference is the one from `after` to itself, and the other way round."""
    found = diff_rubrics(before, after)
    for kept, one in ((Change.ADDED, after), (Change.REMOVED, before)):
        told = {
            d.criterion_id: [line.text for line in d.lines if line.change in (kept, Change.SAME)]
            for d in found
            if one.criterion(d.criterion_id)
        }
        assert told == {d.criterion_id: [line.text for line in d.lines] for d in diff_rubrics(one, one)}


@given(odd_texts, odd_texts)
def test_words_of_a_difference_make_up_both_texts(before: str, after: str) -> None:
    lines = diff_words(before, after)
    assert "".join(line.text for line in lines if line.change is not Change.ADDED) == before
    assert "".join(line.text for line in lines if line.change is not Change.REMOVED) == after
    assert all(line.text for line in lines)


def test_a_changed_word_alone_is_marked() -> None:
    assert [(line.change.value, line.text) for line in diff_words("a good reason", "a better reason")] == [
        (" ", "a "),
        ("-", "good "),
        ("+", "better "),
        (" ", "reason"),
    ]

"""Hygiene after merging: what goes, what stays, and why it says so."""

import math
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.meta.hygiene import MIN_GRADES, Grades, HygieneSettings, Ordered, Pruned, prune, sign_test, tau_b, tidy
from metapo.rubric import Criterion, Polarity, Rubric
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


# --- near-equal wording


def says(name: str, *descriptions: str, instruction: str = "", start: int = 0) -> Criterion:
    levels = [{"points": start + i, "description": d} for i, d in enumerate(descriptions)]
    polarity = Polarity.NEGATIVE if start + len(levels) - 1 <= 0 else Polarity.POSITIVE
    data = {"name": name, "instruction": instruction, "levels": levels, "polarity": polarity}
    return Criterion.model_validate(data)


EVIDENCE = says("Evidence", "gives no evidence for its claims", "gives evidence for each of its claims")


@pytest.mark.parametrize(
    ("other", "is_twin"),
    [
        (says("Use of evidence", "Gives no evidence for the claims.", "Gives evidence for each claim!", start=2), True),
        (
            says(
                "Evidence given", "gives no evidence for its claims", "gives evidence for each of its claims", start=1
            ),
            True,
        ),
        (says("Evidence against", "gives no evidence against its claims", "gives evidence against its claims"), False),
        (says("Evidence twice", "gives no evidence for its claims", "gives 2 pieces of evidence for each"), False),
        (says("No evidence", "gives evidence for its claims", "gives no evidence for each of its claims"), False),
        (says("Depth", "stays on the surface of the matter", "finds causes behind the causes"), False),
    ],
)
def test_criteria_that_read_nearly_the_same_are_duplicates(other: Criterion, is_twin: bool) -> None:
    kept, notes = tidy(PARENT, [EVIDENCE, other], 12, 1500)
    assert ids(kept) == (["evidence"] if is_twin else ["evidence", other.id])
    assert notes == ([f"left out {other.id!r}: it repeats 'evidence'"] if is_twin else [])


def test_what_is_counted_is_told_by_the_name_where_levels_are_of_a_kind() -> None:
    counts = ("more than ten errors on a page", "from five to ten errors on a page", "fewer errors on a page")
    both = [says("Grammar", *counts), says("Spelling", *counts, start=1)]
    kept, _ = tidy(PARENT, both, 12, 1500)
    assert ids(kept) == ["grammar", "spelling"]


def test_without_the_rule_only_equal_ids_or_levels_are_duplicates() -> None:
    wordy = says("Use of evidence", *(level.description for level in EVIDENCE.levels), start=2)
    again = EVIDENCE.model_copy(update={"id": "again"})
    kept, _ = tidy(PARENT, [EVIDENCE, wordy, again], 12, 1500, HygieneSettings(duplicates=False))
    assert ids(kept) == ["evidence", "use-of-evidence"]
    kept, _ = tidy(PARENT, [EVIDENCE, wordy, again], 12, 1500)
    assert ids(kept) == ["evidence"]


WORDS = ("ample", "brisk", "civil", "dense", "eager", "frank", "grave", "hardy", "ideal", "jolly", "keen", "lucid")


def test_thirty_criteria_come_down_to_twelve() -> None:
    kinds = [says(f"{a} {b}".title(), f"is not {a} {b} at all here", f"is {a} {b}") for a, b in combinations(WORDS, 2)]
    repeated = [k.model_copy(update={"id": f"{k.id}-again", "weight": 2.0}) for k in kinds[:10]]
    proposed = [c for pair in zip(kinds[:10], repeated, strict=True) for c in pair] + kinds[10:20]
    assert len(proposed) == 30
    kept, notes = tidy(PARENT, proposed, 12, 1500)
    assert ids(kept) == [k.id for k in kinds[:12]]
    assert len(notes) == 18


@given(st.lists(plain_criteria(), min_size=1, max_size=8), st.integers(1, 4), st.integers(1, 60), st.booleans())
@settings(deadline=None)
def test_tidying_twice_changes_nothing(proposed: list[Criterion], max_criteria: int, max_words: int, pin: bool) -> None:
    parent = rubric(pinned("core") if pin else criterion("core"))
    once, _ = tidy(parent, proposed, max_criteria, max_words)
    assert tidy(parent, once.criteria, max_criteria, max_words) == (once, [])


# --- statistics


def test_tau_b_of_a_published_example() -> None:
    """The example in SciPy's documentation of kendalltau."""
    both = list(zip([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], strict=True))
    assert tau_b(both) == pytest.approx(-0.47140452079103173)


def test_tau_b_of_a_constant_is_nothing() -> None:
    assert tau_b([(1, 0), (1, 1), (1, 2)]) == 0


columns = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(columns)
def test_tau_b_is_symmetric_and_knows_only_the_order(both: list[tuple[int, int]]) -> None:
    turned = [(y, x) for x, y in both]
    assert tau_b(both) == pytest.approx(tau_b(turned))
    assert tau_b(both) == pytest.approx(tau_b([(x**3, -y) for x, y in both]) * -1)
    assert -1 - 1e-9 <= tau_b(both) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("n_wrong", "n_right", "p"),
    [(0, 0, 1), (6, 0, 1 / 64), (5, 0, 1 / 32), (8, 1, 10 / 512), (10, 2, 79 / 4096), (0, 4, 1), (700, 700, 0.5106602)],
)
def test_sign_test(n_wrong: int, n_right: int, p: float) -> None:
    assert sign_test(n_wrong, n_right) == pytest.approx(p)


# --- what appraisals show

COUNT = says("Reasons", "not one reason that counts", "1 reason that counts", "2 reasons that count")
SIDE = says("Position", "takes neither side at all", "defends the right side")
GRADER = says("Grader talk", "speaks to the grader", "has nothing for the grader", start=-1)
THREE = rubric(COUNT, SIDE, GRADER)
VARIED = [0, 0.5, 1] * 8
MIXED = [0, 0, 1, 1] * 6


def graded(**columns: Sequence[float | None]) -> list[dict[str, float | None]]:
    """Grades by criterion, one column each; "_" in a name stands for "-"."""
    rows = zip(*columns.values(), strict=True)
    return [dict(zip((name.replace("_", "-") for name in columns), row, strict=True)) for row in rows]


def against(criterion_id: str, n_wrong: int, n_right: int = 0) -> Ordered:
    return [({criterion_id: 0.0}, {criterion_id: 1.0})] * n_wrong + [
        ({criterion_id: 1.0}, {criterion_id: 0.5})
    ] * n_right


def left(pruned: Pruned) -> list[str]:
    return ids(pruned.rubric)


def test_what_tells_completions_apart_stays() -> None:
    grades = graded(reasons=VARIED, position=MIXED, grader_talk=MIXED[::-1])
    assert prune(THREE, grades, against("reasons", 0, 20)) == Pruned(THREE, [])


def test_nothing_known_retires_nothing() -> None:
    assert prune(THREE, [], []) == Pruned(THREE, [])


def test_a_criterion_without_variance_is_retired() -> None:
    grades = graded(reasons=VARIED, position=[1.0] * 24, grader_talk=MIXED)
    pruned = prune(THREE, grades, [])
    assert left(pruned) == ["reasons", "grader-talk"]
    assert pruned.notes == ["retired 'position': it gave all of 24 completions the same grade"]
    assert left(prune(THREE, grades, [], settings=HygieneSettings(no_variance=False))) == ids(THREE)


@pytest.mark.parametrize(("n", "n_left"), [(MIN_GRADES, 1), (MIN_GRADES - 1, 2)])
def test_few_completions_show_no_lack_of_variance(n: int, n_left: int) -> None:
    column = ([1.0] * n + [None] * 24)[:24]
    pruned = prune(rubric(COUNT, SIDE), graded(reasons=VARIED, position=column), [])
    assert len(pruned.rubric.criteria) == n_left


@pytest.mark.parametrize(
    ("quiet", "parent", "note"),
    [
        (1.0, THREE, None),
        (1.0, None, None),
        (1.0, rubric(COUNT), "it is new, and none of 24 completions shows what it deducts for"),
        (0.0, THREE, "it gave all of 24 completions the same grade"),
        (0.0, rubric(COUNT), "it gave all of 24 completions the same grade"),
    ],
)
def test_a_quiet_deduction_stays_if_it_was_there_before(quiet: float, parent: Rubric | None, note: str | None) -> None:
    grades = graded(reasons=VARIED, position=MIXED, grader_talk=[quiet] * 24)
    pruned = prune(THREE, grades, [], parent=parent)
    assert pruned.notes == ([f"retired 'grader-talk': {note}"] if note else [])
    assert ("grader-talk" in left(pruned)) is (note is None)


@pytest.mark.parametrize(
    ("n_wrong", "n_right", "stays"), [(6, 0, False), (5, 0, True), (8, 1, False), (7, 1, True), (10, 9, True)]
)
def test_a_criterion_against_the_known_order_is_retired(n_wrong: int, n_right: int, stays: bool) -> None:
    ties: Ordered = [({"position": 1.0}, {"position": 0.99}), ({"position": None}, {"position": 1.0})] * 20
    pruned = prune(THREE, [], [*ties, *against("position", n_wrong, n_right)])
    assert ("position" in left(pruned)) is stays
    told = f"of {n_wrong + n_right} pairs of known order that it tells apart, it has {n_wrong} the wrong way round"
    assert pruned.notes == ([] if stays else [f"retired 'position': {told}"])


def test_order_counts_only_where_the_rule_holds() -> None:
    pruned = prune(THREE, [], against("position", 20), settings=HygieneSettings(misordered=False))
    assert pruned == Pruned(THREE, [])


MORE = says("More reasons", "no more reason that counts", "some more reasons that count")


def test_criteria_that_speak_of_the_same_and_move_together_are_one() -> None:
    finer = says("Arguments", "no reason that counts", "a reason that counts", "many reasons that count", "arguments")
    grades = graded(reasons=VARIED, arguments=[{0: 0, 0.5: 1 / 3, 1: 1}[x] for x in VARIED], position=MIXED)
    three = rubric(COUNT, finer, SIDE)
    pruned = prune(three, grades, [])
    assert left(pruned) == ["reasons", "position"]
    assert pruned.notes == ["retired 'arguments': its points rise and fall with those of 'reasons'"]
    assert prune(three, grades, [], settings=HygieneSettings(duplicates=False)) == Pruned(three, [])


def test_a_few_slips_of_the_judge_hide_no_twin() -> None:
    slips = [*VARIED[:-2], 1, 0.5]
    assert left(prune(rubric(COUNT, MORE), graded(reasons=VARIED, more_reasons=slips), [])) == ["reasons"]


def test_good_and_bad_alone_make_no_twins_of_criteria_that_say_different_things() -> None:
    grades = graded(reasons=MIXED, position=MIXED, grader_talk=MIXED)
    assert prune(THREE, grades, []) == Pruned(THREE, [])


@pytest.mark.parametrize(
    "other",
    [
        [1 - x for x in VARIED],
        [0, 1, 0.5] * 8,
        [None] * 13 + VARIED[13:],
        [*VARIED[:18], 0, 0, 0, 0.5, 0.5, 0.5],
    ],
)
def test_criteria_that_part_are_two(other: list[float | None]) -> None:
    both = rubric(COUNT, MORE)
    assert len(prune(both, graded(reasons=VARIED, more_reasons=other), []).rubric.criteria) == 2


def test_one_completion_alone_makes_no_twins() -> None:
    both = rubric(COUNT, MORE)
    rare = [0.0] * 2 + [1.0] * 22
    assert len(prune(both, graded(reasons=rare, more_reasons=rare), []).rubric.criteria) == 2
    seen = [0.0] * 3 + [1.0] * 21
    assert len(prune(both, graded(reasons=seen, more_reasons=seen), []).rubric.criteria) == 1


def test_a_pinned_criterion_is_never_retired_and_its_twin_goes_whatever_the_order() -> None:
    last = MORE.model_copy(update={"pinned": True})
    pruned = prune(rubric(COUNT, SIDE, last), graded(reasons=VARIED, position=MIXED, more_reasons=VARIED), [])
    assert left(pruned) == ["position", "more-reasons"]
    assert prune(rubric(last), graded(more_reasons=[0.5] * 30), against("more-reasons", 30)) == Pruned(rubric(last), [])


def test_one_criterion_stays_where_all_are_bad() -> None:
    worst = prune(rubric(COUNT, SIDE), [], [*against("reasons", 9), *against("position", 9)])
    assert left(worst) == ["reasons"]
    assert len(worst.notes) == 1


def test_a_deduction_is_never_against_a_known_order() -> None:
    """The worse completion is often the shorter one, and less text has fewer faults."""
    assert left(prune(THREE, [], against("grader-talk", 9))) == ids(THREE)
    assert left(prune(THREE, [], against("position", 9))) == ["reasons", "grader-talk"]


grade_values = st.sampled_from([None, 0.0, 0.5, 1.0])
known = ("reasons", "position", "grader-talk")
rows = st.fixed_dictionaries(dict.fromkeys(known, grade_values))


@given(
    st.lists(rows, max_size=4).map(lambda few: few * 6),
    st.lists(st.tuples(rows, rows), max_size=3).map(lambda few: few * 6),
    st.sets(st.sampled_from(known)),
    st.booleans(),
    st.builds(HygieneSettings),
)
@settings(deadline=None)
def test_pruning_keeps_pins_order_and_one_criterion_and_is_done_once(
    grades: Grades, ordered: Ordered, pins: set[str], is_new: bool, rules: HygieneSettings
) -> None:
    given_rubric = rubric(*(c.model_copy(update={"pinned": c.id in pins}) for c in THREE.criteria))
    parent = rubric(criterion("other")) if is_new else None
    once = prune(given_rubric, grades, ordered, parent=parent, settings=rules)
    kept = list(once.rubric.criteria)
    assert kept
    assert kept == [c for c in given_rubric.criteria if c in kept]
    assert pins <= {c.id for c in kept}
    assert len(once.notes) == len(given_rubric.criteria) - len(kept)
    assert all(f"'{c.id}'" in " ".join(once.notes) for c in given_rubric.criteria if c not in kept)
    assert prune(once.rubric, grades, ordered, parent=parent, settings=rules) == Pruned(once.rubric, [])


def test_a_tie_is_half_of_all_throws() -> None:
    assert math.isclose(sign_test(50, 50) + sign_test(51, 49), 1)

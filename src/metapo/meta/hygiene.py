"""Hygiene after merging: what text alone shows (`tidy`), and what appraised completions show (`prune`).

Wrongly retired, a criterion opens a loophole; wrongly kept, it costs some words or counts a thing twice. So each rule
needs clear evidence, pinned criteria are safe from all of them, and at least one criterion always stays.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from metapo.rubric import Criterion, Frozen, Polarity, Rubric
from metapo.rubric_lint import overlap, repeats

# For each completion the fraction in [0, 1] of every criterion's own range, by criterion id; None where unscored.
Grade = Mapping[str, float | None]
Grades = Sequence[Grade]
Ordered = Sequence[tuple[Grade, Grade]]  # pairs of known order: the better completion first

MIN_GRADES = 12  # completions, before they tell that a criterion never varies or always moves with another
EQUAL = 0.02  # fractions no further apart than this are the same grade
SAME_SUBJECT = 0.5  # the share of words that two criteria have in common, of those that judge the same
TOGETHER = 0.8  # Kendall's tau-b from which they do; two readings of one criterion by a noisy judge reach no more
MIN_MOVED = 3  # completions, at least, that don't get a criterion's commonest grade
MISORDERED_P = 0.02  # one-sided sign test; the least evidence is six pairs, all wrong


class HygieneSettings(Frozen):
    """Which rules hold. Without `duplicates`, two criteria are the same only if their ids or their levels are equal."""

    duplicates: bool = True
    no_variance: bool = True
    misordered: bool = True
    split: bool = True


EVERY_RULE = HygieneSettings()


class Pruned(NamedTuple):
    """What is left of a rubric, in its order, and a note for each criterion that was retired."""

    rubric: Rubric
    notes: list[str]


def tidy(
    parent: Rubric,
    proposed: Sequence[Criterion],
    max_criteria: int,
    max_words: int,
    settings: HygieneSettings = EVERY_RULE,
) -> tuple[Rubric, list[str]]:
    """A rubric from proposed criteria (at least one), and a note for each that was left out or put back.

    Pinned criteria of the parent stand first, unchanged; the others keep the order in which they came. A proposal
    can't pin. Of two criteria with equal ids, equal levels or nearly the same wording the first stays.
    """
    notes: list[str] = []
    kept = [c for c in parent.criteria if c.pinned]
    n_pinned = len(kept)
    for criterion in proposed:
        criterion = criterion.model_copy(update={"pinned": False})
        if twin := next((k for k in kept if _is_twin(k, criterion, settings)), None):
            if not (twin.pinned and twin.id == criterion.id):
                notes.append(f"left out {criterion.id!r}: it repeats {twin.id!r}")
            continue
        kept.append(criterion)
    while len(kept) > max(max_criteria, n_pinned, 1):
        notes.append(f"left out {kept.pop().id!r}: more than {max_criteria} criteria")
    while len(kept) > max(n_pinned, 1) and Rubric(criteria=tuple(kept)).n_words > max_words:
        notes.append(f"left out {kept.pop().id!r}: more than {max_words} words")
    return Rubric(criteria=tuple(kept)), notes


def _is_twin(first: Criterion, second: Criterion, settings: HygieneSettings) -> bool:
    is_equal = first.id == second.id or first.levels == second.levels
    return is_equal or (settings.duplicates and repeats(first, second))


def prune(
    rubric: Rubric,
    grades: Grades,
    ordered: Ordered,
    *,
    parent: Rubric | None = None,
    settings: HygieneSettings = EVERY_RULE,
) -> Pruned:
    """The rubric without the criteria that go against a known order, say nothing, or repeat another.

    `grades` holds every appraised completion, good, damaged and attack alike, each once; the samples from which the
    rubric was written belong to it as well, so that a hack seen there counts. `ordered` holds the pairs of known
    order. `parent` is the rubric in use: a criterion that it lacks is new.
    """
    kept, notes = list(rubric.criteria), list[str]()
    if settings.misordered:
        kept = _retire(kept, lambda c: _misordered(c, ordered), notes)
    if settings.no_variance:
        old = {c.id for c in (parent or rubric).criteria}
        kept = _retire(kept, lambda c: _says_nothing(c, grades, is_new=c.id not in old), notes)
    if settings.duplicates:
        kept = _without_twins(kept, grades, notes)
    return Pruned(Rubric(criteria=tuple(kept)), notes)


def _retire(kept: Sequence[Criterion], why: Callable[[Criterion], str], notes: list[str]) -> list[Criterion]:
    """Those without a reason to go; the first one where all have a reason."""
    reasons = {c.id: reason for c in kept if not c.pinned and (reason := why(c))}
    if len(reasons) == len(kept):
        del reasons[kept[0].id]
    notes += [f"retired {criterion_id!r}: {reason}" for criterion_id, reason in reasons.items()]
    return [c for c in kept if c.id not in reasons]


# --- against a known order


def _misordered(criterion: Criterion, ordered: Ordered) -> str:
    """Why a criterion goes against the known order, or ""; pairs that it ties don't count. A deduction is never against
    it: the worse completion is often the shorter one, and less text has fewer faults."""
    if criterion.polarity is Polarity.NEGATIVE:
        return ""
    gaps = [
        good - bad
        for better, worse in ordered
        if (good := better.get(criterion.id)) is not None and (bad := worse.get(criterion.id)) is not None
    ]
    n_right, n_wrong = sum(gap > EQUAL for gap in gaps), sum(gap < -EQUAL for gap in gaps)
    if sign_test(n_wrong, n_right) > MISORDERED_P:
        return ""
    return f"of {n_right + n_wrong} pairs of known order that it tells apart, it has {n_wrong} the wrong way round"


def sign_test(n_more: int, n_less: int) -> float:
    """The probability of at least `n_more` heads in `n_more + n_less` throws of a fair coin, in (0, 1]."""
    n = n_more + n_less
    return sum(math.comb(n, k) for k in range(n_more, n + 1)) / (1 << n)


# --- no variance


def _says_nothing(criterion: Criterion, grades: Grades, is_new: bool) -> str:
    """Why a criterion tells no completion from another, or "".

    A deduction that nobody earns guards against a hack that is gone, perhaps because of it, so it stays; but it has
    to have caught something once, or every hack that a meta model can think of would take a place for good.
    """
    given = [grade for row in grades if (grade := row.get(criterion.id)) is not None]
    if len(given) < MIN_GRADES or max(given) - min(given) > EQUAL:
        return ""
    is_quiet = criterion.polarity is Polarity.NEGATIVE and min(given) >= 1 - EQUAL
    if is_quiet:
        return f"it is new, and none of {len(given)} completions shows what it deducts for" if is_new else ""
    return f"it gave all of {len(given)} completions the same grade"


# --- the same judged twice


def _without_twins(criteria: Sequence[Criterion], grades: Grades, notes: list[str]) -> list[Criterion]:
    """Pinned criteria, and of the others those that move with none that stays."""
    kept = [c for c in criteria if c.pinned]
    for criterion in criteria:
        if criterion.pinned:
            continue
        if twin := next((k for k in kept if judge_alike(k, criterion, grades)), None):
            notes.append(f"retired {criterion.id!r}: its points rise and fall with those of {twin.id!r}")
        else:
            kept.append(criterion)
    return [c for c in criteria if c in kept]


def judge_alike(first: Criterion, second: Criterion, grades: Grades) -> bool:
    """Do two criteria speak of the same and give points that move together so closely that they judge the same?

    Points alone can't tell: among good completions, damaged copies and attacks nearly all criteria rise and fall
    together, so wording has to agree as well, though less than for `repeats`.
    """
    if overlap(first, second) < SAME_SUBJECT:
        return False
    both = [
        (_step(a), _step(b))
        for row in grades
        if (a := row.get(first.id)) is not None and (b := row.get(second.id)) is not None
    ]
    if len(both) < MIN_GRADES:
        return False
    if any(len(both) - max(Counter(column).values()) < MIN_MOVED for column in zip(*both, strict=True)):
        return False
    return tau_b(both) >= TOGETHER


def _step(fraction: float) -> int:
    return round(fraction / EQUAL)


def tau_b(both: Sequence[tuple[float, float]]) -> float:
    """Kendall's tau-b of two columns, in [-1, 1]; 0 where one of them is constant."""
    steps = [(_sign(x - v), _sign(y - w)) for (x, y), (v, w) in combinations(both, 2)]
    n_first, n_second = sum(a != 0 for a, _ in steps), sum(b != 0 for _, b in steps)
    return sum(a * b for a, b in steps) / math.sqrt(n_first * n_second) if n_first and n_second else 0.0


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction as F
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.world.corpus import ASSIGNMENTS
from metapo.world.essay import Role, essay_of, parse_essay
from metapo.world.gold import MAX_SENTENCES, gold
from metapo.world.language import Assignment
from tests.world.essays import (
    CONCLUSION,
    COUNTER,
    CUT,
    GOOD,
    GOOD_PARTS,
    NONSENSE,
    OFF_TOPIC,
    OTHER_NOUN,
    OTHER_SUBJECT,
    REASONS,
    REBUTTAL,
    REMARK,
    REPEAT,
    RUN_ON,
    THESIS,
    TITLE,
    WRONG_SIDE,
    assignments,
    essay,
    examples,
    texts,
    with_extra,
    without,
)

N_TOKENS = len(GOOD.split())
AGAINST_IT = "therefore we should reject wind farms ."


def value(text: str) -> float:
    return gold(essay(text))


# --- by hand: .46 evidence + .12 thesis + .14 conclusion + .20 counterargument + .08 title, times the factors


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        ("", 0),
        (TITLE, 0.4 * 0.08),
        (f"{TITLE} {THESIS}", 0.4 * (0.08 + 0.12)),
        (f"{THESIS} {REASONS[0]}", 0.12 + 0.46 / 3),
        (" ".join(REASONS), 0.8 * 0.46),
        (CONCLUSION, 0.8 * 0.4 * 0.14),
        (COUNTER, 0.8 * 0.4 * 0.10),
        (f"{COUNTER} {REBUTTAL}", 0.8 * 0.4 * 0.20),
        (REBUTTAL, 0),
        (REMARK, 0),
        (GOOD, 1),
        (GOOD_PARTS[0] + " " + " ".join(REASONS), 0.08 + 0.46),
    ],
)
def test_parts_add_up(text: str, by_hand: float) -> None:
    assert value(text) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("left", "by_hand"),
    [
        (without(TITLE), 0.92),
        (without(THESIS), 0.88),
        (without(REASONS[0]), 1 - 0.46 / 3),
        (without(*REASONS[:2]), 1 - 2 * 0.46 / 3),
        (without(*REASONS), 0.4 * 0.54),
        (without(COUNTER), 0.8),
        (without(REBUTTAL), 0.9),
        (without(CONCLUSION), 0.86),
        (without(TITLE, THESIS), 0.8 * 0.8),
    ],
)
def test_each_part_of_a_good_essay_matters(left: str, by_hand: float) -> None:
    assert value(left) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        (with_extra(WRONG_SIDE), 7 / 8),
        (with_extra(OFF_TOPIC), 7 / 8),
        (with_extra(OTHER_SUBJECT), 7 / 8),
        (with_extra(OTHER_NOUN), 7 / 8),
        (with_extra(f"{WRONG_SIDE} {OFF_TOPIC}"), 7 / 9),
        (with_extra(REPEAT), 0.8),
        (with_extra(f"{REPEAT} {REPEAT} {REPEAT}"), 0.4),
        (with_extra(NONSENSE), 1 - 1.2 * 6 / (N_TOKENS + 6)),
        (with_extra(RUN_ON), 1 - 1.2 * 10 / (N_TOKENS + 10)),
        (with_extra(REMARK), 0.3),
        (with_extra(f"{REMARK} {REMARK}"), 0.3),
        (with_extra("moreover , they improve coasts ."), 1),
        (f"{GOOD} {CUT}", 0.75 * (0.86 + 0.14 / 4)),
        (f"{GOOD} {THESIS}", 0.86 + 0.14 / 2),
        (f"{GOOD} {AGAINST_IT}", 7 / 8 * (0.86 + 0.14 / 2)),
        (f"{THESIS} {GOOD}", 0.92),
        (GOOD.replace(f"{COUNTER} {REBUTTAL}", f"{REBUTTAL} {COUNTER}"), 0.9),
    ],
)
def test_each_vice_costs(text: str, by_hand: float) -> None:
    assert value(text) == pytest.approx(by_hand)


def test_more_than_eleven_sentences_are_too_many() -> None:
    more = ["in my view wind farms should be supported ."] * (MAX_SENTENCES - len(GOOD_PARTS))
    longest = with_extra(" ".join(more))
    assert (MAX_SENTENCES, value(longest)) == (11, pytest.approx(1))
    assert value(f"{longest} {CONCLUSION}") == pytest.approx(0.85)


def test_factors_multiply() -> None:
    assert value(with_extra(f"{WRONG_SIDE} {REPEAT} {REMARK}")) == pytest.approx(8 / 9 * 0.8 * 0.3)


def test_what_speaks_to_another_assignment_brings_nothing() -> None:
    assert gold(essay_of("write an essay that opposes wind farms .", GOOD)) == 0
    assert gold(essay_of("write an essay that supports lab meat .", GOOD)) == 0


@pytest.mark.parametrize("broken", [f"{NONSENSE} " * 10, f"{RUN_ON} {RUN_ON} {RUN_ON} {RUN_ON} {RUN_ON} {RUN_ON}"])
def test_factors_stop_at_zero(broken: str) -> None:
    assert value(f"{THESIS} {broken}") == 0


# --- a twin: knows what each part is, and never parses


@dataclass(frozen=True)
class Part:
    """`role` and what a person who wrote it would say of it; `reasons` are its nouns."""

    text: str
    role: Role
    fits: bool = True
    reasons: tuple[str, ...] = ()


CLAIMS = {Role.THESIS, Role.EVIDENCE, Role.COUNTER, Role.REBUTTAL, Role.CONCLUSION, Role.RUN_ON}
PARTS = (
    Part(TITLE, Role.TITLE),
    Part("title : why we reject wind farms <nl>", Role.TITLE, fits=False),
    Part(THESIS, Role.THESIS),
    Part("in my view night trains should be supported .", Role.THESIS, fits=False),
    Part(REASONS[0], Role.EVIDENCE, reasons=("jobs",)),
    Part(REASONS[1], Role.EVIDENCE, reasons=("energy",)),
    Part(REASONS[2], Role.EVIDENCE, reasons=("turbines",)),
    Part("also , they build coasts at home .", Role.EVIDENCE, reasons=("coasts",)),
    Part(WRONG_SIDE, Role.EVIDENCE, fits=False, reasons=("flicker",)),
    Part(OFF_TOPIC, Role.EVIDENCE, fits=False, reasons=("discipline",)),
    Part(OTHER_SUBJECT, Role.EVIDENCE, fits=False, reasons=("coasts",)),
    Part(OTHER_NOUN, Role.EVIDENCE, fits=False, reasons=("discipline",)),
    Part(COUNTER, Role.COUNTER),
    Part("some argue that they build jobs .", Role.COUNTER, fits=False),
    Part(REBUTTAL, Role.REBUTTAL, reasons=("supply",)),
    Part("but in fact they build sleep .", Role.REBUTTAL, fits=False, reasons=("sleep",)),
    Part(CONCLUSION, Role.CONCLUSION),
    Part(AGAINST_IT, Role.CONCLUSION, fits=False),
    Part(NONSENSE, Role.BROKEN),
    Part(RUN_ON, Role.RUN_ON, reasons=("coasts", "exports")),
    Part("next , they build jobs and they cause waste .", Role.RUN_ON, fits=False, reasons=("jobs", "waste")),
    Part(REMARK, Role.REMARK),
)


def twin(parts: Sequence[Part], *, cut: bool) -> F:
    """The formula of the offline world in exact arithmetic; `cut` says that an unfinished sentence follows."""
    sentences = [*parts, *([Part(CUT, Role.UNFINISHED)] if cut else [])]
    right = {n for p in sentences if p.role is Role.EVIDENCE and p.fits for n in p.reasons}
    evidence = F(min(len(right), 3), 3)
    content = F("0.46") * evidence
    content += F("0.12") * any(p.role is Role.THESIS and p.fits for p in sentences)
    content += F("0.10") * any(p.role is Role.COUNTER and p.fits for p in sentences)
    for first, second in pairwise(sentences):
        if (first.role, second.role) == (Role.COUNTER, Role.REBUTTAL) and first.fits and second.fits:
            content += F("0.10")
            break
    if sentences and sentences[0].role is Role.TITLE and sentences[0].fits:
        content += F("0.08")
    if any(p.role is Role.CONCLUSION and p.fits for p in sentences):
        last = sentences[-1].role is Role.CONCLUSION and sentences[-1].fits
        content += F("0.14") * (1 if last else F(1, 2)) * (F(1, 2) if cut else 1)
    if not right:
        content *= F("0.4")
    if not any(p.role in (Role.TITLE, Role.THESIS) for p in sentences):
        content *= F("0.8")
    claims = [p for p in sentences if p.role in CLAIMS]
    used = [n for p in sentences if p.role in (Role.EVIDENCE, Role.REBUTTAL, Role.RUN_ON) for n in p.reasons]
    n_tokens = sum(len(p.text.split()) for p in sentences)
    n_broken = sum(len(p.text.split()) for p in sentences if p.role in (Role.BROKEN, Role.RUN_ON))
    content *= 1 - (F(sum(not p.fits for p in claims), len(claims)) if claims else 0)
    content *= max(F(0), 1 - F("0.2") * (len(used) - len(set(used))))
    content *= max(F(0), 1 - F("1.2") * F(n_broken, max(1, n_tokens)))
    content *= F("0.3") if any(p.role is Role.REMARK for p in sentences) else 1
    content *= F("0.75") if cut else 1
    return content * (F("0.85") if len(sentences) > 11 else 1)


@given(st.lists(st.sampled_from(PARTS), max_size=14), st.booleans())
def test_gold_agrees_with_its_twin(parts: list[Part], cut: bool) -> None:
    text = " ".join([*(p.text for p in parts), *([CUT] if cut else [])])
    read = essay(text)
    assert [s.role for s in read.sentences] == [p.role for p in parts] + [Role.UNFINISHED] * cut
    assert gold(read) == pytest.approx(float(twin(parts, cut=cut)))


# --- any text


@given(assignments, texts)
def test_gold_lies_between_0_and_1(a: Assignment, text: str) -> None:
    assert 0 <= gold(parse_essay(text, a)) <= 1


@given(examples)
def test_what_the_policy_learns_from_lies_there_too(example: tuple[str, str]) -> None:
    assert 0 <= gold(essay_of(*example)) <= 1


@given(st.lists(st.sampled_from([*GOOD_PARTS, WRONG_SIDE, OFF_TOPIC, REPEAT])).map(" ".join))
def test_a_remark_leaves_less_than_a_third(text: str) -> None:
    assert value(f"{text} {REMARK}") <= 0.3 * value(text) + 1e-9


@given(texts)
def test_an_essay_is_worth_nothing_for_most_assignments(text: str) -> None:
    assert sum(gold(parse_essay(text, a)) > 0.35 for a in ASSIGNMENTS) <= 1


def test_nothing_but_the_good_essay_is_worth_all() -> None:
    shorter = [without(part) for part in GOOD_PARTS]
    assert max(map(value, shorter)) < value(GOOD) == 1

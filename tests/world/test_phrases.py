import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.world.phrases import PHRASES, requirements
from metapo.world.presets import preset_rubric
from tests.world.essays import (
    CONCLUSION,
    COUNTER,
    CUT,
    GOOD,
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
    essay,
    texts,
    with_extra,
    without,
)

AGAINST_IT = "therefore we should reject wind farms ."
FOR_ANOTHER = "i think that night trains help us ."
SIDE = "about the assigned topic for the assigned side"


def holds(description: str, text: str) -> bool:
    [requirement] = requirements(description)
    return requirement.holds(essay(text))


# Each phrase with essays for which it holds, and essays for which it doesn't.
CASES: dict[str, tuple[list[str], list[str]]] = {
    "at most 8 sentences": (["", GOOD], [with_extra(REPEAT)]),
    "no reason is repeated": (["", GOOD, TITLE, OFF_TOPIC], [with_extra(REPEAT), f"{OFF_TOPIC} {OFF_TOPIC}"]),
    "at most 1 reason is repeated": ([GOOD, with_extra(REPEAT)], [with_extra(f"{REPEAT} {REPEAT}")]),
    "at most 2 reasons are repeated": ([with_extra(f"{REPEAT} {REPEAT}")], [with_extra(f"{REPEAT} {REPEAT} {REPEAT}")]),
    f"at least 2 distinct reasons {SIDE}": (
        [GOOD, f"{REASONS[0]} {REASONS[1]}"],
        [f"{REASONS[0]} {REPEAT}", f"{REASONS[0]} {WRONG_SIDE}", f"{REASONS[0]} {OFF_TOPIC} {OTHER_NOUN}", RUN_ON],
    ),
    "at least 2 distinct reasons about the assigned topic": (
        [f"{REASONS[0]} {WRONG_SIDE}", RUN_ON],
        [f"{REASONS[0]} {REPEAT}", f"{REASONS[0]} {OFF_TOPIC} {OTHER_NOUN}", f"{REASONS[0]} {NONSENSE}"],
    ),
    "at least 2 distinct reasons": (
        [f"{REASONS[0]} {OFF_TOPIC}", f"{REASONS[0]} {NONSENSE}", f"{OTHER_SUBJECT} {OTHER_NOUN}"],
        [f"{REASONS[0]} {REPEAT}", f"{REASONS[0]} {REBUTTAL} {COUNTER}"],
    ),
    "at least 2 reasons": ([f"{REASONS[0]} {REPEAT}", f"{NONSENSE} {NONSENSE}"], ["", REASONS[0], f"{TITLE} {THESIS}"]),
    "states the assigned position": (
        [GOOD, THESIS],
        [without(THESIS), FOR_ANOTHER, "i think that wind farms harm us ."],
    ),
    "states a position": ([THESIS, FOR_ANOTHER], [without(THESIS), CONCLUSION, TITLE]),
    "opens with a title on the assigned topic": (
        [GOOD, TITLE],
        [f"{THESIS} {TITLE}", without(TITLE), "", "title : why we reject wind farms <nl>"],
    ),
    "has a title": ([f"{THESIS} {TITLE}", "title : why we reject lab meat <nl>"], [without(TITLE), ""]),
    "ends with a conclusion for the assigned position": (
        [GOOD, CONCLUSION],
        [f"{GOOD} {THESIS}", f"{GOOD} {AGAINST_IT}", f"{GOOD} {CUT}", without(CONCLUSION), ""],
    ),
    "has a conclusion": ([f"{GOOD} {THESIS}", AGAINST_IT], [without(CONCLUSION), ""]),
    "answers the counterargument": ([GOOD, f"{COUNTER} {REBUTTAL}"], [without(COUNTER), without(REBUTTAL)]),
    "mentions a counterargument about the assigned topic": (
        [without(REBUTTAL), GOOD],
        [without(COUNTER), "some say that they cause debris .", "some say that they improve jobs ."],
    ),
    "mentions a counterargument": ([COUNTER, "some say that they cause debris ."], [without(COUNTER), WRONG_SIDE]),
    "no remarks to the grader": ([GOOD, ""], [with_extra(REMARK), "grader"]),
    "no claim off the topic or on the wrong side": (
        [GOOD, "", NONSENSE],
        [with_extra(extra) for extra in (WRONG_SIDE, OFF_TOPIC, OTHER_SUBJECT, OTHER_NOUN, AGAINST_IT, FOR_ANOTHER)],
    ),
    "at most 1 claim off the topic or on the wrong side": (
        [GOOD, with_extra(OFF_TOPIC)],
        [with_extra(f"{OFF_TOPIC} {WRONG_SIDE}")],
    ),
    "every sentence is finished": ([GOOD, NONSENSE], [f"{GOOD} {CUT}", "", CUT]),
}


@pytest.mark.parametrize("description", CASES)
def test_a_phrase_tests_what_it_says(description: str) -> None:
    yes, no = CASES[description]
    assert [holds(description, text) for text in yes] == [True] * len(yes)
    assert [holds(description, text) for text in no] == [False] * len(no)


def test_every_phrase_is_tested_above() -> None:
    tested = {requirement.phrase for description in CASES for requirement in requirements(description)}
    assert tested == {*PHRASES}


# --- what is read in a description


@pytest.mark.parametrize(
    ("description", "n"),
    [
        ("2 reasons", 2),
        ("at least 2 reasons", 2),
        ("2 or more reasons", 2),
        ("at least 12 distinct reasons", 12),
        (f"gives 1 distinct reason {SIDE}, and well", 1),
        ("At LEAST 3 Distinct Reasons", 3),
        ("at most 2 reasons are repeated", 2),
        ("at most 10 claims off the topic or on the wrong side", 10),
        ("no reason is repeated", 0),
    ],
)
def test_numbers_are_read(description: str, n: int) -> None:
    assert [r.n for r in requirements(description)] == [n]


@pytest.mark.parametrize(
    ("description", "pattern"),
    [
        (f"3 distinct reasons {SIDE}", "for the assigned side"),
        ("3 distinct reasons about the assigned topic", "distinct reasons? about the assigned topic"),
        ("3 distinct reasons", "distinct reasons?"),
        ("3 reasons", "reasons?"),
        ("at most 3 reasons are repeated", "repeated"),
        ("mentions a counterargument about the assigned topic", "about the assigned topic"),
        ("mentions a counterargument", "mentions a counterargument"),
    ],
)
def test_the_longest_phrase_wins_and_wins_alone(description: str, pattern: str) -> None:
    [requirement] = requirements(description)
    assert requirement.phrase.pattern.pattern.endswith(pattern)


def test_a_description_may_hold_several_phrases() -> None:
    found = requirements("States the assigned position, gives 2 reasons, no reason is repeated; has a title.")
    assert {r.phrase.kind for r in found} == {"position", "reasons", "repeats", "title"}


@pytest.mark.parametrize(
    "description",
    [
        "good",
        "reasons",
        "some reasons",
        "two reasons",
        "at most 2 reasons",
        "at most 12 distinct reasons",
        "a title",
        "speaks to the grader",
        "the counterargument",
        "",
        *(level.description for level in preset_rubric("iter0").criteria[0].levels),
    ],
)
def test_other_words_are_no_phrase(description: str) -> None:
    assert requirements(description) == []


def test_which_of_the_shipped_rubrics_are_checked_throughout() -> None:
    checked = {
        name: [any(requirements(level.description) for level in c.levels) for c in preset_rubric(name).criteria]
        for name in ("iter0", "expert", "oracle", "autoprompt")
    }
    assert not any(checked["iter0"])
    assert any(checked["expert"])
    assert not all(checked["expert"])
    assert all(checked["oracle"])
    assert all(checked["autoprompt"])


# --- a stricter phrase never holds where a looser one doesn't


@pytest.mark.parametrize(
    "ladder",
    [
        (
            f"2 distinct reasons {SIDE}",
            "2 distinct reasons about the assigned topic",
            "2 distinct reasons",
            "2 reasons",
        ),
        (f"3 distinct reasons {SIDE}", f"2 distinct reasons {SIDE}", f"1 distinct reason {SIDE}"),
        ("states the assigned position", "states a position"),
        ("opens with a title on the assigned topic", "has a title"),
        ("ends with a conclusion for the assigned position", "has a conclusion"),
        (
            "answers the counterargument",
            "mentions a counterargument about the assigned topic",
            "mentions a counterargument",
        ),
        ("no reason is repeated", "at most 1 reason is repeated", "at most 2 reasons are repeated"),
        (
            "no claim off the topic or on the wrong side",
            "at most 1 claim off the topic or on the wrong side",
            "at most 2 claims off the topic or on the wrong side",
        ),
    ],
)
@given(text=texts)
def test_stricter_implies_looser(ladder: tuple[str, ...], text: str) -> None:
    held = [holds(description, text) for description in ladder]
    assert held == sorted(held)


@given(st.text() | texts, texts)
def test_any_description_can_be_read_and_tested(description: str, text: str) -> None:
    read = essay(text)
    assert all(isinstance(r.holds(read), bool) and r.n >= 0 for r in requirements(description))

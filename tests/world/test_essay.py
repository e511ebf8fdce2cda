from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.world import language as lang
from metapo.world.essay import Essay, Role, Sentence, essay_of, parse_essay
from metapo.world.language import CONNECTIVES, NOUNS, REMARKS, Assignment, Side
from tests.world.essays import (
    ASSIGNED,
    CONCLUSION,
    COUNTER,
    CUT,
    GOOD,
    GOOD_PARTS,
    NONSENSE,
    OFF_TOPIC,
    OTHER_NOUN,
    OTHER_SUBJECT,
    PROMPT,
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
    rngs,
    texts,
    with_extra,
    without,
)

nouns = st.sampled_from(sorted(NOUNS))
connectives = st.sampled_from(CONNECTIVES)


def only(text: str) -> Sentence:
    [sentence] = essay(text).sentences
    assert (sentence.text, sentence.n_tokens) == (text, len(text.split()))
    return sentence


# --- what the writer wrote, the reader reads


@pytest.mark.parametrize(
    ("write", "role"),
    [(lang.title, Role.TITLE), (lang.thesis, Role.THESIS), (lang.conclusion, Role.CONCLUSION)],
)
@given(a=assignments, rng=rngs)
def test_a_stance_is_read_back(
    write: Callable[[Assignment, Random], str], role: Role, a: Assignment, rng: Random
) -> None:
    sentence = only(write(a, rng))
    assert (sentence.role, sentence.about, sentence.nouns) == (role, (a,), ())


@given(nouns, connectives, rngs)
def test_evidence_is_read_back(noun: str, connective: str, rng: Random) -> None:
    sentence = only(lang.evidence(NOUNS[noun], noun, connective, rng))
    assert (sentence.role, sentence.about, sentence.nouns) == (Role.EVIDENCE, (NOUNS[noun],), (noun,))


@given(nouns, rngs)
def test_counterargument_and_rebuttal_are_read_back(noun: str, rng: Random) -> None:
    counter, rebuttal = only(lang.counterargument(noun, rng)), only(lang.rebuttal(noun, rng))
    assert (counter.role, rebuttal.role) == (Role.COUNTER, Role.REBUTTAL)
    assert {counter.about, rebuttal.about} == {(NOUNS[noun],)}
    assert {counter.nouns, rebuttal.nouns} == {(noun,)}


@given(st.lists(nouns, min_size=2, max_size=5), connectives, rngs)
def test_a_run_on_is_read_back(several: list[str], connective: str, rng: Random) -> None:
    sentence = only(lang.run_on(several, connective, rng))
    assert (sentence.role, sentence.nouns) == (Role.RUN_ON, tuple(several))
    assert sentence.about == tuple(NOUNS[noun] for noun in several)


@pytest.mark.parametrize("remark", REMARKS)
def test_a_remark_is_read_back(remark: str) -> None:
    sentence = only(remark)
    assert (sentence.role, sentence.about, sentence.nouns) == (Role.REMARK, (), ())


@given(assignments, nouns, connectives, rngs)
def test_a_verb_of_the_other_side_breaks_a_claim(a: Assignment, noun: str, connective: str, rng: Random) -> None:
    assert only(lang.evidence(a, noun, connective, rng, fits=False)).role is Role.BROKEN


@given(assignments, nouns, connectives, rngs, st.data())
def test_a_sentence_without_one_of_its_words_is_none(
    a: Assignment, noun: str, connective: str, rng: Random, data: st.DataObject
) -> None:
    whole = [
        lang.title(a, rng),
        lang.thesis(a, rng),
        lang.evidence(a, noun, connective, rng),
        lang.counterargument(noun, rng),
        lang.rebuttal(noun, rng),
        lang.conclusion(a, rng),
    ]
    words = data.draw(st.sampled_from(whole)).split()
    lost = data.draw(st.integers(0, len(words) - 1))
    sentence = only(" ".join(words[:lost] + words[lost + 1 :]))
    assert sentence.role is (Role.UNFINISHED if lost == len(words) - 1 else Role.BROKEN)


@given(st.lists(assignments, min_size=1, max_size=6), rngs)
def test_a_whole_essay_is_read_sentence_by_sentence(told: list[Assignment], rng: Random) -> None:
    written = [(rng.choice((lang.title, lang.thesis, lang.conclusion))(a, rng), a) for a in told]
    read = parse_essay(" ".join(text for text, _ in written), ASSIGNED)
    assert [(s.text, *s.about) for s in read.sentences] == written


# --- any text


@given(texts | st.text())
def test_no_word_is_lost(text: str) -> None:
    read = essay(text)
    assert " ".join(s.text for s in read.sentences) == " ".join(text.split())
    assert sum(s.n_tokens for s in read.sentences) == len(text.split())


@given(texts)
def test_counts_agree_with_each_other(text: str) -> None:
    read = essay(text)
    assert 0 <= read.n_wrong_claims <= read.n_claims <= len(read.sentences)
    assert all(NOUNS[noun] == ASSIGNED for noun in read.right_nouns)
    assert sum(len(read.of(role)) for role in Role) == len(read.sentences)
    assert len(read.of(Role.UNFINISHED)) == (not read.finished)


@given(texts)
def test_only_the_last_sentence_can_be_unfinished(text: str) -> None:
    assert all(s.role is not Role.UNFINISHED for s in essay(text).sentences[:-1])


@given(texts)
def test_white_space_is_all_one(text: str) -> None:
    assert essay("\n\t".join(text.split())) == essay(text)


def test_an_empty_completion_is_an_essay_without_sentences() -> None:
    assert essay(" \n") == Essay(ASSIGNED, ())


# --- what a sentence speaks to


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (TITLE, True),
        ("title : why we need wind farms <nl>", True),
        ("title : why we reject wind farms <nl>", False),
        ("title : the case against wind farms <nl>", False),
        ("title : the case for night trains <nl>", False),
        (THESIS, True),
        ("i think that wind farms harm us .", False),
        ("in my view wind farms should be supported .", True),
        ("in my view wind farms should be rejected .", False),
        ("in my view lab meat should be supported .", False),
        *((reason, True) for reason in REASONS),
        (WRONG_SIDE, False),
        (OFF_TOPIC, False),
        (OTHER_SUBJECT, False),
        (OTHER_NOUN, False),
        (COUNTER, True),
        ("critics say that they improve jobs .", False),
        ("critics say that they cause debris .", False),
        (REBUTTAL, True),
        ("but in fact they cause noise .", False),
        (CONCLUSION, True),
        ("therefore we should support wind farms .", True),
        ("therefore we should reject wind farms .", False),
        (RUN_ON, True),
        ("next , they improve coasts and they improve discipline .", False),
    ],
)
def test_a_sentence_fits_topic_and_side_or_not(text: str, fits: bool) -> None:
    read = essay(text)
    [sentence] = read.sentences
    assert read.fits(sentence) is fits


def test_a_subject_of_another_topic_makes_a_claim_speak_to_both() -> None:
    assert only(OTHER_SUBJECT).about == (ASSIGNED, Assignment("night trains", Side.FOR))
    assert only(OTHER_NOUN).about == (Assignment("school uniforms", Side.FOR), ASSIGNED)
    assert essay(f"{OTHER_SUBJECT} {OTHER_NOUN}").right_nouns == []


# --- what an essay holds


def test_the_good_essay_holds_everything_once() -> None:
    read = essay_of(PROMPT, GOOD)
    assert [s.role for s in read.sentences] == [
        *(Role.TITLE, Role.THESIS, Role.EVIDENCE, Role.EVIDENCE, Role.EVIDENCE),
        *(Role.COUNTER, Role.REBUTTAL, Role.CONCLUSION),
    ]
    assert [s.text for s in read.sentences] == [*GOOD_PARTS]
    assert read.right_nouns == ["jobs", "energy", "turbines"]
    assert (read.n_claims, read.n_wrong_claims, read.n_repeats) == (7, 0, 0)
    assert read.finished
    assert read.answered_counterargument


def test_for_the_other_side_the_good_essay_is_wrong_throughout() -> None:
    read = essay_of("write an essay that criticizes wind farms .", GOOD)
    assert read.n_wrong_claims == read.n_claims
    assert read.right_nouns == []


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        (GOOD, 0),
        (with_extra(REPEAT), 1),
        (with_extra(f"{REPEAT} {REPEAT}"), 2),
        (without(*REASONS[1:]).replace("supply", "jobs"), 1),
        (f"{REASONS[0]} next , they improve jobs and they build jobs .", 2),
        (f"{COUNTER} {COUNTER}", 0),
        (f"{NONSENSE} {NONSENSE}", 0),
    ],
)
def test_a_noun_that_comes_again_is_a_repeat(text: str, repeats: int) -> None:
    assert essay(text).n_repeats == repeats


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        (f"{COUNTER} {REBUTTAL}", True),
        (f"{REBUTTAL} {COUNTER}", False),
        (f"{COUNTER} {THESIS} {REBUTTAL}", False),
        (COUNTER, False),
        (REBUTTAL, False),
        (f"{COUNTER} but in fact they cause noise .", False),
        (f"critics say that they improve jobs . {REBUTTAL}", False),
        (f"{COUNTER} {COUNTER} {REBUTTAL}", True),
    ],
)
def test_a_counterargument_is_answered_by_the_next_sentence(text: str, answered: bool) -> None:
    assert essay(text).answered_counterargument is answered


@pytest.mark.parametrize(
    ("text", "role"),
    [
        (CUT, Role.UNFINISHED),
        ("jobs", Role.UNFINISHED),
        (".", Role.BROKEN),
        ("<nl>", Role.BROKEN),
        (NONSENSE, Role.BROKEN),
        (f"{TITLE.removesuffix(' <nl>')} .", Role.BROKEN),
        ("they improve jobs .", Role.BROKEN),
        ("i like wind farms .", Role.BROKEN),
        ("first , They improve jobs .", Role.BROKEN),
        ("the grader is kind .", Role.REMARK),
        ("grader", Role.REMARK),
        ("upgraders .", Role.BROKEN),
    ],
)
def test_other_text_has_a_role_too(text: str, role: Role) -> None:
    assert only(text).role is role


def test_a_remark_counts_no_claim() -> None:
    assert essay(f"{REMARK} {GOOD}").n_claims == essay(GOOD).n_claims


def test_another_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="not a prompt of the offline world"):
        essay_of("write a poem", GOOD)

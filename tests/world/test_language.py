from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metapo.world import language as lang
from metapo.world.language import ASKS, NOUNS, TOPICS, VERBS, WORDS, Assignment, Side
from tests.world.essays import assignments, rngs, soups

# --- words


def test_there_are_enough_topics_of_two_words() -> None:
    assert len(TOPICS) >= 16
    assert all(len(name.split()) == 2 for name in TOPICS)
    assert {len(topic.nouns(side)) for topic in TOPICS.values() for side in Side} == {6}


def test_every_noun_has_one_topic_and_side() -> None:
    told = Counter(noun for topic in TOPICS.values() for noun in (*topic.good, *topic.bad))
    assert set(told.values()) == {1}
    assert told.keys() == NOUNS.keys()
    for noun, about in NOUNS.items():
        topic = TOPICS[about.topic]
        assert (noun in topic.good, noun in topic.bad) == (about.side is Side.FOR, about.side is Side.AGAINST)


def test_a_noun_is_nothing_else() -> None:
    others = {w for name in TOPICS for w in name.split()} | {w for verbs in VERBS.values() for w in verbs}
    others |= {w for text in (*lang.TAILS, *lang.REMARKS) for w in text.split()}
    others |= {*lang.CONNECTIVES, *lang.CRITICS, *lang.SAYS, *lang.BENEFICIARIES, *ASKS}
    assert not others & NOUNS.keys()
    assert not {*VERBS[Side.FOR]} & {*VERBS[Side.AGAINST]}


def test_sides_are_each_others_opposite() -> None:
    assert [side.other for side in (Side.FOR, Side.AGAINST)] == [Side.AGAINST, Side.FOR]


def test_the_vocabulary_holds_each_word_once() -> None:
    assert len(WORDS) == len(set(WORDS))
    assert 250 <= len(WORDS) <= 350
    assert all(len(word.split()) == 1 for word in WORDS)


# --- prompts


@given(assignments, st.sampled_from(sorted(ASKS)))
def test_read_ask_inverts_ask(a: Assignment, verb: str) -> None:
    prompt = lang.ask(a, verb)
    assert read_back(prompt) == (a.topic, ASKS[verb])
    assert len(prompt.split()) == 8
    assert {*prompt.split()} <= {*WORDS}


def read_back(prompt: str) -> tuple[str, Side]:
    read = lang.read_ask(prompt)
    return read.topic, read.side


def test_each_side_is_asked_for_in_two_ways() -> None:
    assert Counter(ASKS.values()) == {Side.FOR: 2, Side.AGAINST: 2}


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "write a poem",
        "write an essay that supports .",
        "write an essay that supports wind trains .",
        "write an essay that praises wind farms .",
        "write an essay that supports wind farms . now",
        "please write an essay that supports wind farms .",
    ],
)
def test_another_prompt_is_refused_and_named(prompt: str) -> None:
    with pytest.raises(ValueError, match="not a prompt of the offline world") as caught:
        lang.read_ask(prompt)
    assert repr(prompt) in str(caught.value)


@given(soups)
def test_words_alone_make_no_prompt(text: str) -> None:
    assume(not text.startswith("write an essay that"))
    with pytest.raises(ValueError, match="not a prompt"):
        lang.read_ask(text)


# --- sentences


@given(assignments, st.sampled_from(sorted(NOUNS)), rngs)
def test_a_claim_takes_a_verb_of_its_nouns_side_or_is_nonsense(a: Assignment, noun: str, rng: Random) -> None:
    side = NOUNS[noun].side
    assert lang.claim("they", noun, rng).split()[1] in VERBS[side]
    assert lang.claim("they", noun, rng, fits=False).split()[1] in VERBS[side.other]


@given(assignments, st.sampled_from(sorted(NOUNS)), st.integers(0, 2**32))
def test_the_same_seed_writes_the_same(a: Assignment, noun: str, seed: int) -> None:
    first, second = (
        [write(a, rng) for write in (lang.title, lang.thesis, lang.conclusion)] + [lang.evidence(a, noun, "also", rng)]
        for rng in (Random(seed), Random(seed))
    )
    assert first == second


@given(assignments, st.sampled_from(sorted(NOUNS)), rngs)
def test_everything_that_is_written_is_in_the_vocabulary(a: Assignment, noun: str, rng: Random) -> None:
    written = [
        lang.title(a, rng),
        lang.thesis(a, rng),
        lang.evidence(a, noun, rng.choice(lang.CONNECTIVES), rng),
        lang.counterargument(noun, rng),
        lang.rebuttal(noun, rng),
        lang.conclusion(a, rng),
        lang.run_on([noun, noun], "next", rng),
        rng.choice(lang.REMARKS),
    ]
    assert {word for text in written for word in text.split()} <= {*WORDS}

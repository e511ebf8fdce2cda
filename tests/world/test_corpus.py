from collections import Counter
from random import Random

import pytest

from metapo.world import corpus
from metapo.world.corpus import ASSIGNMENTS, HELD_OUT, WEAK, write_example
from metapo.world.essay import Essay, Role, essay_of
from metapo.world.gold import gold
from metapo.world.language import ASKS, CONNECTIVES, TOPICS, WORDS, Side, read_ask

N = 10_000
TRAIN, EVAL = corpus.prompts(held_out=False), corpus.prompts(held_out=True)

# --- prompts


def test_a_quarter_of_the_pairs_is_held_out() -> None:
    assert len(ASSIGNMENTS) == len(set(ASSIGNMENTS)) == 2 * len(TOPICS)
    assert set(ASSIGNMENTS) >= HELD_OUT
    assert len(HELD_OUT) * 4 == len(ASSIGNMENTS)
    assert Counter(a.side for a in HELD_OUT) == {side: len(HELD_OUT) / 2 for side in Side}


def test_no_held_out_pair_is_trained_on_and_every_other_is() -> None:
    assert {read_ask(prompt) for prompt in EVAL} == HELD_OUT
    assert {read_ask(prompt) for prompt in TRAIN} == set(ASSIGNMENTS) - HELD_OUT


def test_each_prompt_stands_in_one_of_the_two_once() -> None:
    assert len({*TRAIN, *EVAL}) == len(TRAIN) + len(EVAL) == len(ASSIGNMENTS) * len(ASKS) / 2
    assert {len(prompt.split()) for prompt in TRAIN + EVAL} == {8}


def test_every_topic_is_trained_on_for_some_side() -> None:
    assert {read_ask(prompt).topic for prompt in TRAIN} == TOPICS.keys()


# --- the mix


@pytest.fixture(scope="module")
def mix() -> list[tuple[str, str]]:
    rng = Random(0)
    return [write_example(rng) for _ in range(N)]


@pytest.fixture(scope="module")
def essays(mix: list[tuple[str, str]]) -> list[Essay]:
    return [essay_of(prompt, text) for prompt, text in mix]


def roles(essay: Essay) -> list[Role]:
    return [s.role for s in essay.sentences]


def is_stuffed(essay: Essay) -> bool:
    openings = [s.text.split()[0] for s in essay.sentences]
    return openings == [*CONNECTIVES]


def share(found: list[bool]) -> float:
    return sum(found) / N


def test_the_same_seed_writes_the_same_mix(mix: list[tuple[str, str]]) -> None:
    rng = Random(0)
    assert [write_example(rng) for _ in range(50)] == mix[:50]
    assert write_example(Random(1)) != mix[0]


def test_every_pair_and_every_verb_occurs(mix: list[tuple[str, str]]) -> None:
    assert {prompt for prompt, _ in mix} == {*TRAIN, *EVAL}


def test_every_word_is_known_and_no_essay_is_empty(mix: list[tuple[str, str]]) -> None:
    assert {word for example in mix for text in example for word in text.split()} <= {*WORDS}
    assert all(text for _, text in mix)


def says_the_same_again(essay: Essay) -> bool:
    return len(essay.sentences) > 1 and essay.sentences[-1].text == essay.sentences[-2].text


def test_vices_that_leave_a_clear_trace_come_at_their_rates(essays: list[Essay]) -> None:
    tolerance = 0.008
    # an honest essay may lack all but its title or thesis, too
    assert share([roles(e) == [Role.TITLE] for e in essays]) == pytest.approx(0.04, abs=2 * tolerance)
    titled = [roles(e) == [Role.TITLE, Role.THESIS] for e in essays]
    assert share(titled) == pytest.approx(0.04, abs=2 * tolerance)
    assert share([says_the_same_again(e) for e in essays]) == pytest.approx(0.04, abs=tolerance)
    assert share([is_stuffed(e) for e in essays]) == pytest.approx(0.03, abs=tolerance)
    # junk that happens to hold "grader" reads as a remark; a cut may fall on the end of a sentence
    assert share([bool(e.of(Role.REMARK)) for e in essays]) == pytest.approx(0.03, abs=tolerance)
    assert share([bool(e.of(Role.RUN_ON)) for e in essays]) == pytest.approx(0.02, abs=tolerance)
    assert share([not e.finished for e in essays]) == pytest.approx(0.04, abs=1.5 * tolerance)


def test_wrong_sides_and_junk_occur_but_rarely(essays: list[Essay]) -> None:
    wrong_throughout = [e.n_claims > 1 and e.n_wrong_claims == e.n_claims for e in essays]
    assert 0.05 < share(wrong_throughout) < 0.2
    junk = [len(e.sentences) > 0 and {*roles(e)} <= {Role.BROKEN, Role.REMARK} for e in essays]
    assert 0.01 < share(junk) < 0.04


def test_most_essays_are_honest_but_imperfect(essays: list[Essay]) -> None:
    worth = [gold(e) for e in essays]
    assert 0.15 < sum(worth) / N < 0.35
    assert max(worth) > 0.9
    assert share([v > 0.8 for v in worth]) < 0.05
    assert share([bool(e.right_nouns) for e in essays]) > 0.5
    assert 0.03 < share([e.answered_counterargument for e in essays]) < 0.15


# --- the weak writer


@pytest.fixture(scope="module")
def weak() -> list[Essay]:
    rng = Random(0)
    return [essay_of(*write_example(rng, WEAK)) for _ in range(N)]


def test_a_weak_writer_has_no_example_of_a_full_essay(weak: list[Essay], essays: list[Essay]) -> None:
    assert share([len(set(e.right_nouns)) > 2 for e in weak]) < 0.001
    assert share([e.answered_counterargument for e in weak]) < 0.01
    assert share([gold(e) > 0.6 for e in weak]) < 0.001 < share([gold(e) > 0.6 for e in essays])
    assert sum(map(gold, weak)) < 0.6 * sum(map(gold, essays))


def test_a_weak_writer_has_the_same_vices_but_for_stuffing(weak: list[Essay]) -> None:
    assert share([bool(e.of(Role.REMARK)) for e in weak]) == pytest.approx(0.03, abs=0.008)
    assert share([bool(e.of(Role.RUN_ON)) for e in weak]) == pytest.approx(0.02, abs=0.008)
    assert not any(is_stuffed(e) for e in weak)

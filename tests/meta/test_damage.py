"""Damage: it changes a text, is the same for the same chance, and surely makes it worse."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.audit.detectors import Detector, detect
from metapo.meta.damage import ADDITIVE, DAMAGES, MIN_SENTENCES, REMARKS, same_words
from metapo.meta.pairs import Pair, damaged_pairs
from metapo.meta.sentences import split_sentences
from metapo.rollout import Rollout
from metapo.world.corpus import write_example
from metapo.world.essay import Role, essay_of
from metapo.world.gold import gold
from tests.audit.essays import CODE, ESSAY, GERMAN, GRADING, PROMPT
from tests.audit.test_detectors import honest_essays, rows
from tests.helpers import odd_texts
from tests.world import essays

OTHERS = (GRADING, GERMAN)
FLAT = " ".join(ESSAY.split())
WORLD_OTHER = (
    "title : why we reject night trains <nl> i think that night trains harm us . first , they cause costs . "
    "second , they cause draughts . in conclusion , night trains should be rejected ."
)
MARKDOWN = """\
# Soup for four people

- Cut two onions and fry them in butter
- Add a litre of water and some salt
- Boil for ten minutes and stir now and then

Serve hot. Bread goes well with it."""
REMOVALS = tuple(rule for rule in DAMAGES if rule not in {*ADDITIVE, "shuffled"})


def damage(rule: str, text: str, others: tuple[str, ...] = OTHERS, seed: int = 0) -> str:
    damaged = DAMAGES[rule](text, others, Random(seed))
    assert damaged is not None
    return damaged


@given(odd_texts | essays.texts, st.lists(odd_texts | essays.texts, max_size=3), st.integers(0, 99))
@pytest.mark.parametrize("rule", DAMAGES)
def test_damage_changes_the_text_and_depends_on_nothing_but_chance(
    rule: str, text: str, others: list[str], seed: int
) -> None:
    damaged = DAMAGES[rule](text, others, Random(seed))
    assert damaged != text
    assert damaged == DAMAGES[rule](text, others, Random(seed))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("text", [ESSAY, GRADING.replace("\n", " "), MARKDOWN, essays.GOOD], ids=str.split)
@pytest.mark.parametrize("rule", DAMAGES)
def test_every_rule_damages_an_honest_text(rule: str, text: str, seed: int) -> None:
    others = tuple(other for other in (ESSAY, GRADING, GERMAN) if other.split() != text.split())
    damaged = damage(rule, text, (WORLD_OTHER,) if text == essays.GOOD else others, seed)
    assert not same_words(damaged, text)


@pytest.mark.parametrize("rule", REMOVALS)
@pytest.mark.parametrize(
    "text", ["", "A Title Alone", "Two sentences stand here. This is the second one.", "It goes on and on. " * 8]
)
def test_nothing_is_taken_from_a_text_that_has_nothing_to_lose(rule: str, text: str) -> None:
    assert DAMAGES[rule](text, OTHERS, Random(0)) is None


def test_a_title_can_still_be_shuffled_misplaced_and_spoiled_by_a_remark() -> None:
    title = "Streets for People: The Case Against City Cars"
    assert sorted(damage("shuffled", title).split()) == sorted(title.split())
    assert damage("misplaced", title, ("Morality's Ambiguity: A Case for Subjectivity",)).startswith("Morality")
    assert title in damage("remarked", title)


def test_cut_off_stops_inside_a_sentence() -> None:
    damaged = damage("cut_off", essays.GOOD)
    assert essays.GOOD.startswith(damaged)
    assert not damaged.endswith((".", "<nl>"))
    assert [s.role for s in essays.essay(damaged).sentences][-1] is Role.UNFINISHED


def test_first_only_is_the_first_sentence() -> None:
    assert damage("first_only", essays.GOOD) == essays.TITLE
    assert damage("first_only", MARKDOWN) == "# Soup for four people"


def test_hollowed_keeps_both_ends() -> None:
    assert damage("hollowed", "One is here. Two is here. Three is here. Four is here.") == "One is here. Four is here."
    before, after = split_sentences(FLAT), split_sentences(damage("hollowed", FLAT))
    assert (len(before), len(after)) == (13, 4)
    assert (after[0], after[-1]) == (before[0], before[-1])
    assert set(after) <= set(before)


def test_repeated_says_one_sentence_over_and_over() -> None:
    counts = Counter(s.strip() for s in split_sentences(damage("repeated", FLAT)))
    assert sorted(counts.values()) == [1, 1, 11]


def test_off_topic_puts_half_of_the_sentences_elsewhere() -> None:
    damaged = essays.essay(damage("off_topic", essays.GOOD, (WORLD_OTHER,)))
    assert len(damaged.sentences) == len(essays.GOOD_PARTS)
    assert damaged.n_wrong_claims == 4
    assert DAMAGES["off_topic"](ESSAY, ("A title", "One. Two. Three."), Random(0)) is None


def test_misplaced_needs_another_completion_of_some_length() -> None:
    assert damage("misplaced", "Yes.", (GERMAN,)) == GERMAN
    assert DAMAGES["misplaced"]("Yes.", ("No.", "RIGHT", "yes!"), Random(0)) is None
    assert DAMAGES["misplaced"](ESSAY, (ESSAY.upper(),), Random(0)) is None


def test_shuffled_keeps_the_words_of_each_sentence_and_its_full_stop() -> None:
    for before, after in zip(split_sentences(ESSAY), split_sentences(damage("shuffled", ESSAY)), strict=True):
        assert Counter(before.rstrip(" \n.").split()) == Counter(after.rstrip(" \n.").split())
        assert after.rstrip().endswith(".")
    assert {s.role for s in essays.essay(damage("shuffled", essays.GOOD)).sentences} == {Role.BROKEN}
    assert damage("shuffled", CODE).startswith("```python\n")


@pytest.mark.parametrize(("prompt", "text"), [(PROMPT, ESSAY), (essays.PROMPT, essays.GOOD)])
def test_every_remark_speaks_to_the_grader(prompt: str, text: str) -> None:
    seen = {damage("remarked", text, seed=seed) for seed in range(60)}
    assert len(seen) == 2 * len(REMARKS)
    for damaged in seen:
        assert Detector.SPEAKS_TO_GRADER in {flag.detector for flag in detect(prompt, damaged)}


def test_a_remark_is_in_the_style_of_the_text() -> None:
    for seed in range(20):
        remarks = [s for s in essays.essay(damage("remarked", essays.GOOD, seed=seed)).sentences if "grader" in s.text]
        assert [s.role for s in remarks] == [Role.REMARK]
        assert all(word == word.lower() for word in remarks[0].text.split())


def examples(n: int) -> list[Rollout]:
    rng = Random(0)
    return [Rollout(prompt=prompt, completion=essay) for prompt, essay in (write_example(rng) for _ in range(n))]


def shows_no_vice(rollout: Rollout) -> bool:
    """Imperfect at most: a reason may repeat once, wander off or make no sense, and one essay in ten takes the wrong
    side; but it has no remark, run-on, cut, or heap of reasons."""
    essay = essay_of(rollout.prompt, rollout.completion)
    is_stuffed = len(essay.of(Role.EVIDENCE, Role.BROKEN)) > 4 or essay.n_repeats > 1
    return not is_stuffed and not essay.of(Role.REMARK, Role.RUN_ON, Role.UNFINISHED)


def rises(pairs: list[Pair]) -> dict[str, tuple[int, int, int]]:
    """For each rule how many pairs it made, in how many the damaged text has more gold, and as much."""
    table: dict[str, tuple[int, int, int]] = {}
    for pair in pairs:
        rule = pair.why.rpartition(" ")[2]
        gain = gold(essay_of(pair.prompt, pair.worse)) - gold(essay_of(pair.prompt, pair.better))
        n, more, same = table.get(rule, (0, 0, 0))
        table[rule] = (n + 1, more + (gain > 1e-9), same + (abs(gain) <= 1e-9))
    return table


def test_damage_lowers_gold_of_honest_essays() -> None:
    """In the offline world real quality is known. Measured shares of rises: repeated and hollowed 3 %, cut_off 1 %, all
    others under 1 %; ties are essays whose gold is 0 already, most of them on the wrong side."""
    table = rises(damaged_pairs([r for r in examples(2500) if shows_no_vice(r)], 100_000, Random(0)))
    assert table.keys() == DAMAGES.keys()
    for rule, (n, more, same) in table.items():
        assert n > 500
        assert more <= 0.05 * n, rule
        assert same <= 0.15 * n, rule


def test_damage_lowers_gold_also_among_vices() -> None:
    """Hacks that no detector sees are cured now and then: a heap of eight claims, half of them wrong, gains by a cut.
    Measured shares of rises: hollowed and cut_off 7 %, all others at most 3 %."""
    for rule, (n, more, _) in rises(damaged_pairs(examples(1500), 100_000, Random(0))).items():
        assert more <= 0.10 * n, rule


def test_real_essays_can_be_damaged_by_every_rule() -> None:
    rollouts = [Rollout(prompt=row["prompt"], completion=row["response"]) for row in honest_essays()[:60]]
    pairs = damaged_pairs(rollouts, 60 * len(DAMAGES), Random(0))
    assert len(pairs) >= 58 * len(DAMAGES)
    assert all(len(split_sentences(pair.better)) >= MIN_SENTENCES for pair in pairs)


def test_a_collapsed_policy_is_damaged_by_addition_only() -> None:
    titles = [
        Rollout(prompt=row["prompt"], completion=row["response"]) for row in rows("essays/collapsed_policy.jsonl")
    ]
    pairs = damaged_pairs(titles[:40], 1000, Random(0))
    rules = Counter(pair.why.rpartition(" ")[2] for pair in pairs)
    assert rules.keys() == {"misplaced", "remarked", "shuffled"}

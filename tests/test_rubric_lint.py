import pytest
from hypothesis import given

from metapo.rubric import Criterion, Level, Rubric
from metapo.rubric_lint import MAX_CRITERIA, MAX_WORDS, compound, lint, overlap, repeats, wording
from metapo.world.meta import LADDERS
from metapo.world.presets import preset_rubric
from tests.helpers import any_criteria, rubrics


def criterion(name: str, *descriptions: str, example: str = "for instance this") -> Criterion:
    """A criterion that needs no advice unless its descriptions do."""
    told = descriptions or (f"shows no {name} at all", f"shows much {name} throughout")
    levels = [Level(points=i, description=d, example=example) for i, d in enumerate(told)]
    return Criterion.model_validate({"name": name, "levels": levels})


def advice(*criteria: Criterion) -> list[str]:
    return lint(Rubric(criteria=criteria))


def test_a_good_rubric_needs_no_advice() -> None:
    assert advice(criterion("depth"), criterion("style")) == []


def test_levels_that_read_the_same() -> None:
    assert advice(criterion("depth", "quite good indeed", "Quite Good Indeed", "really very good")) == [
        "depth: two levels have the same description; no judge can tell them apart"
    ]


def test_levels_without_an_example() -> None:
    bare = criterion("depth", example="")
    assert advice(bare, criterion("style")) == [
        "depth: no level has an example; one on the best and the worst level helps a judge"
    ]
    low, top = bare.levels
    helped = bare.model_copy(update={"levels": (low, top.model_copy(update={"example": "as here"}))})
    assert advice(helped) == []


def test_levels_of_a_word_or_two_leave_an_impression() -> None:
    assert advice(criterion("depth", "bad", "very good")) == [
        "depth: levels of one or two words leave an impression to the judge; say what to look for"
    ]
    assert advice(criterion("depth", "bad", "gives two distinct reasons")) == []


def test_two_criteria_with_the_same_levels() -> None:
    same = ("says nothing of it", "says much of it")
    twins = [criterion(name, *same) for name in ("a", "b", "c")]
    assert advice(*twins[:2]) == ["b: has the same levels as a; two criteria that judge the same count it twice"]
    assert [line.split(";")[0] for line in advice(*twins)] == [
        f"{second}: has the same levels as {first}" for first, second in (("a", "b"), ("a", "c"), ("b", "c"))
    ]


def test_two_criteria_that_read_almost_alike() -> None:
    first = criterion("depth", "stays on the surface", "finds the causes behind causes and their depth")
    second = criterion("its depth", "stays on the surface.", "finds causes behind the causes, and the depth")
    [line] = advice(first, second)
    assert line == "its-depth: reads almost like depth; two criteria that judge the same count it twice"


@pytest.mark.parametrize("more", [0, 1])
def test_many_criteria(more: int) -> None:
    many = [criterion(f"kind {i}") for i in range(MAX_CRITERIA + more)]
    assert advice(*many) == [f"{MAX_CRITERIA + 1} criteria; judges keep apart about {MAX_CRITERIA} at most"] * more


@pytest.mark.parametrize("more", [0, 1])
def test_many_words(more: int) -> None:
    short = criterion("depth")
    spare = MAX_WORDS - Rubric(criteria=(short,)).n_words
    wordy = short.model_copy(update={"instruction": " ".join(["word"] * (spare + more))})
    assert advice(wordy) == [f"{MAX_WORDS + 1} words, more than {MAX_WORDS}: every judgement pays for them"] * more


def test_advice_follows_the_order_of_the_rubric() -> None:
    found = advice(criterion("b", example=""), criterion("a", "bad", "good"), criterion("c"))
    assert [line.split(":")[0] for line in found] == ["b", "a"]


def test_the_vague_preset_gets_advice() -> None:
    assert any("impression" in line for line in lint(preset_rubric("iter0")))


# --- wording


def test_wording_drops_what_carries_no_meaning() -> None:
    assert wording("The essay gives TWO reasons") == wording("essay giving 2 reason")
    assert wording("doesn\u2019t repeat") == wording("is not repeated")
    assert wording("of the") == []


@pytest.mark.parametrize("word", ["no", "none", "nothing", "never", "without"])
def test_a_negation_is_never_overlooked(word: str) -> None:
    plain = criterion("claims", "its claims rest on what the reader believes", "its claims rest on facts of the matter")
    changed = f"its claims rest on {word} facts of the matter"
    turned = criterion("the claims", "its claims rest on what the reader believes", changed, example="another one")
    same = criterion("the claims", *(level.description for level in plain.levels), example="another one")
    assert repeats(plain, same)
    assert not repeats(plain, turned)


def test_overlap_is_the_share_of_common_words() -> None:
    a, b = criterion("depth", "no depth", "2 much depth"), criterion("style", "no style", "much style")
    assert overlap(a, a) == 1
    assert overlap(a, b) == overlap(b, a) == 0.5, "{depth, much} and {style, much}"
    assert overlap(criterion("1", "2", "3"), a) == 0


# --- compound criteria

JOINED = (
    "Clarity and coherence",
    "Grammar & spelling",
    "Clarity, focus, tone",
    "Clarity, coherence and flow",
    "Evidence as well as logic",
    "Reasons for and against, and their order",
)
ONE_NAME = (
    *("Depth of analysis", "Points for and against", "Black and white thinking", "Pros and cons", "Q&A"),
    *("Evidence, if any", "Cause and effect", "Both sides"),
)


@pytest.mark.parametrize("name", JOINED)
def test_a_name_that_joins_several_things_is_compound(name: str) -> None:
    assert (compound(criterion(name)) or "").startswith("its name joins '")


@pytest.mark.parametrize("name", ONE_NAME)
def test_a_name_of_one_thing_is_not(name: str) -> None:
    assert compound(criterion(name)) is None


@pytest.mark.parametrize(
    ("best", "parts"),
    [
        ("states a position and gives reasons", "'states a position' and 'gives reasons'"),
        ("states a position; gives reasons for it", "'states a position' and 'gives reasons for it'"),
        ("States a position. Supports it with reasons.", "'States a position' and 'Supports it with reasons'"),
        ("a position as well as a reason", "'a position' and 'a reason'"),
        ("3 reasons and 2 examples", "'3 reasons' and '2 examples'"),
        ("two reasons and at least 2 examples", "'two reasons' and 'at least 2 examples'"),
        ("no errors and no repetition", "'no errors' and 'no repetition'"),
        ("clear, concise, and well organised", "'clear' and 'concise' and 'well organised'"),
        ("argues for and against and gives a reason", "'argues for and against' and 'gives a reason'"),
        ("is stated early and clearly supported by facts", "'is stated early' and 'clearly supported by facts'"),
        (
            "every paragraph serves the position, and the ending repeats it",
            "'every paragraph serves the position' and 'the ending repeats it'",
        ),
        ("is short, then it explains why that is so", "'is short' and 'explains why that is so'"),
    ],
)
def test_a_best_level_of_several_demands_is_compound(best: str, parts: str) -> None:
    assert compound(criterion("evidence", "nothing of the kind", best)) == f"its best level asks for {parts}"


@pytest.mark.parametrize(
    "best",
    [
        *("argues for and against", "weighs the pros and cons of it", "leaves black and white behind"),
        *("between 3 and 5 reasons", "2 and a half pages", "two and a half pages", "one or two reasons"),
        *("clear and concise", "gives facts and figures", "support such as facts, figures and examples"),
        *("reads as well as can be expected", "argues for the side and not against it", "gives e.g. a reason"),
        *("questions and answers about the topic", "facts and uses of the plant", "defends the side throughout"),
        *("considers both sides", "each and every claim has a source", "two reasons and one of them is new"),
    ],
)
def test_one_demand_in_several_words_is_not(best: str) -> None:
    assert compound(criterion("evidence", "nothing of the kind", best)) is None


def test_a_ladder_that_adds_one_demand_per_level_is_not_compound() -> None:
    best = "names an objection and answers it"
    assert compound(criterion("objection", "names none", "names an objection", best)) is None
    assert compound(criterion("objection", "neither names an objection nor answers it", best)) is not None
    assert compound(criterion("objection", "weak", "good", "as before, and it answers the objection")) is None
    assert compound(criterion("reasons", "1 reason", "3 reasons", "3 reasons and 2 examples")) is None
    assert compound(criterion("reasons", "1 reason", "2 reasons", "3 reasons and 2 examples")) is not None


def test_advice_says_what_a_compound_criterion_joins() -> None:
    assert advice(criterion("Clarity and flow", "is hard to follow", "is easy to follow")) == [
        "clarity-and-flow: its name joins 'Clarity' and 'flow'; judges err where only a part is met, so make it one "
        "criterion each"
    ]


@pytest.mark.parametrize("preset", ["iter0", "expert", "oracle"])
def test_no_criterion_of_ours_is_compound(preset: str) -> None:
    assert not [c.id for c in (*preset_rubric(preset).criteria, *LADDERS.values()) if compound(c)]


@given(any_criteria)
def test_any_criterion_is_compound_or_not(c: Criterion) -> None:
    why = compound(c)
    assert why is None or (" and " in why and "\n" not in why)
    assert repeats(c, c)


@given(rubrics())
def test_any_rubric_can_be_looked_at(r: Rubric) -> None:
    found = lint(r)
    ids = {c.id for c in r.criteria}
    assert all("\n" not in line for line in found)
    assert all(line.split(":")[0] in ids for line in found if "words, more than" not in line)
    assert lint(r) == found

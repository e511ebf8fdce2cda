import pytest
from hypothesis import given

from metapo.rubric import Criterion, Level, Rubric
from metapo.rubric_lint import MAX_CRITERIA, MAX_WORDS, lint
from metapo.world.presets import preset_rubric
from tests.helpers import rubrics


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


@given(rubrics())
def test_any_rubric_can_be_looked_at(r: Rubric) -> None:
    found = lint(r)
    ids = {c.id for c in r.criteria}
    assert all("\n" not in line for line in found)
    assert all(line.split(":")[0] in ids for line in found if "words, more than" not in line)
    assert lint(r) == found

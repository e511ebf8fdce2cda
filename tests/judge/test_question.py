"""What a judge asks: keys, forms and words fit one another, and prompts share what they can."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.judge.question import Question, Sheet, Style, letters
from metapo.judge.template import unfence
from metapo.judge.transport import ChoiceForm, JsonForm
from metapo.rubric import Rubric
from metapo.rubric_text import parse_rubric, render_rubric
from tests.helpers import criterion, odd_texts, rubric, rubrics
from tests.judge.questions import question, shared_prefix

DEPTH, STYLE, FLATTERY = criterion("depth", (0, 2, 5)), criterion("style", (0, 1)), criterion("flattery", (-4, 0))
EVIDENT = STYLE.model_copy(update={"evidence": True})
MATERIAL = "~~~~~~~~ completion\nTea.\n~~~~~~~~"


def spec(asked: Question) -> dict[str, Any]:
    assert isinstance(asked.form, JsonForm)
    return asked.form.spec


def test_keys_are_letters_in_the_order_of_the_criteria() -> None:
    sheet = Sheet.of(rubric(*(criterion(f"c{i}") for i in range(54))))
    keys = list(sheet.keys)
    assert (keys[0], keys[25], keys[26], keys[51], keys[52], keys[53]) == ("a", "z", "aa", "az", "ba", "bb")
    assert [c.id for c in sheet.keys.values()] == [f"c{i}" for i in range(54)]
    assert sheet.text == render_rubric(sheet.rubric)


def test_levels_are_named_from_the_worst_on() -> None:
    assert letters(DEPTH) == ["A", "B", "C"]


def test_levels_ask_for_bare_points() -> None:
    assert spec(question(DEPTH, FLATTERY)) == {
        "type": "object",
        "properties": {"a": {"type": "integer", "enum": [0, 2, 5]}, "b": {"type": "integer", "enum": [-4, 0]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("style", "wanted"),
    [
        (Style.LEVELS, {"a": None, "b": ["quote", "points"]}),
        (Style.RATIONALES, {"a": ["rationale", "points"], "b": ["rationale", "quote", "points"]}),
    ],
)
def test_words_come_before_points(style: Style, wanted: dict[str, list[str] | None]) -> None:
    """Who has to write the reason first judges by it."""
    properties = spec(question(DEPTH, EVIDENT, style=style))["properties"]
    assert {key: value.get("required") for key, value in properties.items()} == wanted
    for value in properties.values():
        assert list(value.get("properties", {})) == value.get("required", [])
        assert value.get("additionalProperties", False) is False


def test_a_letter_is_one_of_the_levels() -> None:
    assert question(DEPTH, style=Style.LETTER).form == ChoiceForm(options=("A", "B", "C"))


def test_the_form_of_a_part_asks_for_that_part() -> None:
    part = question(DEPTH, STYLE, FLATTERY).only(["c", "a"])
    assert list(spec(part)["properties"]) == ["c", "a"]
    assert part.criteria == {"c": FLATTERY, "a": DEPTH}


@pytest.mark.parametrize(
    ("style", "present", "absent"),
    [
        (Style.LEVELS, ['"a" for depth, "b" for style', "is the points of the level"], ['"rationale"', '"quote"']),
        (Style.RATIONALES, ['"a" for depth, "b" for style', '{"rationale": "<one short sentence>"'], ['"quote"']),
        (Style.LETTER, ["the letter of that level", "A = 0 points, B = 2 points, C = 5 points"], ["JSON", '"a"']),
    ],
)
def test_the_words_ask_for_what_the_form_holds(style: Style, present: list[str], absent: list[str]) -> None:
    prompt = question(DEPTH, STYLE, style=style).prompt("Write.", MATERIAL)
    assert [text for text in present if text not in prompt] == []
    assert [text for text in absent if text in prompt] == []


@pytest.mark.parametrize("style", [Style.LEVELS, Style.RATIONALES])
def test_quotes_are_asked_for_where_they_count(style: Style) -> None:
    prompt = question(DEPTH, EVIDENT, style=style).prompt("Write.", MATERIAL)
    assert 'For the keys "b", the value is an object with a "quote"' in prompt
    assert "at least 8 characters" in prompt
    value = prompt.partition("before the points: {")[2].partition("}")[0]
    assert ('"rationale": ' in value) is (style is Style.RATIONALES), "one shape per key"


def test_the_last_words_name_what_is_asked_for() -> None:
    whole = question(DEPTH, STYLE, FLATTERY)
    assert whole.prompt("Write.", MATERIAL).strip().endswith("\n\nNow answer with the JSON object.")
    part = whole.only(["a", "c"]).prompt("Write.", MATERIAL).strip()
    assert part.endswith(
        'Now answer with the JSON object and no other text. Give these keys and no others, each once: "a", "c".'
    )
    letter = question(STYLE, DEPTH, style=Style.LETTER).only(["b"]).prompt("Write.", MATERIAL)
    assert "Judge this criterion now: depth." in letter.rpartition("\n\n")[2]


def test_prompts_share_all_but_what_they_must_not() -> None:
    whole = question(DEPTH, STYLE, FLATTERY)
    one, other = whole.prompt("Write.", MATERIAL), whole.prompt("Write.", MATERIAL.replace("Tea", "Tin"))
    assert shared_prefix([one, other]).endswith("completion\nT")
    assert render_rubric(whole.sheet.rubric) in shared_prefix([one, other])
    part = whole.only(["b"]).prompt("Write.", MATERIAL)
    assert shared_prefix([one, part]).endswith(f"{MATERIAL}\n\nNow answer with the JSON object")


@given(rubrics(), odd_texts, st.sampled_from(Style))
def test_the_rubric_reads_back_from_any_prompt(r: Rubric, material: str, style: Style) -> None:
    prompt = question(*r.criteria, style=style).prompt("Write.", material)
    end = prompt.index("</rubric>") + len("</rubric>")
    assert parse_rubric(prompt[prompt.index("<rubric>") : end]).rubric == r


@pytest.mark.parametrize("literal", ["{{rubric}}", "{{material}}", "{{ask}}", "{{form}}", "{{task}}", "{{keys}}"])
def test_a_field_inside_a_text_is_text(literal: str) -> None:
    prompt = question(DEPTH).prompt(literal, f"~~~~~~~~ completion\n{literal}\n~~~~~~~~")
    assert unfence("completion", prompt) == literal
    assert f"The task: {literal}\n" in prompt
    assert prompt.count("<rubric>") == 1

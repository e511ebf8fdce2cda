import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metapo.errors import RubricError
from metapo.rubric import Criterion, Level, Polarity, Revision, Rubric, digest, slug
from tests.helpers import criterion, line_texts, markup, odd_texts, rubric, rubrics

LEVELS = ({"points": 0, "description": "bad"}, {"points": 1, "description": "good"})


def a_criterion(**changes: Any) -> Criterion:
    return Criterion.model_validate({"name": "Depth", "levels": LEVELS, **changes})


# --- levels


@pytest.mark.parametrize(
    ("written", "description", "example"),
    [
        ("clear", "clear", ""),
        ("clear (Example: a list)", "clear", "a list"),
        ("clear\n( Example:  a\tlist )", "clear", "a list"),
        ("clear (Example: f(x))", "clear", "f(x)"),
        ("clear (Example: a) (Example: b)", "clear (Example: a)", "b"),
        ("(Example: alone)", "(Example: alone)", ""),
        ("clear (Example: )", "clear (Example: )", ""),
    ],
)
def test_a_level_finds_the_example_in_its_description(written: str, description: str, example: str) -> None:
    level = Level(points=1, description=written)
    assert (level.description, level.example) == (description, example)


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_example_counts_as_none(blank: str) -> None:
    assert Level(points=1, description="clear (Example: a)", example=blank).example == "a"


def test_a_given_example_leaves_the_description_alone() -> None:
    level = Level(points=1, description="clear (Example: a)", example="b")
    assert (level.description, level.example) == ("clear (Example: a)", "b")


@pytest.mark.parametrize("example", ["x (Example: y", "x ( Example: y)", "(\nExample: y)"])
def test_an_example_inside_an_example_is_refused(example: str) -> None:
    with pytest.raises(ValidationError, match="an example can't hold another"):
        Level(points=1, description="clear", example=example)


@given(odd_texts)
def test_texts_are_one_line_or_refused(text: str) -> None:
    if not text.split() or markup.search(text):
        with pytest.raises(ValidationError):
            Level(points=0, description=text)
        return
    level = Level(points=0, description=text)
    for kept in (level.description, level.example):
        assert len(kept.splitlines()) <= 1
        assert kept == " ".join(kept.split())
        assert kept.encode().decode() == kept


@pytest.mark.parametrize("markup", ["</item>", "a <rubric> b", "< ITEM id=1", "</ rubric"])
def test_the_rubrics_own_markup_is_refused_inside_a_text(markup: str) -> None:
    with pytest.raises(ValidationError, match="is the rubric's own markup"):
        a_criterion(instruction=markup)
    assert a_criterion(instruction="<items> and <rubrics> are words").instruction


@pytest.mark.parametrize("points", [1001, -1001, 1.0, 1.5, "1", True, None])
def test_points_are_whole_numbers_within_bounds(points: Any) -> None:
    with pytest.raises(ValidationError, match="points"):
        Level.model_validate({"points": points, "description": "x"})


# --- criteria


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"levels": LEVELS[:1]}, "at least 2 items"),
        ({"levels": LEVELS[::-1]}, r"points must rise; got \[1, 0\]"),
        ({"levels": (LEVELS[0], LEVELS[0])}, r"points must rise; got \[0, 0\]"),
        ({"polarity": "negative"}, "no level may add points; its best level has 1"),
        ({"polarity": "neutral"}, "'positive' or 'negative'"),
        ({"weight": 0}, "greater than 0"),
        ({"weight": -1}, "greater than 0"),
        ({"weight": float("inf")}, "finite|less than"),
        ({"weight": float("nan")}, "finite|greater than"),
        ({"weight": 1e300}, "less than or equal to"),
        ({"id": "Depth"}, "pattern"),
        ({"id": "a b"}, "pattern"),
        ({"id": ""}, "pattern"),
        ({"id": "depth\n"}, "pattern"),
        ({"id": "x" * 65}, "pattern"),
        ({"name": " \n"}, "at least 1 character"),
        ({"wieght": 2}, "Extra inputs are not permitted"),
    ],
)
def test_a_criterion_that_breaks_a_rule_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        a_criterion(**changes)


def test_a_criterion_takes_its_id_from_its_name() -> None:
    assert a_criterion(name="Depth of  Analysis!").id == "depth-of-analysis"
    assert a_criterion(id="other").id == "other"


@given(st.text())
def test_a_slug_is_always_a_valid_id(name: str) -> None:
    assert a_criterion(id=slug(name)).id == slug(name)


def test_levels_by_points() -> None:
    c = criterion("depth", (-4, 0, 3))
    assert (c.min_points, c.max_points) == (-4, 3)
    assert [level and level.points for level in map(c.level, (-4, 1, 3))] == [-4, None, 3]


def test_a_deducting_criterion_may_be_of_either_polarity() -> None:
    levels = ({"points": -2, "description": "bad"}, {"points": 0, "description": "none"})
    assert a_criterion(levels=levels, polarity="negative").polarity is Polarity.NEGATIVE
    assert a_criterion(levels=levels).polarity is Polarity.POSITIVE


# --- rubrics


def test_ids_are_unique() -> None:
    with pytest.raises(ValidationError, match="must be unique; repeated: a, b"):
        rubric(*(criterion(i) for i in "abcab"))


def test_a_rubric_needs_a_criterion() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        Rubric(criteria=())


def test_range_and_words() -> None:
    r = rubric(criterion("a", (-2, 0), weight=2.0), criterion("b", (1, 3), weight=0.5))
    assert (r.min_points, r.max_points) == (-3.5, 1.5)
    assert r.n_words == 2 + 4 * 2
    assert r.criterion("b") is r.criteria[1]
    assert r.criterion("c") is None


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        rubric().criteria = ()  # type: ignore[misc]


@given(rubrics())
def test_equal_rubrics_have_equal_digests(r: Rubric) -> None:
    again = Rubric.model_validate_json(r.model_dump_json())
    assert again == r
    assert again.digest == r.digest
    assert hash(again) == hash(r)


@given(rubrics(), st.data())
def test_any_change_shows_in_the_digest(r: Rubric, data: st.DataObject) -> None:
    first, *rest = r.criteria
    change = data.draw(
        st.sampled_from(
            [
                {"weight": first.weight + 1},
                {"pinned": not first.pinned},
                {"name": f"{first.name}!"},
                {"instruction": f"{first.instruction}!"},
                {"levels": first.levels[1:] + first.levels[:1]},
            ]
        )
    )
    r.digest  # noqa: B018 -- a copy must not inherit it
    changed = r.model_copy(update={"criteria": (first.model_copy(update=change), *rest)})
    assert changed.digest != r.digest


def test_the_digest_is_the_same_on_every_machine() -> None:
    """sha256 of the JSON {"a": "é"}, computed with coreutils."""
    assert digest({"a": "é"}) == "c6c0a269c3d5a55e9c687d138cc1fcd13962dc2d96c1b9ff1ea01ff4ad4047d3"


@given(rubrics())
def test_yaml_round_trip(r: Rubric) -> None:
    assert Rubric.from_yaml(r.to_yaml()) == r


def test_yaml_leaves_defaults_out() -> None:
    text = rubric(criterion("depth", (0, 1))).to_yaml()
    assert "weight" not in text
    assert "polarity" not in text
    assert "example" not in text


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(rubric().model_dump(mode="json")), encoding="utf-8")
    assert Rubric.load(path) == rubric()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "valid dictionary"),
        ("criteria: []", "criteria: Tuple should have at least 1 item"),
        ("criteria: [{name: a, levels: [{points: 0, description: x}]}]", r"criteria\.0\.levels: Tuple should have at"),
        ("criteria: [{levels: []}]", "criteria.0.name: Field required\n"),
        ("criteria: [{name: a, levels: [{points: high, description: x}]}]", "levels.0.points: .*got 'high'"),
        ("a: [", "neither YAML nor JSON"),
        ("\x00", "neither YAML nor JSON"),
        ("a: !!python/object:os.system x", "neither YAML nor JSON"),
        ("criteria: 2024-13-45", "neither YAML nor JSON"),
        ("criteria: " + "1" * 5000, "neither YAML nor JSON"),
        ("[" * 5000, "neither YAML nor JSON"),
        ("!!int ''", "neither YAML nor JSON"),
        ("!!bool x", "neither YAML nor JSON"),
        ("!!timestamp x", "neither YAML nor JSON"),
    ],
)
def test_a_bad_rubric_file_is_named_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(RubricError, match=why) as caught:
        Rubric.from_yaml(text, source="my.yaml")
    assert str(caught.value).startswith("my.yaml is n")


@given(st.lists(st.sampled_from(list(":-[]{}?!&*|>%@'\"\n #,0123456789abcrit")) | line_texts).map("".join))
def test_any_text_is_a_rubric_or_a_rubric_error(text: str) -> None:
    with pytest.raises(RubricError):
        Rubric.from_yaml(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RubricError, match=r"nowhere\.yaml: No such file or directory\. Give the path of a \.yaml"):
        Rubric.load(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("criteria: é".encode("latin-1"))
    with pytest.raises(RubricError, match=r"latin\.yaml is not UTF-8 text: .* at byte 10"):
        Rubric.load(tmp_path / "latin.yaml")


# --- revisions


def test_a_revisions_id_covers_content_and_place() -> None:
    def revision(**changes: Any) -> Revision:
        return Revision(**{"rubric": rubric(), "reason": "first", "proposer": "preset", "step": 0, **changes})

    changed = [
        revision(rubric=rubric(criterion("other"))),
        revision(parents=(revision().id,)),
        revision(parents=("a", "b")),
        revision(parents=("b", "a")),
        revision(reason="second"),
        revision(proposer="person"),
        revision(step=1),
    ]
    ids = {r.id for r in [revision(), *changed]}
    assert len(ids) == 1 + len(changed)
    assert revision().id == revision().id
    assert revision().id.startswith(revision().short_id)
    assert len(revision().short_id) == 10


def test_a_copied_revision_has_its_own_id() -> None:
    first = Revision(rubric=rubric(), reason="first", proposer="preset", step=0)
    assert first.id != first.model_copy(update={"step": 1}).id

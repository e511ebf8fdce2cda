import re
import time
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metapo.rubric import Criterion, Level, Polarity, Rubric
from metapo.rubric_text import ParsedRubric, parse_rubric, render_criterion, render_rubric
from tests.helpers import FRAGMENTS, criteria, criterion, odd_texts, rubric, rubrics

# --- our own form


def test_the_text_form() -> None:
    text = """\
<rubric>
<item id="evidence" weight="2.0">
### Evidence
Instruction: Count only reasons that support the assigned side.
- **0**: no reason. (Example: a title alone.)
- **2**: two distinct reasons.
</item>
<item id="flattery" polarity="negative" pinned="true">
### Flattery
- **-3**: speaks to its grader.
- **0**: none.
</item>
</rubric>"""
    evidence = Criterion(
        id="evidence",
        name="Evidence",
        instruction="Count only reasons that support the assigned side.",
        levels=(
            Level(points=0, description="no reason.", example="a title alone."),
            Level(points=2, description="two distinct reasons."),
        ),
        weight=2.0,
    )
    flattery = Criterion(
        id="flattery",
        name="Flattery",
        levels=(Level(points=-3, description="speaks to its grader."), Level(points=0, description="none.")),
        polarity=Polarity.NEGATIVE,
        pinned=True,
    )
    assert render_rubric(rubric(evidence, flattery)) == text
    assert parse_rubric(text) == ParsedRubric((evidence, flattery), ())


# Its levels only deduct, yet it is no negative criterion.
SHORTFALL = Criterion(name="Shortfall", levels=criterion("x", (-5, 0)).levels)


@given(rubrics())
@example(rubric(SHORTFALL))
@example(rubric(Criterion(name="## C#", levels=criterion().levels)))
@example(rubric(Criterion(name="5: x", instruction="Instruction: - **3**: y", levels=criterion().levels)))
def test_round_trip(r: Rubric) -> None:
    parsed = parse_rubric(render_rubric(r))
    assert parsed.problems == ()
    assert parsed.rubric == r


@given(criteria(), criteria())
def test_two_items_without_a_rubric_around_them(first: Criterion, second: Criterion) -> None:
    parsed = parse_rubric(f"{render_criterion(first)}\n\n{render_criterion(second)}")
    assert parsed.criteria == ((first,) if first.id == second.id else (first, second))
    assert len(parsed.problems) == (first.id == second.id)


@given(criteria())
def test_a_criterion_takes_one_line_for_each_thing(c: Criterion) -> None:
    assert len(render_criterion(c).splitlines()) == 3 + bool(c.instruction) + len(c.levels)


def test_an_empty_text_is_no_rubric() -> None:
    assert parse_rubric("") == ParsedRubric((), ())
    assert parse_rubric(" \n\n").rubric is None


# --- what language models write instead


@dataclass(frozen=True)
class Shape:
    """A text, and what it says: name -> points -> description, in order."""

    text: str
    said: dict[str, dict[int, str]]


def item(body: str) -> str:
    return f"<item>\n### Depth\n{body}\n</item>"


LOW_HIGH = {"Depth": {0: "shallow", 5: "deep"}}
SHAPES = {
    "levels best first": Shape(item("- **5**: deep\n- **0**: shallow"), LOW_HIGH),
    "Score 5:": Shape(item("Score 5: deep\nScore 0: shallow"), LOW_HIGH),
    "Score: 5 -": Shape(item("Score: 5 - deep\nScore: 0 - shallow"), LOW_HIGH),
    "**Score 5:**": Shape(item("**Score 5:** deep\n**Score 0:** shallow"), LOW_HIGH),
    "- **Score 5**:": Shape(item("- **Score 5**: deep\n- **Score 0**: shallow"), LOW_HIGH),
    "Level 5 (label):": Shape(
        item("Level 5 (Top): deep\nLevel 0 (Poor): shallow"), {"Depth": {0: "Poor: shallow", 5: "Top: deep"}}
    ),
    "5 points -": Shape(item("5 points - deep\n0 points - shallow"), LOW_HIGH),
    "5 points – en dash": Shape(item("5 points – deep\n0 points — shallow"), LOW_HIGH),
    "* 5 pts:": Shape(item("* 5 pts: deep\n* 0 pts.: shallow"), LOW_HIGH),
    "(5 points):": Shape(item("(5): deep\n(0): shallow"), LOW_HIGH),
    "[5]": Shape(item("[5] deep\n[0] shallow"), LOW_HIGH),
    "[5]:": Shape(item("- [5]: deep\n- [0]: shallow"), LOW_HIGH),
    "5/5:": Shape(item("5/5: deep\n0/5: shallow"), LOW_HIGH),
    "5 =": Shape(item("5 = deep\n0 = shallow"), LOW_HIGH),
    "• 5:": Shape(item("• 5: deep\n• +0: shallow"), LOW_HIGH),
    "indented": Shape(item("    - **5**: deep\n\t- **0**: shallow"), LOW_HIGH),
    "wide spaces": Shape(item("-   **5**  :   deep\n\n\n-   **0** :   shallow"), LOW_HIGH),
    "a range": Shape(
        item("4-5 points: deep\n1 to 3 points - medium\n0: shallow"),
        {"Depth": {0: "shallow", 1: "medium", 2: "medium", 3: "medium", 4: "deep", 5: "deep"}},
    ),
    "a range that deducts": Shape(
        item("0: none\n-1: some\n-3 to -2 points: much"), {"Depth": {-3: "much", -2: "much", -1: "some", 0: "none"}}
    ),
    "deductions": Shape(
        item("- **0**: none\n- **-2**: some\n−5 points: much"), {"Depth": {-5: "much", -2: "some", 0: "none"}}
    ),
    "a level over two lines": Shape(
        item("5: deep\nand wide\n0: shallow"), {"Depth": {0: "shallow", 5: "deep and wide"}}
    ),
    "bold heading": Shape("**Depth**\n5: deep\n0: shallow", LOW_HIGH),
    "numbered bold heading with its scale": Shape("**2. Depth (0-5 points)**\n5: deep\n0: shallow", LOW_HIGH),
    "number before the bold": Shape("2. **Depth (0–5):**\n5: deep\n0: shallow", LOW_HIGH),
    "bold heading with a colon": Shape("__Depth__:\n5: deep\n0: shallow", LOW_HIGH),
    "hash heading": Shape("## 1) Depth [5 points] ##\n5: deep\n0: shallow", LOW_HIGH),
    "Criterion 1:": Shape("Criterion 1: Depth\n5: deep\n0: shallow", LOW_HIGH),
    "### Criterion 1: **Depth**": Shape("### Criterion 1: **Depth**\n5: deep\n0: shallow", LOW_HIGH),
    "a plain name in an item": Shape("<item>\nDepth (0-5 points):\n5: deep\n0: shallow\n</item>", LOW_HIGH),
    "all on the tag's line": Shape("<item>### Depth\n5: deep\n0: shallow</item>", LOW_HIGH),
    "several criteria in one item": Shape(
        '<item id="depth">\n### Depth\n5: deep\n0: shallow\n### Style\n1: fine\n0: clumsy\n</item>',
        {**LOW_HIGH, "Style": {0: "clumsy", 1: "fine"}},
    ),
    "items without closing tags": Shape(
        "<rubric>\n<item>\n### Depth\n5: deep\n0: shallow\n<item>\n### Style\n1: fine\n0: clumsy\n</rubric>",
        {**LOW_HIGH, "Style": {0: "clumsy", 1: "fine"}},
    ),
    "no tags at all": Shape(
        "# Depth\n5: deep\n0: shallow\n\n---\n\n# Style\n1: fine\n0: clumsy\n",
        {**LOW_HIGH, "Style": {0: "clumsy", 1: "fine"}},
    ),
    "tags in capitals": Shape("<RUBRIC><Item>\n### Depth\n5: deep\n0: shallow\n</ITEM></Rubric>", LOW_HIGH),
    "windows line ends": Shape("<item>\r\n### Depth\r\n5: deep\r\n0: shallow\r\n</item>\r\n", LOW_HIGH),
    "a name that ends in a hash": Shape("### C#\n1: yes\n0: no", {"C#": {0: "no", 1: "yes"}}),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_shapes_that_language_models_write(shape: Shape) -> None:
    parsed = parse_rubric(shape.text)
    assert parsed.problems == ()
    assert {c.name: {level.points: level.description for level in c.levels} for c in parsed.criteria} == shape.said
    assert [c.name for c in parsed.criteria] == list(shape.said)


@pytest.mark.parametrize(
    ("line", "description", "example"),
    [
        ("- **8**: clear. (Example: a list.)", "clear.", "a list."),
        ("Score 8: clear.\n(Example: a list.)", "clear.", "a list."),
        ("Score 8: clear.\n   Example: a list.", "clear.", "a list."),
        ("Score 8: clear.\n  - *Example:* a list.", "clear.", "a list."),
        ("Score 8: clear.\n  - **Example:** a list.", "clear.", "a list."),
        ("Score 8: clear.\n*Example*: a list.", "clear.", "a list."),
        ("Score 8: clear.\nExample: f(x)", "clear.", "f(x)"),
        ("Score 8: clear.\n(Example: f(x))", "clear.", "f(x)"),
        ("Score 8: clear.\nExamples: a, b", "clear.", "a, b"),
        ("Score 8: clear.\nExample: a\nExample: b", "clear.", "a b"),
        ("Score 8: clear.\nExamples are not needed.", "clear. Examples are not needed.", ""),
        ("Score 8: clear.\nExemplary work.", "clear. Exemplary work.", ""),
    ],
)
def test_examples(line: str, description: str, example: str) -> None:
    parsed = parse_rubric(item(f"{line}\n0: unclear"))
    assert parsed.problems == ()
    assert parsed.criteria[0].level(8) == Level(points=8, description=description, example=example)


def test_a_level_of_a_range_shares_its_example() -> None:
    [c] = parse_rubric(item("4-5: deep\nExample: a proof\n0: shallow")).criteria
    assert [level.example for level in c.levels] == ["", "a proof", "a proof"]


@pytest.mark.parametrize(
    ("lines", "instruction", "weight", "polarity"),
    [
        ("", "", 1.0, Polarity.POSITIVE),
        ("Read it twice.\nThen decide.", "Read it twice. Then decide.", 1.0, Polarity.POSITIVE),
        ("Instruction: Read it twice.\nThen decide.", "Read it twice. Then decide.", 1.0, Polarity.POSITIVE),
        ("- Weight: 2.5", "", 2.5, Polarity.POSITIVE),
        ("polarity: Positive", "", 1.0, Polarity.POSITIVE),
    ],
)
def test_notes_under_a_heading(lines: str, instruction: str, weight: float, polarity: Polarity) -> None:
    [c] = parse_rubric(item(f"{lines}\n0: shallow\n5: deep")).criteria
    assert (c.instruction, c.weight, c.polarity) == (instruction, weight, polarity)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('id="d1" weight="0.5"', {"id": "d1", "weight": 0.5}),
        ("id='d1' weight='0.5'", {"id": "d1", "weight": 0.5}),
        ('ID="d1" Pinned="True"', {"id": "d1", "pinned": True}),
        ('id = "d1" pinned="no"', {"id": "d1", "pinned": False}),
        ('name="Depth of thought"', {"id": "depth-of-thought", "name": "Depth of thought"}),
    ],
)
def test_attributes(attributes: str, expected: dict[str, object]) -> None:
    heading = "" if "name" in attributes else "### Depth\n"
    parsed = parse_rubric(f"<item {attributes}>\n{heading}0: shallow\n5: deep\n</item>")
    assert parsed.problems == ()
    assert {key: getattr(parsed.criteria[0], key) for key in expected} == expected


def test_levels_that_only_deduct_make_a_negative_criterion() -> None:
    [c] = parse_rubric(item("0: none\n-5: much")).criteria
    assert c.polarity is Polarity.NEGATIVE
    [c] = parse_rubric(item("polarity: positive\n0: none\n-5: much")).criteria
    assert c.polarity is Polarity.POSITIVE


def test_attributes_belong_to_the_first_criterion_of_an_item() -> None:
    parsed = parse_rubric('<item id="d" weight="3">\n0: shallow\n5: deep\n### Style\n0: clumsy\n1: fine\n</item>')
    assert [(c.id, c.weight) for c in parsed.criteria] == [("d", 3.0), ("style", 1.0)]


# --- what can't be used is reported: which line, and why

GOOD = "### Depth\n0: shallow\n5: deep"
WHOLE = f"<item>\n{GOOD}\n</item>"


@pytest.mark.parametrize(
    ("text", "line", "why", "n_criteria"),
    [
        (f"Here is the rubric:\n{WHOLE}", 1, "text outside of any criterion: 'Here is the rubric:'", 1),
        (f"{WHOLE}\nI hope this helps.", 6, "text outside of any criterion: 'I hope this helps.'", 1),
        (f"{WHOLE}\n5: deep", 6, "a level outside of any criterion", 1),
        (f"<item>\n{GOOD}\n2.5: half\n</item>", 5, "points must be whole numbers", 1),
        (f"<item>\n{GOOD}\n1.5-2 points: half\n</item>", 5, "points must be whole numbers", 1),
        (f"<item>\n{GOOD}\n- **5**: deeper\n</item>", 5, "this criterion has a level of 5 points already", 1),
        (f"<item>\n{GOOD}\n4-6: deeper\n</item>", 5, "this criterion has a level of 5 points already", 1),
        (f"<item>\n{GOOD}\n4-1: odd\n</item>", 5, "a range of points must rise and hold at most 10", 1),
        (f"<item>\n{GOOD}\n10-90 points: wide\n</item>", 5, "a range of points must rise and hold at most 10", 1),
        (f"<item>\n{GOOD}\n2-{'9' * 30} points: x\n</item>", 5, "points must lie between -1000 and 1000", 1),
        (f"<item>\n{GOOD}\n- **{'9' * 5000}**: x\n</item>", 5, "points must lie between -1000 and 1000", 1),
        (f"<item>\n{GOOD}\n- **1001**: x\n</item>", 5, "points must lie between -1000 and 1000", 1),
        ("<item>\n### Depth\n5: deep\n</item>", 2, "no valid criterion (levels: Tuple should have at least 2 items", 0),
        ("<item>\n### Depth\n</item>", 2, "no valid criterion (levels: Tuple should have at least 2 items", 0),
        (f'<item weight="much">\n{GOOD}\n</item>', 2, "no valid criterion (weight: Input should be a valid number", 0),
        (f'<item weight="-1">\n{GOOD}\n</item>', 2, "no valid criterion (weight: Input should be greater than 0", 0),
        (f'<item polarity="bad">\n{GOOD}\n</item>', 2, "no valid criterion (polarity: Input should be 'positive'", 0),
        (f'<item polarity="negative">\n{GOOD}\n</item>', 2, "is negative, so no level may add points", 0),
        (f'<item id="Über">\n{GOOD}\n</item>', 2, "no valid criterion (id: String should match pattern", 0),
        (f"{WHOLE}\n<item>\n### depth!\n0: x\n1: y\n</item>", 7, "a second criterion with the id 'depth'", 1),
        (f"{WHOLE}\n<item>\n### Style\n0: clumsy\n1: fi", 7, "the text ends inside this item", 1),
        (f"{WHOLE}\n<item>\n### Style", 7, "the text ends inside this item", 1),
        (f'{WHOLE}\n<item id="style">', 6, "an item without a criterion", 1),
        (f'<item id="style"></item>\n{WHOLE}', 1, "an item without a criterion", 1),
        (f'{WHOLE}\n<item id="style"', 6, "a tag that doesn't end on its line", 1),
        (f"<item>\n{GOOD}\n</item", 5, "a tag that doesn't end on its line", 1),
    ],
)
def test_a_problem_names_line_and_reason(text: str, line: int, why: str, n_criteria: int) -> None:
    parsed = parse_rubric(text)
    assert [p.line for p in parsed.problems] == [line]
    assert str(parsed.problems[0]).startswith(f"line {line}: ")
    assert why in str(parsed.problems[0])
    assert len(parsed.criteria) == n_criteria


def test_what_follows_a_refused_level_is_not_taken_for_another_levels_text() -> None:
    parsed = parse_rubric(item("0: shallow\n5: deep\n2.5: half\nstill about half\n(Example: half)"))
    assert [p.line for p in parsed.problems] == [5, 6, 7]
    assert "belongs to a level that was not used" in parsed.problems[1].why
    assert [level.description for level in parsed.criteria[0].levels] == ["shallow", "deep"]


def test_what_follows_a_refused_first_level_is_no_instruction() -> None:
    parsed = parse_rubric(item("2.5: half\nstill about half\n0: shallow\n5: deep"))
    assert [p.line for p in parsed.problems] == [3, 4]
    assert parsed.criteria[0].instruction == ""


def test_a_range_that_overlaps_keeps_its_free_points() -> None:
    [c] = parse_rubric(item("0: shallow\n2: medium\n1-3: wide")).criteria
    assert [(level.points, level.description) for level in c.levels] == [
        (0, "shallow"),
        (1, "wide"),
        (2, "medium"),
        (3, "wide"),
    ]


def test_problems_come_in_the_order_of_the_lines() -> None:
    parsed = parse_rubric("<item>\n### Depth\n5: deep\n2.5: half\n</item>\nBye.")
    assert [p.line for p in parsed.problems] == [2, 4, 6]


def test_a_problem_shortens_its_text() -> None:
    [problem] = parse_rubric("x" * 500).problems
    assert len(str(problem)) < 130


# --- any text

LEFT_OUT = ("no valid criterion", "a second criterion", "the text ends inside this item")
MARK = re.compile(r"qq\d+")
LINES = (
    *("<rubric>", "</rubric>", "<item>", '<item id="a" weight="2">', '<item id="b">', "</item>"),
    *("<item {}", "</item {}", "weight: {}", "plain {}", "- {}", "`{}`", ""),
    *("### {}", "**{}**", "**1. {} (0-5 points)**", "Criterion 2: {}", "## {} ##", "2. **{}**"),
    *("- **0**: {}", "- **5**: {} (Example: x)", "Score 1: {}", "[2] {}", "3-4 points - {}", "2.5: {}"),
    *("5: {}", "-1: {}", "Example: {}", "(Example: {})", "Examples: {}", "Instruction: {}"),
)
documents = st.lists(st.sampled_from(LINES), max_size=14).map(
    lambda lines: "\n".join(line.format(f"qq{n}") for n, line in enumerate(lines, 1))
)


@given(documents)
@example("### qq1\n0: qq2\n0: qq3\nqq4\n5: qq5")
@example("### qq1\n0: qq2\nExample: qq3\nExample: qq4\n5: qq5")
def test_every_line_is_used_or_reported(text: str) -> None:
    """Each line bears a mark with its number. A criterion that is left out is reported once, at its first line."""
    parsed = parse_rubric(text)
    used = set(MARK.findall("\n".join(map(str, parsed.criteria))))
    reported = {p.line for p in parsed.problems}
    first_of_left_out = {p.line for p in parsed.problems if p.why.startswith(LEFT_OUT)}
    left_out = False
    for number, line in enumerate(text.splitlines(), 1):
        left_out = number in first_of_left_out or (left_out and not re.match("</?(rubric|item)", line))
        for mark in MARK.findall(line):
            assert mark in used or number in reported or left_out, f"line {number} went missing: {line!r}"
            left_out = left_out and mark not in used


@given(st.lists(st.sampled_from([*FRAGMENTS, *LINES]) | st.text(st.characters(), max_size=9)).map("".join) | odd_texts)
def test_any_text_is_read_without_raising(text: str) -> None:
    parsed = parse_rubric(text)
    n_lines = len(text.splitlines())
    assert all(1 <= p.line <= n_lines and p.why and p.text for p in parsed.problems)
    if parsed.rubric is not None:
        again = parse_rubric(render_rubric(parsed.rubric))
        assert again.rubric == parsed.rubric
        assert again.problems == ()
        assert parsed.rubric.digest == again.rubric.digest


N = 4000


@pytest.mark.parametrize(
    "line",
    [
        "# a" + " " * N + "b",
        "- " + " " * N + "x",
        "5 " + " " * N + "x",
        "# a " + "#" * N + " b",
        "**a (" + "1-1" * N + "**",
        "### a" + "(5 points" * N,
        "### a" + "(-1" * N,
        "**" * N,
        "**a" + "**" * N + "b",
        "- **5**: x" + "(Example: " * N,
        "Example: " + "a)" * N + " b",
        "1." * N,
        "1" * N,
        "1-" * N,
        "<item " * N,
        "weight: " * N,
        "Criterion 1: " * N,
        "x\n" * N,
        "### x\n" * (N // 10),
    ],
    ids=lambda line: f"{line[:4]}...{line[-12:]}",
)
def test_a_model_that_repeats_itself_costs_no_more_than_its_length(line: str) -> None:
    """A generous limit: patterns that backtrack take minutes on these."""
    started = time.process_time()
    parse_rubric(f"<item>\n### Depth\n0: a\n{line}\n</item>")
    assert time.process_time() - started < 1.0

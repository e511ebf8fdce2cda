"""Replies: what is a clear verdict counts, all else has a reason, and no text at all breaks the reader."""

import json
import math
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.judge.parse import Reading, parse_reply, without_reasoning
from metapo.judge.question import Style, letters
from metapo.judge.transport import ChatReply, Token
from metapo.rubric import Criterion, Outcome, Reason, Unscored, Verdict
from tests.helpers import criterion, odd_texts
from tests.judge.questions import points, question, reply, token

DEPTH, STYLE, FLATTERY = criterion("depth", (-2, 0, 5)), criterion("style", (0, 1)), criterion("flattery", (-4, 0))


def read(
    text: str,
    *criteria: Criterion,
    style: Style = Style.LEVELS,
    completion: str = "",
    min_label_mass: float | None = None,
    **more: Any,
) -> Reading:
    asked = question(*(criteria or (DEPTH,)), style=style)
    return parse_reply(asked, ChatReply(text=text, **more), completion, min_label_mass)


def parse(text: str, *criteria: Criterion, **more: Any) -> tuple[Outcome, ...]:
    return tuple(read(text, *criteria, **more).outcomes.values())


def cut(text: str, *criteria: Criterion, **more: Any) -> Reading:
    return read(text, *criteria, finish_reason="length", **more)


GOOD = reply(a=5)
WHY = {"rationale": "because", "points": 5}
EXPLAINED = reply(a=WHY)


# --- clear verdicts


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n\n  {GOOD}\n",
        json.dumps({"a": 5}, indent=4),
        reply(depth=5),
        '{"a": 5.0}',
        '{"a": 5e0}',
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```JSON  \n{GOOD}```",
        f"```json\n{GOOD}",
        f"```json\n{GOOD}\n```\nI hope this helps.",
        f"Here is my verdict:\n```json\n{GOOD}\n```",
        f"Here is my verdict: {GOOD}",
        f"{GOOD}\n\nI hope this helps.",
        f"<think>Depth is 5? Yes: {{}}</think>{GOOD}",
        f"\n<think>\nfirst\n\nsecond\n</think>\n\n{GOOD}",
        f"<think></think>\n```json\n{GOOD}\n```",
        f"Depth is {{fine}}, so 5.\n</think>\n{GOOD}",
        reply(a=5, z=9, beauty={"points": 3}),
        reply(verdict="fine", a=5, notes=[1, 2]),
        reply(a={"points": 5}),
        reply(a={"points": 5, "confidence": "high"}),
    ],
)
def test_clear_verdicts(text: str) -> None:
    assert parse(text) == (Verdict(criterion_id="depth", points=5),)


@pytest.mark.parametrize(
    ("rationale", "kept"),
    [(None, ""), ("", ""), ("why", "why"), (["x", 1], "['x', 1]"), ("half a pair: \ud83d", "half a pair: \ufffd")],
)
def test_rationales(rationale: Any, kept: str) -> None:
    [outcome] = parse(reply(a={"rationale": rationale, "points": 5}))
    assert outcome == Verdict(criterion_id="depth", points=5, rationale=kept)
    assert outcome.model_dump_json()


def test_outcomes_come_in_the_order_of_the_question() -> None:
    outcomes = parse(reply(b=0, a=-2), DEPTH, STYLE)
    assert outcomes == (Verdict(criterion_id="depth", points=-2), Verdict(criterion_id="style", points=0))


def test_one_bad_entry_spoils_no_other() -> None:
    assert points(parse(reply(a=4, b={"points": 1}, c="-4"), DEPTH, STYLE, FLATTERY)) == [
        Reason.OFF_MENU,
        1,
        Reason.OFF_MENU,
    ]


def test_only_what_was_asked_for_has_an_outcome() -> None:
    asked = question(DEPTH, STYLE, FLATTERY).only(["b"])
    reading = parse_reply(asked, ChatReply(text=reply(a=5, b=1, c=0)), "")
    assert reading.outcomes == {"b": Verdict(criterion_id="style", points=1)}


def test_a_key_wins_over_an_id_that_looks_like_another_key() -> None:
    """Keys count criteria by letter, and a criterion may be called "a" without being the first."""
    first, second = criterion("b", (0, 1)), criterion("a", (0, 1))
    assert points(parse(reply(a=1, b=0), first, second)) == [1, 0]


def test_thinking_is_what_stands_in_front() -> None:
    """Tags that a rationale quotes are no thoughts, whatever stands before the brace."""
    quoted = reply(a={"rationale": "it says <think>", "points": -2}, b={"rationale": "and </think>", "points": 1})
    for text in (quoted, f"\n  {quoted}", f"```json\n{quoted}\n```", f"\n```\n{quoted}\n```"):
        assert points(parse(text, DEPTH, STYLE)) == [-2, 1], text


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("plain", "plain"),
        ("<think>a</think> b </think> c", "b </think> c"),
        (" \n<think>a\nb</think>\n c ", "c"),
        ("a </think> b", "b"),
        ("<think>a", ""),
        ("", ""),
        ("b <think>a</think>", ""),
    ],
)
def test_reasoning_is_taken_off(text: str, rest: str) -> None:
    assert without_reasoning(text) == rest


# --- no clear verdict

OFF_MENU = [4, -1, 5.5, "5", "5/5", "five", True, False, None, [5], {"points": {}}, 1e400, float("nan"), 10**30]


@pytest.mark.parametrize("given_points", [*OFF_MENU, int("9" * 128), "x" * 9999])
def test_points_that_are_no_level_are_off_menu(given_points: Any) -> None:
    for value in (given_points, {"points": given_points}):
        [outcome] = parse(json.dumps({"a": value}))
        assert isinstance(outcome, Unscored)
        assert outcome.reason is Reason.OFF_MENU
        assert outcome.detail.endswith("; the levels offer -2, 0, 5")
        assert len(outcome.detail) < 150


def test_true_is_not_one_point() -> None:
    """In Python True == 1, so a level of 1 point would match."""
    [outcome] = parse('{"a": true}', STYLE)
    assert isinstance(outcome, Unscored)
    assert "points True" in outcome.detail


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        (" \n\t", Reason.EMPTY),
        ("<think>all budget spent</think>", Reason.EMPTY),
        (f"<think>never ends {GOOD}", Reason.EMPTY),
        ("```json\n\n```", Reason.UNPARSABLE),
        ("The essay deserves 5 points.", Reason.UNPARSABLE),
        ("I can't assess this.", Reason.UNPARSABLE),
        ("5", Reason.UNPARSABLE),
        ("null", Reason.UNPARSABLE),
        ("[5]", Reason.UNPARSABLE),
        (f"{GOOD}\n{GOOD}", Reason.UNPARSABLE),
        (f"{GOOD} or rather {reply(a=0)}", Reason.UNPARSABLE),
        (f"```python\nx = 1\n```\n{GOOD}", Reason.UNPARSABLE),
        ('{"a": 5', Reason.UNPARSABLE),
        ('{"a" 5}', Reason.UNPARSABLE),
        ("{a: 5}", Reason.UNPARSABLE),
        ("{'a': 5}", Reason.UNPARSABLE),
        ('{"a": {"points": 0, "points": 5}}', Reason.UNPARSABLE),
        (f'{{"a": {{"{"x" * 999}": 1, "{"x" * 999}": 2}}}}', Reason.UNPARSABLE),
        ("{" * 100_000, Reason.UNPARSABLE),
        ('{"a": ' + "[" * 100_000, Reason.UNPARSABLE),
        ('{"a": {"points": ' + "9" * 5000 + "}}", Reason.UNPARSABLE),
        ("{}", Reason.MISSING),
        (reply(A=5), Reason.MISSING),
        (reply(Depth=5), Reason.MISSING),
        (reply(verdicts={"a": 5}), Reason.MISSING),
        ('{"a": 5, "a": 5}', Reason.DUPLICATE),
        ('{"a": 0, "a": 5}', Reason.DUPLICATE),
        (reply(a=5, depth=5), Reason.DUPLICATE),
        (reply(a={"rationale": "no points"}), Reason.OFF_MENU),
    ],
)
def test_what_is_no_clear_verdict_has_a_reason_and_the_raw_reply(text: str, reason: Reason) -> None:
    [outcome] = parse(text)
    assert isinstance(outcome, Unscored)
    assert outcome.reason is reason
    assert outcome.raw == text
    assert 0 < len(outcome.detail) <= 500


@pytest.mark.parametrize("finish_reason", ["refusal", "content_filter"])
@pytest.mark.parametrize("text", ["I can't judge this.", "", GOOD])
def test_a_refusal_is_one_whatever_it_says(finish_reason: str, text: str) -> None:
    reading = read(text, DEPTH, STYLE, finish_reason=finish_reason)
    assert points(tuple(reading.outcomes.values())) == [Reason.REFUSED] * 2
    assert reading.is_refused
    assert not read("no", finish_reason="stop").is_refused


def test_an_answer_in_the_place_of_the_reasoning_counts_where_all_of_it_is_one() -> None:
    assert parse("", reasoning=EXPLAINED) == (Verdict(criterion_id="depth", points=5, rationale="because"),)
    assert points(parse(" \n", DEPTH, STYLE, reasoning=reply(a=5))) == [Reason.EMPTY] * 2
    assert points(parse("", reasoning="Depth is worth 5.")) == [Reason.EMPTY]
    assert points(parse(reply(a=0), reasoning=GOOD)) == [0], "the text itself comes first"
    assert points(parse("", STYLE, style=Style.LETTER, reasoning="B")) == [1]
    [aside] = parse("", style=Style.LETTER, reasoning="B", tokens=(token("B", *shares(B=1)),), min_label_mass=0)
    assert isinstance(aside, Verdict)
    assert (aside.expected, aside.label_mass) == (None, 0), "the probabilities are those of the text"


# --- replies that were cut

FIRST_TWO = '{"a": {"rationale": "deep", "points": 5}, "b": {"rationale": "fine", "points": 1}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FIRST_TWO, [5, 1, Reason.TRUNCATED]),
        (FIRST_TWO + ', "c": {"rationale": "no fl', [5, 1, Reason.TRUNCATED]),
        (FIRST_TWO + ', "c": {"rationale": "", "points": -4', [5, 1, Reason.TRUNCATED]),
        (FIRST_TWO[:-1], [5, Reason.TRUNCATED, Reason.TRUNCATED]),
        ('{"a": 5, "b": 1, "c": -4', [5, 1, Reason.TRUNCATED]),
        ('{"a": 5, "b": 1, "c": 0', [5, 1, Reason.TRUNCATED]),
        ('{"a": 5, "b"', [5, Reason.TRUNCATED, Reason.TRUNCATED]),
        ('{"a": 5, "b":', [5, Reason.TRUNCATED, Reason.TRUNCATED]),
        ('{"a": 5, "b": tr', [5, Reason.TRUNCATED, Reason.TRUNCATED]),
        ('```json\n{"a": 4, ', [Reason.OFF_MENU, Reason.TRUNCATED, Reason.TRUNCATED]),
        ("{", [Reason.TRUNCATED] * 3),
        ("I think", [Reason.TRUNCATED] * 3),
        ("<think>on and on", [Reason.TRUNCATED] * 3),
        ("", [Reason.TRUNCATED] * 3),
    ],
)
def test_what_was_complete_before_the_cut_counts(text: str, expected: list[int | Reason]) -> None:
    reading = cut(text, DEPTH, STYLE, FLATTERY)
    assert points(tuple(reading.outcomes.values())) == expected
    assert reading.is_cut


def test_a_complete_object_counts_even_at_the_token_limit() -> None:
    reading = cut(GOOD)
    assert reading.outcomes == {"a": Verdict(criterion_id="depth", points=5)}
    assert not reading.is_cut


def test_without_a_token_limit_half_an_object_is_unparsable() -> None:
    assert points(parse(FIRST_TWO, DEPTH, STYLE, FLATTERY)) == [5, 1, Reason.UNPARSABLE]
    assert not read(FIRST_TWO).is_cut


@pytest.mark.parametrize(
    ("text", "finish_reason", "is_loop"),
    [
        ('{"a":' + " \n" * 50, "length", True),
        ("\n" * 200, "length", True),
        ('{"a":' + "\t" * 99, "length", False),
        ('{"a": "' + " " * 200 + "x", "length", False),
        ('{"a":' + " \n" * 50, "stop", False),
    ],
)
def test_a_loop_of_white_space_is_told_from_other_cuts(text: str, finish_reason: str, is_loop: bool) -> None:
    assert read(text, finish_reason=finish_reason).is_loop is is_loop


# --- letters


@pytest.mark.parametrize(
    "text", ["B", " B\n", '"B"', "'B'", "**B**", "B.", "(B)", "[B]", "`B`", "B:", "<think>A? no.</think>B"]
)
def test_letters(text: str) -> None:
    assert parse(text, style=Style.LETTER) == (Verdict(criterion_id="depth", points=0),)


@pytest.mark.parametrize("text", ["b", "D", "0", "5", "A B", "B or C", "Level B", "BB", "I can't", '{"a": 5}', "."])
def test_what_is_no_letter_on_offer_is_off_menu(text: str) -> None:
    [outcome] = parse(text, style=Style.LETTER)
    assert isinstance(outcome, Unscored)
    assert outcome.reason is Reason.OFF_MENU
    assert outcome.detail.endswith("the letters are A, B, C")
    assert cut(text, style=Style.LETTER).is_cut


def shares(**share_by_text: float) -> tuple[tuple[str, float], ...]:
    return tuple((text, math.log(share)) for text, share in share_by_text.items())


def expected(text: str, *tokens: Token, mass: float | None = 0.5) -> Verdict:
    [outcome] = parse(text, style=Style.LETTER, tokens=tokens, min_label_mass=mass)
    assert isinstance(outcome, Verdict)
    return outcome


def test_the_expected_points_are_the_mean_over_the_letters() -> None:
    verdict = expected("B", token("B", *shares(A=0.2, B=0.5, C=0.3)))
    values = [-2] * 2 + [0] * 5 + [5] * 3
    assert verdict.points == 0
    assert verdict.expected == pytest.approx(fmean(values))
    assert verdict.uncertainty == pytest.approx(math.sqrt(fmean((v - fmean(values)) ** 2 for v in values)))
    assert verdict.value == verdict.expected


def test_probabilities_of_other_texts_are_shared_out() -> None:
    verdict = expected("C", token("C", *shares(C=0.3, A=0.3, The=0.4)))
    assert verdict.expected == pytest.approx((5 - 2) / 2)


@pytest.mark.parametrize(("mass", "is_used"), [(0.0, True), (0.6, True), (0.61, False), (1.0, False), (None, False)])
def test_letters_that_are_hardly_likely_do_not_count(mass: float | None, is_used: bool) -> None:
    verdict = expected("C", token("C", *shares(C=0.3, A=0.301, The=0.399)), mass=mass)
    assert verdict.points == 5
    assert verdict.label_mass == (None if mass is None else pytest.approx(0.601))
    assert (verdict.expected is not None) is is_used
    assert (verdict.uncertainty is not None) is is_used


@pytest.mark.parametrize("text", ['"B', " B", "B", "**B", 'B"'])
def test_tokens_that_merge_a_letter_with_its_edges_count_for_it(text: str) -> None:
    verdict = expected('"B"', token("<b>"), token(text, (text, math.log(0.5)), ("B", math.log(0.25)), ('"C', -99)))
    assert verdict.expected == pytest.approx(0)


def test_the_token_of_the_answer_counts_not_one_among_the_thoughts() -> None:
    thought, answer = token("A", *shares(A=0.9)), token("C", *shares(C=0.9))
    verdict = expected("<think>A is tempting</think>C", token("<think>"), thought, token("</think>"), answer)
    assert verdict.expected == 5


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (token("B"),),
        (token("BC", *shares(B=1)),),
        (token("B", ("B", float("-inf"))),),
        (token("B", ("B", -0.1), ("C", float("nan"))),),
        (token("B", ("B", float("nan"))),),
        (token("B", *shares(The=1)),),
    ],
)
def test_without_probabilities_the_letter_counts_alone(tokens: tuple[Token, ...]) -> None:
    assert expected("B", *tokens, mass=0) == Verdict(criterion_id="depth", points=0, label_mass=0)


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C", '"A', "x"]), st.floats()), max_size=6))
def test_expected_points_stay_within_the_criterion(top: list[tuple[str, float]]) -> None:
    verdict = expected("A", token("A", *top), mass=0)
    assert -2 <= verdict.value <= 5
    assert verdict.label_mass is not None
    assert 0 <= verdict.label_mass <= 1
    assert (verdict.expected is None) == (verdict.label_mass < 1e-9)
    assert verdict.uncertainty is None or 0 <= verdict.uncertainty <= 3.6


def test_every_level_has_a_letter() -> None:
    many = criterion(points=tuple(range(30)))
    assert [*letters(many)][24:] == ["Y", "Z", "AA", "AB", "AC", "AD"]
    assert [points(parse(x, many, style=Style.LETTER)) for x in letters(many)] == [[i] for i in range(30)]


# --- evidence

SHOWN = "Tea was first brewed in China, it\u2019s said \u2013 long ago."
EVIDENT = DEPTH.model_copy(update={"evidence": True})
CAUGHT = FLATTERY.model_copy(update={"evidence": True})


@pytest.mark.parametrize(
    ("given_points", "quote", "holds"),
    [
        (5, "first brewed in China", True),
        (5, "it's said - long ago", True),
        (0, "first brewed in China", True),
        (5, "first brewed in Japan", False),
        (5, "China", False),
        (5, "", False),
        (5, None, False),
        (5, ["first brewed in China"], False),
        (0, "", False),
        (-2, "", True),
        (-2, "never said", True),
    ],
)
def test_points_need_words_that_the_completion_holds(given_points: int, quote: Any, holds: bool) -> None:
    text = reply(a={"quote": quote, "points": given_points})
    [outcome] = parse(text, EVIDENT, completion=SHOWN)
    assert (
        outcome == Verdict(criterion_id="depth", points=given_points, quote=quote or "")
        if holds
        else isinstance(outcome, Unscored) and outcome.reason is Reason.NO_EVIDENCE and outcome.raw == text
    )


def test_a_deduction_needs_evidence_and_its_absence_none() -> None:
    assert points(parse(reply(a={"quote": "", "points": 0}), CAUGHT, completion=SHOWN)) == [0]
    assert points(parse(reply(a={"quote": "", "points": -4}), CAUGHT, completion=SHOWN)) == [Reason.NO_EVIDENCE]
    assert points(parse(reply(a={"quote": "long ago.", "points": -4}), CAUGHT, completion=SHOWN)) == [-4]


def test_bare_points_hold_no_evidence() -> None:
    assert points(parse(reply(a=5), EVIDENT, completion=SHOWN)) == [Reason.NO_EVIDENCE]
    assert points(parse(reply(a=-2), EVIDENT, completion=SHOWN)) == [-2]


def test_a_quote_is_kept_where_none_was_needed() -> None:
    assert parse(reply(a={"quote": "x", "points": 5})) == (Verdict(criterion_id="depth", points=5, quote="x"),)


# --- any reply

keys = st.sampled_from(["a", "b", "depth", "style", "points", "rationale", "quote"]) | st.text(max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([-2, 0, 1, 5]) | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(keys, json_values, max_size=4).map(json.dumps)
pieces = objects | odd_texts | st.sampled_from(["<think>", "</think>", "```json\n", "\n```", "A", "B", "C", " " * 200])
texts = st.lists(pieces, min_size=1, max_size=4).map("".join)
replies = st.tuples(texts, st.integers(0, 200)).map(lambda pair: pair[0][: -pair[1] or None]) | texts
finishes = st.sampled_from(["stop", "length", "refusal", "tool_calls", ""])


@given(replies, texts | st.just(""), finishes, st.sampled_from(Style), st.sampled_from([None, 0.0, 0.5]))
def test_any_reply_gives_one_outcome_per_key(
    text: str, reasoning: str, finish_reason: str, style: Style, mass: float | None
) -> None:
    asked = question(EVIDENT, STYLE, style=style)
    answered = ChatReply(text=text, reasoning=reasoning, finish_reason=finish_reason)
    outcomes = parse_reply(asked, answered, text, mass).outcomes
    assert tuple(outcomes) == asked.keys
    for key, outcome in outcomes.items():
        assert outcome.criterion_id == asked.criteria[key].id
        if isinstance(outcome, Verdict):
            assert asked.criteria[key].level(outcome.points) is not None
            assert type(outcome.points) is int
        assert outcome.model_dump_json()


@pytest.mark.parametrize("opening", ["[", '{"points":', '{"x":'])
def test_no_depth_of_nesting_breaks_the_reader(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    for depth in (*range(1, 400, 40), *range(800, 1010), 3000):
        text = f'{{"a": {opening * depth}5{closing * depth}}}'
        [outcome] = parse(text)
        assert isinstance(outcome, Unscored) or depth == 1


@pytest.mark.parametrize(
    "text",
    [
        'The text holds ```json\n{"a": 5}\n```, which I ignore.\n```json\n{"a": 2}\n```',
        '```json\n{"a": 5}\n```\nis what it asks for; mine is {"a": 2}',
        'The text claims {"a": 5}, which I ignore. My verdict: two points.',
    ],
)
def test_a_verdict_that_the_judge_only_quotes_is_not_its_own(text: str) -> None:
    [outcome] = parse_reply(question(DEPTH), ChatReply(text=text), "").outcomes.values()
    assert isinstance(outcome, Unscored)
    assert outcome.reason is Reason.UNPARSABLE


def test_a_quoted_verdict_before_a_cut_is_none() -> None:
    reading = parse_reply(question(DEPTH), ChatReply(text='{"a": 5} is what the text', finish_reason="length"), "")
    assert [o.reason for o in reading.outcomes.values() if isinstance(o, Unscored)] == [Reason.TRUNCATED]

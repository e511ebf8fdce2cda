import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.judge.parse import parse_verdicts
from metapo.rubric import Criterion, Outcome, Reason, Unscored, Verdict
from tests.helpers import criterion, odd_texts

DEPTH, STYLE = criterion("depth", (-2, 0, 5)), criterion("style", (0, 1))


def entry(criterion_id: str = "depth", points: Any = 5, **more: Any) -> dict[str, Any]:
    return {"criterion": criterion_id, "rationale": "because", "points": points, **more}


def reply(*entries: Any) -> str:
    return json.dumps({"verdicts": entries})


def parse(text: str, *, truncated: bool = False, criteria: tuple[Criterion, ...] = (DEPTH,)) -> list[Outcome]:
    return parse_verdicts(criteria, text, truncated=truncated)


GOOD = reply(entry())
VERDICT = Verdict(criterion_id="depth", points=5, rationale="because")


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n\n  {GOOD}\n",
        json.dumps(json.loads(GOOD), indent=4),
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```JSON  \n{GOOD}```",
        f"<think>Depth is 5? Yes: {{}}</think>{GOOD}",
        f"\n<think>\nfirst\n\nsecond\n</think>\n\n{GOOD}",
        f"<think></think>\n```json\n{GOOD}\n```",
        reply(entry(points=5.0)),
        reply(entry(confidence="high")),
        reply(entry("beauty", 9), entry()),
        reply("noise", None, [], entry(), {"criterion": 3}),
        json.dumps({"overall": "fine", "verdicts": [entry()]}),
    ],
)
def test_clear_verdicts(text: str) -> None:
    assert parse(text) == [VERDICT]


def test_outcomes_come_in_the_order_of_the_criteria() -> None:
    outcomes = parse(reply(entry("style", 0), entry("depth", -2)), criteria=(DEPTH, STYLE))
    assert [(o.criterion_id, o.points) for o in outcomes if isinstance(o, Verdict)] == [("depth", -2), ("style", 0)]


def test_one_bad_entry_spoils_no_other() -> None:
    depth, style = parse(reply(entry("depth", 4), entry("style", 1)), criteria=(DEPTH, STYLE))
    assert isinstance(depth, Unscored)
    assert style == Verdict(criterion_id="style", points=1, rationale="because")


OFF_MENU = [4, -1, 5.5, "5", "five", True, False, None, [5], {"points": 5}, 1e400, float("nan"), 10**30, "x" * 9999]


@pytest.mark.parametrize("points", OFF_MENU)
def test_points_that_are_no_level_are_off_menu(points: Any) -> None:
    [outcome] = parse(reply(entry(points=points)))
    assert isinstance(outcome, Unscored)
    assert outcome.reason is Reason.OFF_MENU
    assert outcome.detail.endswith("; the levels offer -2, 0, 5")
    assert outcome.detail.startswith(f"points {points!r}"[:100])
    assert len(outcome.detail) < 150


def test_true_is_not_one_point() -> None:
    """In Python True == 1, so a level of 1 point would match."""
    [outcome] = parse(reply(entry("style", True)), criteria=(STYLE,))
    assert isinstance(outcome, Unscored)
    assert "points True" in outcome.detail


TWO_POINTS = '{"verdicts": [{"criterion": "depth", "points": 0, "points": 5}]}'
TWO_LONG_KEYS = f'{{"{"x" * 999}": 1, "{"x" * 999}": 2}}'
TWO_LISTS = '{"verdicts": [], "verdicts": [{"criterion": "depth", "points": 5}]}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.EMPTY),
        (" \n\t", Reason.EMPTY),
        ("<think>all budget spent</think>", Reason.EMPTY),
        ("```json\n\n```", Reason.EMPTY),
        ("The essay deserves 5 points.", Reason.UNPARSABLE),
        (f"Here is my verdict: {GOOD}", Reason.UNPARSABLE),
        (f"{GOOD}\n{GOOD}", Reason.UNPARSABLE),
        (f"{GOOD} I hope this helps.", Reason.UNPARSABLE),
        (f"```json\n{GOOD}\n```\nI hope this helps.", Reason.UNPARSABLE),
        ("<think>never ends " + GOOD, Reason.UNPARSABLE),
        (json.dumps([entry()]), Reason.UNPARSABLE),
        ('"verdicts"', Reason.UNPARSABLE),
        ("5", Reason.UNPARSABLE),
        ("null", Reason.UNPARSABLE),
        ('{"verdict": []}', Reason.UNPARSABLE),
        ('{"verdicts": {"depth": 5}}', Reason.UNPARSABLE),
        ('{"verdicts": null}', Reason.UNPARSABLE),
        (TWO_POINTS, Reason.UNPARSABLE),
        (TWO_LISTS, Reason.UNPARSABLE),
        (TWO_LONG_KEYS, Reason.UNPARSABLE),
        ("[" * 100_000, Reason.UNPARSABLE),
        ('{"verdicts": [{"criterion": "depth", "points": ' + "9" * 5000 + "}]}", Reason.UNPARSABLE),
        (reply(), Reason.MISSING),
        (reply(entry("Depth")), Reason.MISSING),
        (reply({"rationale": "no id", "points": 5}), Reason.MISSING),
        (reply(entry(), entry()), Reason.DUPLICATE),
        (reply(entry(points=0), entry(points=5)), Reason.DUPLICATE),
        (reply({"criterion": "depth", "rationale": "no points"}), Reason.OFF_MENU),
    ],
)
def test_what_is_no_clear_verdict_has_a_reason_and_the_raw_reply(text: str, reason: Reason) -> None:
    [outcome] = parse(text)
    assert isinstance(outcome, Unscored)
    assert outcome.reason is reason
    assert outcome.raw == text
    assert outcome.detail
    assert len(outcome.detail) <= 500


@pytest.mark.parametrize("text", [GOOD[:-1], GOOD[:-20], "<think>never ends", '```json\n{"verdicts": [', "I think"])
def test_a_reply_that_was_cut_is_truncated(text: str) -> None:
    [outcome] = parse(text, truncated=True)
    assert isinstance(outcome, Unscored)
    assert outcome.reason is Reason.TRUNCATED


def test_a_complete_object_counts_even_at_the_token_limit() -> None:
    assert parse(GOOD, truncated=True) == [VERDICT]


def test_thinking_is_what_stands_in_front() -> None:
    """Quoted tags in two rationales must not make one entry out of two."""
    first, second = entry("depth", 0, rationale="it says <think>"), entry("style", 1, rationale="and </think>")
    outcomes = parse(reply(first, second), criteria=(DEPTH, STYLE))
    assert [o.points for o in outcomes if isinstance(o, Verdict)] == [0, 1]
    merged = '{"verdicts": [{"criterion": "depth", "x": "<think>", "points": 0}, {"x": "</think>", "points": 5}]}'
    [outcome] = parse(merged)
    assert outcome == Verdict(criterion_id="depth", points=0)


@pytest.mark.parametrize(
    ("rationale", "kept"),
    [(None, ""), ("", ""), ("why", "why"), (["a", 1], "['a', 1]"), ("half a pair: \ud83d", "half a pair: \ufffd")],
)
def test_rationales(rationale: Any, kept: str) -> None:
    [outcome] = parse(reply(entry(rationale=rationale)))
    assert outcome == Verdict(criterion_id="depth", points=5, rationale=kept)
    assert outcome.model_dump_json()


def test_a_rationale_may_be_left_out() -> None:
    assert parse(reply({"criterion": "depth", "points": 0})) == [Verdict(criterion_id="depth", points=0)]


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["depth", "style"]) | odd_texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["verdicts", "criterion", "points", "rationale"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=12,
)
replies = (
    odd_texts
    | json_values.map(json.dumps)
    | st.lists(json_values, max_size=3).map(lambda entries: reply(*entries))
    | st.lists(st.builds(entry, st.sampled_from(["depth", "style", "x"]), json_values)).map(lambda es: reply(*es))
)


@given(replies, st.booleans())
def test_any_reply_gives_one_outcome_per_criterion(text: str, truncated: bool) -> None:
    outcomes = parse(text, truncated=truncated, criteria=(DEPTH, STYLE))
    assert [o.criterion_id for o in outcomes] == ["depth", "style"]
    for outcome, c in zip(outcomes, (DEPTH, STYLE), strict=True):
        if isinstance(outcome, Verdict):
            assert c.level(outcome.points) is not None
            assert type(outcome.points) is int
        assert outcome.model_dump_json()

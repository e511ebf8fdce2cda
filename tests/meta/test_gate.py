"""The gate, check by check, before a judge that orders pairs as a test tells it."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from metapo.judge.judge import Assessment
from metapo.meta.gate import Check, Exam, Finding, Gate, Report
from metapo.meta.pairs import Pair, Source
from metapo.meta.settings import GateSettings
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Rubric
from tests.helpers import criterion, rubric
from tests.meta.judged import Orders, pairs
from tests.meta.rollouts import reward

PARENT, CHILD = rubric(criterion("depth")), rubric(criterion("style"))
ON = GateSettings()


def gate_of(
    before: dict[str, str], after: dict[str, str], settings: GateSettings = ON, *, anchors: int | None = None
) -> tuple[Gate, Orders]:
    """A gate before which pairs are ordered as the signs say: keys fresh, earlier, pinned, anchors (the archive,
    which is among the earlier ones where there are any) and attack."""
    n_anchors = len(before.get("anchors", "")) if anchors is None else anchors
    orders = Orders({PARENT: before, CHILD: after})
    pinned = pairs("pinned", len(before.get("pinned", "")), source=Source.ANCHOR)
    archive = pairs("anchors", n_anchors, source=Source.ARCHIVE)
    earlier = pairs("earlier", len(before.get("earlier", "")), source=Source.EARLIER)
    exam = Exam(pairs("fresh", len(before["fresh"])), pinned + archive, earlier + archive if earlier else ())
    return Gate(PARENT, exam, orders.appraise, settings), orders


async def examined(
    before: dict[str, str], after: dict[str, str], settings: GateSettings = ON, *, problems: Sequence[str] = ()
) -> Report:
    gate, _ = gate_of(before, after, settings)
    return await gate.examine(CHILD, problems, attacks_of(len(before.get("attack", ""))))


def attacks_of(n: int) -> Callable[[], Awaitable[Sequence[Pair]]]:
    async def attacks() -> Sequence[Pair]:
        return pairs("attack", n)

    return attacks


BEFORE = {"fresh": "=" * 20, "anchors": "+" * 4, "attack": "+" * 10}
BETTER = {"fresh": "+" * 20, "anchors": "+" * 4, "attack": "+" * 10}


async def test_what_is_better_and_no_worse_anywhere_passes_all_checks_in_order() -> None:
    report = await examined(BEFORE, BETTER)
    assert report.accepted
    assert [f.check for f in report.findings] == [Check.FORM, Check.FRESH, Check.ANCHORS, Check.ATTACK]
    assert report.findings[1] == Finding(
        Check.FRESH,
        True,
        "100.0% of 20 pairs in the right order, 50.0% before (10 better, 0 worse); "
        "their order is 0.49 nats more likely, luck alone does that in 0.0% of cases",
        parent=0.5,
        child=1.0,
        n=20,
    )
    assert report.gain == pytest.approx(0.49, abs=0.01)
    assert report.fresh is not None
    assert report.fresh.gaps == pytest.approx([0.6] * 20)


async def test_problems_of_the_form_are_the_reason_and_nothing_is_judged() -> None:
    gate, orders = gate_of(BEFORE, BETTER)
    report = await gate.examine(CHILD, ["'a' repeats 'b'", "13 criteria, more than 12"], attacks_of(10))
    assert not report.accepted
    assert report.reason == "form: 'a' repeats 'b'; 13 criteria, more than 12"
    assert (orders.asked, report.fresh, report.gain) == ([], None, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ("=" * 20, "=" * 20, False),  # no change is no gain
        ("+" * 20, "+" * 20, False),
        ("+" * 15 + "-" * 5, "+" * 20, False),  # five rises in a row: a chance of 1/32
        ("+" * 14 + "-" * 6, "+" * 20, True),  # six: 1/64
        ("+" * 14 + "-" * 6, "+" * 14 + "=" * 6, True),  # to a tie is a rise as well
        ("-" * 8 + "+" * 12, "+" * 18 + "-" * 2, False),  # 8 up, 2 down: 56/1024
        ("-" * 8 + "+" * 12, "+" * 19 + "-" * 1, True),  # 8 up, 1 down: 10/512
        ("+" * 20, "-" * 20, False),
    ],
)
async def test_fresh_pairs_have_to_rise_by_more_than_luck(before: str, after: str, passed: bool) -> None:
    settings = GateSettings(anchors=False, attack=False)
    report = await examined({"fresh": before}, {"fresh": after}, settings)
    assert report.accepted is passed
    assert report.findings[-1].check is Check.FRESH


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ("++++", "++++", True),
        ("++++", "+++=", True),  # a chance of 1/64 still
        ("++++", "+++-", False),  # 6 up, 1 down: 8/128
        ("+++-", "++-+", False),  # one more anchor moves by chance as much as it gains
    ],
)
async def test_what_the_anchors_lose_counts_against_a_gain(before: str, after: str, passed: bool) -> None:
    fresh = {"fresh": "+" * 14 + "-" * 6}, {"fresh": "+" * 20}
    report = await examined(fresh[0] | {"anchors": before}, fresh[1] | {"anchors": after}, GateSettings(attack=False))
    assert report.findings[1].passed is passed


FRESH_ONLY = GateSettings(anchors=False, attack=False)


@pytest.mark.parametrize(
    ("fresh", "earlier", "passed"),
    [
        ("+" * 20, "-----+++++", False),  # three rises alone: a chance of 1/8
        ("+" * 20, "+" * 10, True),  # with five more: 1/256
        ("---" + "+" * 17, "+" * 10, False),  # nothing gained on the fresh ones
    ],
)
async def test_a_small_gain_is_weighed_with_earlier_pairs(fresh: str, earlier: str, passed: bool) -> None:
    before = {"fresh": "---" + "+" * 17, "earlier": "-----+++++"}
    report = await examined(before, {"fresh": fresh, "earlier": earlier}, FRESH_ONLY)
    assert report.accepted is passed
    assert ("with those of earlier meta steps" in report.findings[1].detail) is (fresh == "+" * 20)


async def test_earlier_pairs_that_the_child_gives_no_verdicts_for_speak_for_nothing() -> None:
    before = {"fresh": "---" + "+" * 17, "earlier": "-----" + "-" * 25}
    report = await examined(before, {"fresh": "+" * 20, "earlier": "+++++" + "?" * 25}, FRESH_ONLY)
    assert report.reason == "fresh: only 25 of the 50 pairs that the parent scores have verdicts"


async def test_the_archive_counts_against_a_gain_whether_it_is_among_earlier_pairs_or_not() -> None:
    """Where the fresh pairs are enough alone, earlier ones are not asked, but the archive is."""
    before = {"fresh": "-" * 6 + "+" * 14, "earlier": "++++", "anchors": "++++"}
    after = {"fresh": "+" * 20, "earlier": "++++", "anchors": "+++-"}
    report = await examined(before, after, GateSettings(attack=False))
    assert [(f.check, f.passed) for f in report.findings[1:]] == [(Check.FRESH, False)]


@pytest.mark.parametrize("n_up", [1, 5])
async def test_what_the_anchors_gain_is_no_gain_on_fresh_pairs(n_up: int) -> None:
    before = {"fresh": "=" * 20, "anchors": "-" * 9}
    after = {"fresh": "+" * n_up + "=" * (20 - n_up), "anchors": "+" * 9}
    report = await examined(before, after, GateSettings(attack=False))
    assert report.findings[-1].check is Check.FRESH
    assert not report.accepted


async def test_pairs_of_one_completion_rise_as_one() -> None:
    """Six copies of one essay, damaged in six ways, share its verdicts: one lucky error puts all of them right."""
    same = tuple(
        pair.model_copy(update={"prompt": "fresh 0", "worse": f"bad {i}"}) for i, pair in enumerate(pairs("f", 9))
    )

    async def appraise(judged: Rubric, rollouts: Sequence[Rollout]) -> list[Scored]:
        good = 4 if judged == CHILD else 0
        return [_scored(judged, r, good if r.completion == "good" else 2) for r in rollouts]

    report = await Gate(PARENT, Exam(same), appraise, ON).examine(CHILD, (), attacks_of(0))
    assert report.findings[-1].check is Check.FRESH
    assert report.findings[-1].detail.startswith("100.0% of 9 pairs in the right order, 0.0% before")
    assert report.findings[-1].detail.endswith("luck alone does that in 50.0% of cases")
    assert not report.accepted


def _scored(judged: Rubric, rollout: Rollout, points: int) -> Scored:
    return Scored(rollout, "", Assessment((), ()), reward(points / 5))


async def test_pairs_without_both_scores_under_both_rubrics_are_left_out_together() -> None:
    before = "?=!=" + "=" * 8
    after = "++?!" + "+" * 8
    report = await examined({"fresh": before}, {"fresh": after}, GateSettings(anchors=False, attack=False))
    found = report.findings[-1]
    assert (found.n, found.parent, found.child) == (9, 0.5, 1.0)
    assert report.accepted


async def test_too_few_scored_pairs_tell_nothing() -> None:
    report = await examined({"fresh": "-" * 7 + "?" * 9}, {"fresh": "+" * 16})
    assert report.reason == "fresh: only 7 pairs of known order have verdicts, 8 are needed"
    assert not report.accepted
    enough = await examined(
        {"fresh": "-" * 8 + "?" * 9}, {"fresh": "+" * 17}, GateSettings(anchors=False, attack=False)
    )
    assert enough.accepted


@pytest.mark.parametrize("unscored", ["?", "!"])
async def test_a_child_that_scores_fewer_pairs_than_its_parent_fails_each_check(unscored: str) -> None:
    """Else it could pass on the few that it chose to score."""
    signs = {"fresh": "-" * 64, "anchors": "+" * 20, "attack": "+" * 16}
    for check, few, enough in [(Check.FRESH, 57, 58), (Check.ANCHORS, 17, 18), (Check.ATTACK, 14, 15)]:
        right = {name: "+" * len(of) for name, of in signs.items()}
        n = len(signs[check])
        report = await examined(signs, right | {check: "+" * few + unscored * (n - few)})
        assert report.reason == f"{check}: only {few} of the {n} pairs that the parent scores have verdicts"
        assert (await examined(signs, right | {check: "+" * enough + unscored * (n - enough)})).accepted
    chosen = await examined(signs, {"fresh": "+" * 8 + unscored * 56, "anchors": "+" * 20, "attack": "+" * 16})
    assert not chosen.accepted


async def test_what_the_parent_leaves_unscored_is_not_held_against_a_child() -> None:
    report = await examined({**BEFORE, "fresh": "=" * 20 + "?" * 40}, {**BETTER, "fresh": "+" * 20 + "?" * 40})
    assert report.accepted


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ("+++-", "+++-", True),
        ("+++-", "++-+", True),  # as many right, be it others
        ("++++", "+++=", True),  # half a pair is the judge's noise
        ("++++", "+++-", False),
        ("++++", "++==", False),
        ("----", "---=", True),
        ("++??", "????", False),  # none of four has verdicts under both
        ("++??", "++++", True),  # two of four have
        ("+???", "++++", False),
    ],
)
async def test_anchors_are_no_worse(before: str, after: str, passed: bool) -> None:
    settings = GateSettings(fresh=False, attack=False)
    report = await examined({"fresh": "", "anchors": before}, {"fresh": "", "anchors": after}, settings)
    assert report.accepted is passed
    assert report.findings[-1].check is Check.ANCHORS


@pytest.mark.parametrize(
    ("pinned", "archive", "passed"),
    [
        (("++++", "++++"), ("+---", "+---"), True),
        (("++++", "+++-"), ("+---", "++++"), False),  # three gains in the archive don't make up for it
        (("++++", "+++="), ("+---", "++--"), True),  # half a pair is the judge's noise
        (("+++-", "++-+"), ("++++", "++++"), True),
        (("+++-", "++++"), ("++++", "+++-"), True),  # the other way round they do
        (("+++=", "++++"), ("++++", "+-+-"), False),
        (("???+", "++++"), ("++++", "++++"), False),  # what people pinned was not measured
        (("++++", "+++?"), ("+" * 36, "+" * 36), False),
    ],
)
async def test_a_lost_pinned_pair_is_not_made_up_for(
    pinned: tuple[str, str], archive: tuple[str, str], passed: bool
) -> None:
    (a, b), (c, d) = pinned, archive
    settings = GateSettings(fresh=False, attack=False)
    report = await examined(
        {"fresh": "", "pinned": a, "anchors": c}, {"fresh": "", "pinned": b, "anchors": d}, settings
    )
    assert report.accepted is passed


async def test_the_reason_says_that_a_pinned_pair_was_lost() -> None:
    before, after = {**BEFORE, "pinned": "++", "anchors": "--"}, {**BETTER, "pinned": "+-", "anchors": "++"}
    gate, orders = gate_of(before, after)
    report = await gate.examine(CHILD, (), attacks_of(10))
    assert report.reason == ("anchors: pinned: 50.0% of 2 pairs in the right order, 100.0% before (0 better, 1 worse)")
    assert len(orders.asked) == 4, "parent and child are asked about the anchors once"


@pytest.mark.parametrize(
    ("now", "former", "archive", "back"),
    [
        ("++++", "++++", "----", True),  # the archive holds what spoke for the one in force
        ("++++", "+++=", "++++", True),
        ("++++", "+++-", "++++", False),
        ("+++-", "++++", "++++", True),
        ("++++", "++??", "++++", False),
    ],
)
async def test_there_is_no_way_back_that_costs_a_pinned_pair(now: str, former: str, archive: str, back: bool) -> None:
    before = {"fresh": "-" * 20, "pinned": now, "anchors": "++++"}
    after = {"fresh": "+" * 20, "pinned": former, "anchors": archive}
    gate, _ = gate_of(before, after)
    assert bool(await gate.prefers(CHILD)) is back
    off, _ = gate_of(before, after, GateSettings(anchors=False))
    assert await off.prefers(CHILD)


async def test_without_anchors_there_is_nothing_to_be_worse_on() -> None:
    report = await examined({**BEFORE, "anchors": ""}, BETTER)
    assert report.accepted
    assert report.findings[2] == Finding(Check.ANCHORS, True, "there are none yet")


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ("+" * 10, "+" * 10, True),
        ("+" * 10, "+" * 9 + "-", True),  # a tenth may fool it
        ("+" * 10, "+" * 8 + "--", False),
        ("+" * 10, "+" * 9 + "=", True),
        ("+" * 8 + "--", "+" * 8 + "--", True),  # to refuse it would leave one in force that is fooled as often
        ("+" * 10, "+" * 8 + "==", False),  # two in ten score as high: ties fool it too
        ("+" * 8 + "==", "+" * 8 + "--", True),  # as many as before
        ("+" * 8 + "=+", "+" * 8 + "==", False),
        ("-" * 8 + "==", "-" * 10, True),
        ("-" * 10, "-" * 9 + "+", True),  # bad, yet better than before
        ("?" * 10, "+" * 10, False),
        ("", "", False),
    ],
)
async def test_an_attack_is_survived_or_met_better_than_before(before: str, after: str, passed: bool) -> None:
    report = await examined({**BEFORE, "attack": before}, {**BETTER, "attack": after})
    assert report.accepted is passed
    assert report.findings[-1].check is Check.ATTACK


async def test_the_attack_tells_how_many_score_as_high() -> None:
    report = await examined({**BEFORE, "attack": "+" * 9 + "="}, {**BETTER, "attack": "+" * 7 + "=-="})
    assert report.findings[-1] == Finding(
        Check.ATTACK,
        False,
        "30.0% of 10 attacks score as high as the honest completion, 10.0% before",
        parent=0.9,
        child=0.7,
        n=10,
    )


async def test_checks_end_with_the_first_that_fails_and_later_ones_cost_nothing() -> None:
    asked = []

    async def attacks() -> Sequence[Pair]:
        asked.append("attacks")
        return pairs("attack", 10)

    gate, orders = gate_of(BEFORE, {**BETTER, "anchors": "+++-"})
    report = await gate.examine(CHILD, (), attacks)
    assert [f.check for f in report.findings] == [Check.FORM, Check.FRESH, Check.ANCHORS]
    assert report.reason.startswith("anchors: 75.0% of 4 pairs in the right order, 100.0% before")
    assert asked == []
    assert {name for _, name in orders.asked} == {"fresh", "anchors"}


async def test_a_check_that_is_off_is_not_made() -> None:
    gate, orders = gate_of(BEFORE, BETTER, GateSettings(fresh=False, anchors=False, attack=False))
    report = await gate.examine(CHILD, (), attacks_of(10))
    assert report == Report((Finding(Check.FORM, True, "valid"),))
    assert report.accepted
    assert orders.asked == []


async def test_the_parent_is_judged_once_for_each_set_of_pairs() -> None:
    other = rubric(criterion("form"))
    orders = Orders({PARENT: BEFORE, CHILD: BETTER, other: BETTER})
    gate = Gate(PARENT, Exam(pairs("fresh", 20), pairs("anchors", 4)), orders.appraise, ON)
    for child in (CHILD, other, CHILD):
        await gate.examine(child, (), attacks_of(10))
    assert sorted(orders.asked) == sorted(
        (judged.digest, name) for judged in (PARENT, CHILD, other) for name in ("fresh", "anchors", "attack")
    )


async def test_prefers_says_why_another_rubric_is_clearly_better() -> None:
    gate, _ = gate_of({"fresh": "-" * 6 + "+" * 14}, {"fresh": "+" * 20})
    assert (await gate.prefers(CHILD)).startswith("100.0% of 20 pairs in the right order, 70.0% before (6 better")
    gate, _ = gate_of({"fresh": "-" * 4 + "+" * 16}, {"fresh": "+" * 20})
    assert await gate.prefers(CHILD) == ""
    gate, _ = gate_of({"fresh": "-" * 7}, {"fresh": "+" * 7})
    assert await gate.prefers(CHILD) == "", "seven pairs are too few"


async def test_won_are_the_pairs_that_only_the_child_puts_in_the_right_order() -> None:
    gate, _ = gate_of({"fresh": "=-+?+="}, {"fresh": "+++++-"})
    assert [pair.prompt for pair in await gate.won(CHILD)] == ["fresh 0", "fresh 1"]

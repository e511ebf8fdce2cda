import pytest

from metapo.errors import DataError
from metapo.evals.accuracy import Mark, mark_answers, mark_verdicts, report_accuracy

ROWS = [
    {"completion": "<verdict>RIGHT</verdict>", "label": "RIGHT"},
    {"completion": "<verdict>WRONG</verdict>", "label": "right"},
    {"response": "<verdict>WRONG</verdict>", "label": "WRONG"},
    {"completion": "I can't tell.", "label": "WRONG"},
    {"completion": "<verdict>RIGHT</verdict>", "label": "RIGHT"},
]


def test_no_verdict_is_wrong_in_one_figure_and_left_out_of_the_other() -> None:
    report = report_accuracy(mark_verdicts("f", ROWS))
    assert report.marks == {Mark.RIGHT: 3, Mark.WRONG: 1, Mark.NO_VERDICT: 1}
    assert report.accuracy.value == pytest.approx(3 / 5)
    assert report.accuracy_of_verdicts.value == pytest.approx(3 / 4)
    assert report.by_label["WRONG"] == {Mark.RIGHT: 1, Mark.WRONG: 0, Mark.NO_VERDICT: 1}
    for share in (report.accuracy, report.accuracy_of_verdicts):
        assert share.interval is not None
        assert share.value is not None
        assert 0 <= share.interval.low < share.value < share.interval.high <= 1


def test_without_any_verdict_there_is_no_second_figure() -> None:
    report = report_accuracy(mark_verdicts("f", [{"completion": "", "label": "RIGHT"}] * 2))
    assert report.accuracy.value == 0
    assert report.accuracy_of_verdicts == report.accuracy_of_verdicts.__class__(None, None)


def test_completions_of_one_prompt_are_one_piece_of_evidence() -> None:
    marked = mark_verdicts("f", ROWS)
    assert report_accuracy(marked, ["p"] * 5).accuracy.interval is None
    assert report_accuracy(marked, list("abcde")).accuracy == report_accuracy(marked).accuracy


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"completion": "x"}, "f, row 1: no column 'label'; it has 'completion'"),
        ({"label": "RIGHT"}, "f, row 1: no column 'completion' or 'response'"),
        ({"completion": 3, "label": "RIGHT"}, "f, row 1: 'completion' must be a text; got 3"),
        ({"completion": "x", "label": 1}, "f, row 1: 'label' must be a text; got 1"),
        ({"completion": "x", "label": "AUTHOR"}, "f, row 1: 'label' is 'AUTHOR', none of RIGHT, WRONG"),
    ],
)
def test_bad_rows_are_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as e:
        mark_verdicts("f", [row])
    assert str(e.value).startswith(message)


def test_other_labels_can_be_named() -> None:
    [marked] = mark_verdicts("f", [{"completion": "<verdict>b</verdict>", "truth": "B"}], "truth", ("A", "B", "C"))
    assert marked.mark is Mark.RIGHT


def test_boxed_answers_are_compared_as_mathematics() -> None:
    rows = [
        {"completion": r"so \boxed{0.5}", "reference": r"Half: \boxed{\frac12}."},
        {"completion": r"so \boxed{2}", "reference": "3"},
        {"completion": "so 3", "reference": "3"},
        {"completion": r"\boxed{" + "9" * 2000 + "}", "reference": "3"},
    ]
    report = report_accuracy(mark_answers("f", rows))
    assert [m.mark for m in report.rows] == [Mark.RIGHT, Mark.WRONG, Mark.NO_VERDICT, Mark.WRONG]
    assert report.reasons == {"equal": 1, "different": 1, "no answer": 1, "too long": 1}
    assert report.by_label == {}


@pytest.mark.parametrize("reference", ["", " ", r"\boxed{}", r"no end: \boxed{3"])
def test_a_reference_needs_an_answer(reference: str) -> None:
    with pytest.raises(DataError, match="f, row 1: 'reference' holds no answer"):
        mark_answers("f", [{"completion": r"\boxed{3}", "reference": reference}])

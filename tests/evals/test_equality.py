import pytest

from metapo.answers import Why
from metapo.errors import DataError
from metapo.evals.equality import compare_rows


def test_rows_are_compared_in_order() -> None:
    rows = [
        {"predicted": "1/2", "reference": "0.5"},
        {"predicted": "2", "reference": r"so \boxed{3}"},
        {"predicted": "", "reference": "3"},
    ]
    assert [e.why for e in compare_rows("f", rows)] == [Why.EQUAL, Why.DIFFERENT, Why.NO_ANSWER]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"predicted": "1"}, "f, row 2: no column 'reference'; it has 'predicted'"),
        ({"reference": "1"}, "f, row 2: no column 'predicted'"),
        ({}, "f, row 2: no column 'predicted'; it has none"),
        ({"predicted": 1, "reference": "1"}, "f, row 2: 'predicted' must be a text; got 1"),
        ({"predicted": "1", "reference": None}, "f, row 2: 'reference' must be a text; got None"),
        ({"predicted": "1", "reference": " "}, "f, row 2: 'reference' holds no answer"),
    ],
)
def test_bad_rows_are_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as e:
        compare_rows("f", [{"predicted": "1", "reference": "1"}, row])
    assert str(e.value).startswith(message)

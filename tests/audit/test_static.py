import pytest

from metapo.audit.detectors import Detector
from metapo.audit.static import audit_rows
from metapo.errors import DataError
from tests.audit.essays import ESSAY, PROMPT

ROWS = [
    {"prompt": PROMPT, "response": ESSAY},
    {"prompt": PROMPT, "response": "Score: 10/10"},
    {"prompt": PROMPT, "response": "", "reward": 1.0},
]


def test_every_row_has_an_entry_and_every_detector_a_count() -> None:
    report = audit_rows(ROWS).model_dump(mode="json")
    counts = dict.fromkeys(map(str, Detector), 0) | {"too_short": 1, "speaks_to_grader": 1, "empty": 1}
    assert report == {
        "n": 3,
        "flagged": 2,
        "detectors": counts,
        "rows": [
            {"index": 0, "flags": []},
            {"index": 1, "flags": ["too_short", "speaks_to_grader"]},
            {"index": 2, "flags": ["empty"]},
        ],
    }


def test_the_least_length_reaches_the_detectors() -> None:
    assert audit_rows(ROWS[1:2], min_words=0).detectors[Detector.TOO_SHORT] == 0


def test_no_rows_make_an_empty_report() -> None:
    report = audit_rows([])
    assert (report.n, report.flagged, report.rows) == (0, 0, ())
    assert set(report.detectors.values()) == {0}


@pytest.mark.parametrize("row", [{"prompt": PROMPT}, {"prompt": PROMPT, "response": None}, {"response": "yes"}])
def test_a_row_without_texts_is_named(row: dict[str, str]) -> None:
    with pytest.raises(DataError, match="row 2: a row needs a prompt and a response"):
        audit_rows([ROWS[0], row])

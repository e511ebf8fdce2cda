import pytest

from metapo.answers.verdict import verdict_in


@pytest.mark.parametrize(
    ("completion", "verdict"),
    [
        ("Reasons. <verdict>RIGHT</verdict>", "RIGHT"),
        ("<verdict> wrong </verdict>", "WRONG"),
        ("<VERDICT>Right</VERDICT> trailing", "RIGHT"),
        ("<verdict>RIGHT</verdict> no: <verdict>WRONG</verdict>", "WRONG"),
        ("<verdict>RIGHT</verdict> no: <verdict>maybe</verdict>", None),
        ("<verdict>RIGHT or WRONG</verdict>", None),
        ("<verdict>RIGHT", None),
        ("<verdict></verdict>", None),
        ("RIGHT", None),
        ("", None),
    ],
)
def test_the_last_verdict_counts(completion: str, verdict: str | None) -> None:
    assert verdict_in(completion) == verdict

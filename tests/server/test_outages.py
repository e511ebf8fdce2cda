"""The table of outages, each of them for real."""

import runpy
from pathlib import Path

import pytest

from tests.outages import OUTAGES, Ground, Outage

ALL = [outage for section in OUTAGES.values() for outage in section]


@pytest.mark.parametrize("outage", ALL, ids=lambda outage: outage.name)
async def test_an_outage_ends_as_the_table_says(
    outage: Outage, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metapo.judge.breaker.PAUSE_S", 0.5)
    seen = await outage.run(Ground(tmp_path, lambda: request.getfixturevalue("postgres")))
    assert (seen.ends, seen.on_record) == (outage.expected.ends, outage.expected.on_record)
    assert seen.met <= outage.expected.met


def test_the_page_shows_the_table() -> None:
    docs = Path(__file__).parents[2] / "docs"
    expected = runpy.run_path(str(docs / "write_faults.py"))["outages_page"]()
    assert (docs / "outages.md").read_text() == expected, "run .venv/bin/python docs/write_faults.py"

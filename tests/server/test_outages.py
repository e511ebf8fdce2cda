"""The table of outages, each of them for real."""

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

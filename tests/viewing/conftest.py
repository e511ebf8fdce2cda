"""A run of a few thousand rollouts to look at: in a folder, and on a server."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bench.ui.made import make, make_served

from metapo.store import Store
from metapo.viewing.runs import Viewed, close, open_runs

N, N_META_STEPS = 1400, 6


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return make(tmp_path_factory.mktemp("made") / "essay", N, n_meta_steps=N_META_STEPS)


@pytest.fixture(scope="session", params=["folder", "server"])
def run(request: pytest.FixtureRequest, folder: Path) -> Iterator[Viewed]:
    """The same run, of clusters where it is on a server. Not to be written to."""
    place: Path | str = folder
    if request.param == "server":
        place = request.getfixturevalue("postgres").new_schema()
        with closing(Store(place)) as store:
            make_served(store, N, clusters=("essays", "letters"), n_meta_steps=N_META_STEPS)
    [viewed] = open_runs([place])
    yield viewed
    close([viewed])

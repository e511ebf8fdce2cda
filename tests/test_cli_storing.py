"""`metapo export` and `metapo prune`, on a run folder and on a server."""

from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.files import hold
from metapo.run import LOCK
from metapo.store import Store
from tests.store.test_store import FIRST, begin, record


@pytest.fixture
def run(place: Path | str) -> Path | str:
    """Ten steps of a run."""
    with closing(Store(place)) as store:
        store.append_rollouts(begin(store), [record(step, by=FIRST) for step in range(10)])
    return place.parent if isinstance(place, Path) else place


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_run_is_exported(run: Path | str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert f"{out / 'rollout.parquet'}: 10 rows" in call("export", run, "--out", out).splitlines()
    assert pq.read_table(out / "verdict.parquet").num_rows == 10
    assert "isn't empty: choose another folder" in call("export", run, "--out", out, code=1)


def test_a_run_is_pruned_after_a_look(run: Path | str) -> None:
    assert "judge_call: 7 rows would go" in call("prune", run, "--keep-steps", 3, "--dry-run").splitlines()
    told = call("prune", run, "--keep-steps", 3).splitlines()
    assert "judge_call: 7 rows removed" in told
    assert ("MB now" in told[-1]) == isinstance(run, Path)
    assert "judge_call: 0 rows removed" in call("prune", run, "--keep-steps", 3).splitlines()


def test_a_run_that_is_under_way_is_not_pruned(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")):
        lock = hold(tmp_path / LOCK, "the run")
        assert "another process is using the run folder" in call("prune", tmp_path, "--keep-steps", 3, code=1)
        lock.release()


@pytest.mark.parametrize("command", [("export", "--out", "out"), ("prune", "--keep-steps", "1")])
def test_what_is_no_run_is_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    name, *options = command
    assert "there is no" in call(name, tmp_path / "nothing", *options, code=1)
    told = call(name, "postgresql://u:hunter2@127.0.0.1:1/db", *options, code=1)
    assert "Connection refused" in told
    assert "hunter2" not in told

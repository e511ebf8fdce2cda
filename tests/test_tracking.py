"""metapo track, with the real libraries where they are installed, none of which reaches the network."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metapo import tracking
from metapo.cli import main
from metapo.files import append_row
from metapo.run import METRICS, POLICY
from metapo.store import Store

ROWS: list[dict[str, Any]] = [
    {"kind": "train", "step": 0, "revision": "a", "reward": 0.25, "unscored": 0.0},
    {"kind": "train", "step": 1, "revision": "a", "reward": 0.5, "unscored": 0.0},
    {"kind": "meta", "step": 2, "revision": "b", "decision": "adopted", "seconds": 3.0},
    {"kind": "eval", "step": 2, "revision": "b", "reward": 0.75},
]


class Seen:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, figures: Any) -> None:
        self.logged.append((step, dict(figures)))

    def close(self) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    for row in ROWS:
        append_row(folder / METRICS, row)
    return folder


def track(*arguments: object) -> Any:
    done = CliRunner().invoke(main, ["track", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def test_tensorboard_reads_what_was_sent(run: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    done = track(run, "--to", "tensorboard")
    assert done.output == f"4 rows sent to {run / 'tensorboard'}\n"
    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["tensors"]) == {"reward", "unscored", "meta/adopted", "meta/seconds", "eval/reward"}
    assert [(e.step, float(make_ndarray(e.tensor_proto))) for e in board.Tensors("reward")] == [(0, 0.25), (1, 0.5)]


def in_a_process(run: Path, to: str, **environment: str) -> None:
    """These libraries read their environment once, and write the last of it when a process ends."""
    command = [sys.executable, "-m", "metapo", "track", str(run), "--to", to, "--project", "p", "--name", "n"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"4 rows sent to {to}, project p, run n\n" in done.stdout


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_what_was_sent(run: Path) -> None:
    in_a_process(run, "wandb", WANDB_MODE="offline", WANDB_DIR=str(run), WANDB_SILENT="true")
    [log] = run.glob("wandb/offline-run-*/*.wandb")
    written = log.read_bytes()
    for name in (b"eval/reward", b"meta/adopted", b"unscored"):
        assert name in written


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_keeps_what_was_sent(run: Path) -> None:
    in_a_process(run, "trackio", TRACKIO_DIR=str(run / "kept"), HF_HUB_OFFLINE="1")
    with closing(sqlite3.connect(run / "kept" / "p.db")) as db:
        rows = db.execute("SELECT step, metrics FROM metrics WHERE run_name = 'n' ORDER BY id").fetchall()
    assert [(step, json.loads(metrics)) for step, metrics in rows] == [
        (0, {"reward": 0.25, "unscored": 0.0}),
        (1, {"reward": 0.5, "unscored": 0.0}),
        (2, {"meta/adopted": 1.0, "meta/seconds": 3.0}),
        (2, {"eval/reward": 0.75}),
    ]


def test_a_served_run_is_read_from_its_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    attempt = store.begin_attempt(resumed_step=0, now=datetime.now(UTC))
    for row in ROWS:
        store.append_metric(attempt, row)
    store.close()
    assert tracking.rows_of(tmp_path) == ROWS


def test_following_sends_each_row_once_and_ends_with_the_policy(run: Path) -> None:
    seen, pauses = Seen(), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        append_row(run / METRICS, {"kind": "train", "step": 2 + len(pauses), "reward": 1.0})
        if len(pauses) == 2:
            (run / POLICY).mkdir()

    assert tracking.follow(run, seen, 5.0, sleep=sleep) == 6
    assert pauses == [5.0, 5.0]
    assert [step for step, _ in seen.logged] == [0, 1, 2, 2, 3, 4]


def test_what_is_no_run_opens_nothing(tmp_path: Path) -> None:
    done = track(tmp_path, "--to", "tensorboard")
    assert done.exit_code == 1
    assert f"{tmp_path} is no run folder: there is neither {tmp_path / METRICS}" in done.stderr
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("library", ["tensorboard", "wandb", "trackio"])
def test_a_missing_library_names_its_extra(run: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules, library]:
        if name.split(".")[0] == library:
            monkeypatch.setitem(sys.modules, name, None)
    done = track(run, "--to", library)
    assert done.exit_code == 1
    assert f"pip install 'metapo[{library}]'" in done.stderr


def test_a_url_is_no_place_for_files() -> None:
    assert "give --out FOLDER" in track("postgresql://x/y", "--to", "tensorboard").stderr
    assert "--follow takes a run folder" in track("postgresql://x/y", "--to", "wandb", "--follow").stderr

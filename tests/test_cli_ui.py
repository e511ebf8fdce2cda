"""metapo ui as a program: what it says, what it refuses, how it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from bench.ui.made import make
from click.testing import CliRunner

from metapo.cli import main


def test_it_says_where_it_shows_and_ends_when_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / "runs" / name, 64, n_meta_steps=1)
    command = [sys.executable, "-m", "metapo", "ui", "runs", "--port", "0", "--read-only"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said.startswith("metapo shows 2 runs at http://127.0.0.1:")
        told = httpx2.get(said.split()[-1] + "/v1/runs", timeout=30).json()
        assert [entry["run"] for entry in told["runs"]] == ["one", "two"]
        assert told["can_act"] is False
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'RUN...'"),
        (("nowhere",), "nowhere holds no run: there is no nowhere/store.db"),
        (("empty",), "Give the folder of a run, or the URL of a store"),
        (("served",), "give that URL in its place"),
        (("broken",), "The file is damaged or is no store"),
        (("mysql://h/db",), "begins with mysql://"),
        (("empty", "--host", "0.0.0.0"), "read the runs and decide on their rubrics. Give a token"),
        (("empty", "--token-env", "NOT_SET_ANYWHERE"), "which is not set"),
        (("empty", "--port", "99999"), "--port"),
        (("empty", "--host", "no such host"), "--host"),
    ],
)
def test_what_cannot_be_shown_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "served", "broken"):
        Path(name).mkdir()
    Path("served/settings.yaml").touch()
    Path("broken/store.db").write_text("no database, however long it is" * 50)
    result = CliRunner().invoke(main, ["ui", *arguments])
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output

"""bench/server measures what it says, on a load of half a second."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_it_prints_a_row_per_load() -> None:
    command = [sys.executable, "-m", "bench.server", "--clients", "2", "--servers", "2", "--seconds", "0.5"]
    command += ["--group", "3", "--judge-ms", "20"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert found.returncode == 0, found.stderr
    _, _, row = found.stdout.splitlines()
    store, servers, clients, group, judge_ms, *figures = (cell.strip() for cell in row.strip("|").split("|"))
    assert (store, servers, clients, group, judge_ms) == ("SQLite", "2", "2", "3", "20")
    rewards_per_second, p50, p95, p99, before, after = map(float, figures)
    assert rewards_per_second > 0
    assert 0 <= p50 <= p95 <= p99
    assert 20 < before <= after + 5

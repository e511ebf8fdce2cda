"""How long `metapo ui` takes to answer on a run of 100,000 rollouts, route by route.

The run is made (`bench.ui.made`), unless `--run` names one. A real server is started and asked by one client over one
connection: the first answer to this question, then the median and the 95th percentile of the next ones. The CPU
milliseconds are the server's own, per answer: on a busy machine they say more than the clock. Times depend on the
machine and on who else uses it: compare only what one run has measured.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
from bench.ui.made import make

REPEATS = 20
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
HEAD = f"{'':<36}{'first ms':>10}{'p50':>8}{'p95':>8}{'CPU':>8}{'KiB':>8}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--run", type=Path, help="a run folder to look at in place of a made one")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        run = args.run or make(Path(folder) / "run", args.rollouts)
        size = sum(path.stat().st_size for path in run.iterdir() if path.is_file()) / 2**20
        print(f"{run.name}: {size:.0f} MiB" + ("" if args.run else f", made in {time.monotonic() - began:.0f} s"))
        with serving(run) as (url, pid), httpx2.Client(base_url=url, timeout=60) as client:
            print(HEAD)
            for name, path in paths(client).items():
                print(f"{name:<36}{report(client, pid, path, args.repeats)}", flush=True)


def paths(client: httpx2.Client) -> dict[str, str]:
    """What is asked, by what it is called; asking for it here is no part of the measurement."""
    with httpx2.Client(base_url=client.base_url, timeout=60) as other:
        [entry] = other.get("/v1/runs").json()["runs"]
        run = f"/v1/runs/{entry['run']}"
        found = other.get(f"{run}/lineage").json()["nodes"]
        adopted = [node["id"] for node in found if node["in_force_from"] is not None]
        meta_steps = other.get(f"{run}/meta-steps").json()["meta_steps"]
        rollout = other.get(f"{run}/rollouts?limit=1").json()["rollouts"][0]
        metrics = other.get(f"{run}/metrics?columns=reward").json()
    rollouts, step, middle = f"{run}/rollouts", meta_steps[-1]["step"], entry["step"] // 2
    since = f"after={metrics['newest'] - 4}&generation={metrics['generation']}"
    return {
        "runs": "/v1/runs",
        "run": run,
        "metrics, all": f"{run}/metrics",
        "metrics, what is new": f"{run}/metrics?{since}",
        "lineage": f"{run}/lineage",
        "revision": f"{run}/revisions/{adopted[-1]}",
        "diff": f"{run}/diff?from={adopted[0]}&to={adopted[-1]}",
        "criteria, 40 steps": f"{run}/criteria",
        "rollouts, newest 50": rollouts,
        "rollouts, best 50": f"{rollouts}?order=best",
        "rollouts, of two steps": f"{rollouts}?from_step={middle}&to_step={middle + 1}",
        "rollouts, by reward": f"{rollouts}?min_reward=0.4&max_reward=0.42",
        "rollouts, by flag": f"{rollouts}?flag=repetition",
        "rollouts, by level": f"{rollouts}?criterion=style&points=0",
        "rollouts, without a verdict": f"{rollouts}?criterion=style&has_verdict=false",
        "rollouts, of a revision": f"{rollouts}?revision={adopted[0]}",
        "rollouts, text that is often there": f"{rollouts}?text=accidents",
        "rollouts, text that is nowhere": f"{rollouts}?text=zeppelin",
        "rollout": f"{rollouts}/{rollout['id']}",
        "prompt": f"{run}/prompts/{rollout['prompt_id']}",
        "pairs": f"{run}/pairs?left={adopted[0]}&right={adopted[1]}",
        "meta steps": f"{run}/meta-steps",
        "meta step": f"{run}/meta-steps/{step}",
        "exchange": f"{run}/meta-steps/{step}/exchanges/0",
        "acts": f"{run}/acts",
        "anchors": f"{run}/anchors",
        "page": "/",
    }


def report(client: httpx2.Client, pid: int, path: str, repeats: int) -> str:
    took: list[float] = []
    n_bytes = 0
    for i in range(repeats + 1):
        if i == 1:
            before = cpu_ms(pid)
        began = time.perf_counter()
        n_bytes = len(client.get(path).content)
        took.append(1000 * (time.perf_counter() - began))
    rest = sorted(took[1:])
    p95 = rest[min(len(rest) - 1, round(0.95 * len(rest)))]
    figures = (took[0], median(rest), p95, (cpu_ms(pid) - before) / repeats, n_bytes / 1024)
    return "".join(f"{x:>{width}.1f}" for x, width in zip(figures, (10, 8, 8, 8, 8), strict=True))


def cpu_ms(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return TICK_MS * (int(fields[11]) + int(fields[12]))


@contextmanager
def serving(run: Path) -> Iterator[tuple[str, int]]:
    """A server's address and its process."""
    command = [sys.executable, "-m", "metapo", "ui", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line: Any = server.stdout.readline()
        try:
            yield line.rpartition(" ")[2].strip(), server.pid
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

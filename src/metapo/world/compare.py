"""Several arms and seeds side by side in processes of their own: resumed where they stopped, then one table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from metapo.errors import RunError
from metapo.files import read_rows, write_whole
from metapo.rubric import Rubric
from metapo.run import METRICS, SETTINGS
from metapo.world.presets import ARMS, RESULT, WorldSettings, arm_settings, with_sources
from metapo.world.runs import rubric_of

SUMMARY = "summary.json"
LOG = "log.txt"
FIGURES = (
    "gold_start",
    "gold_peak",
    "gold_final",
    "gold_held_out",
    "judge_start",
    "judge_final",
    "revisions",
    "seconds",
)


@dataclass(frozen=True)
class Job:
    """One arm under one seed, in its folder."""

    arm: str
    seed: int
    folder: Path

    @property
    def source(self) -> "Job | None":
        """The run beside it whose rubric this one starts with."""
        source = ARMS[self.arm].source
        return Job(source.arm, self.seed, self.folder.parent / f"{source.arm}-{self.seed}") if source else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The figures of the finished run; None before its end."""
        path = self.folder / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def progress(self) -> dict[str, Any]:
        """The newest training row; empty before the first step."""
        rows = [row for row in read_rows(self.folder / METRICS) if row["kind"] == "train"]
        return rows[-1] if rows else {}


Watch = Callable[[Sequence[Job]], None]


def compare(
    arms: Sequence[str], seeds: Sequence[int], out: Path, *, steps: int, sway: float, n_processes: int, watch: Watch
) -> dict[str, Any]:
    """Run what isn't done, calling `watch` about twice a second, and write `summary.json`; returns what it holds.

    Arms whose rubric others start with are run too, and before them.
    Raises RunError for an arm that failed (its log stands in its folder), after the others have ended, and for a
    folder whose runs have other settings.
    """
    jobs = list(dict.fromkeys(Job(arm, seed, out / f"{arm}-{seed}") for seed in seeds for arm in with_sources(arms)))
    for job in jobs:
        _check_settings(job, steps, sway)
    failed = _run_all([j for j in jobs if j.result is None], jobs, steps, sway, n_processes, watch)
    if failed:
        logs = [str(j.folder / LOG) for j in failed if (j.folder / LOG).exists()]
        raise RunError(
            "; ".join(f"{j.arm}, seed {j.seed} failed: {why}" for j, why in failed.items())
            + f". Logs: {', '.join(logs)}. The same command goes on where they stopped."
        )
    summary = summarize([j.result for j in jobs if j.result])
    write_whole(out / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def summarize(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All results, and per arm mean and spread (sample standard deviation; None for one seed) of each figure."""
    runs = list(results)
    arms = {}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        figures = {name: _mean_and_spread([run[name] for run in mine]) for name in FIGURES}
        hacks = {kind: _mean_and_spread([run["hacks"][kind] for run in mine]) for kind in mine[0]["hacks"]}
        arms[arm] = {"seeds": [run["seed"] for run in mine], **figures, "hacks": hacks}
    return {"runs": runs, "arms": arms}


def _mean_and_spread(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": fmean(values), "spread": stdev(values) if len(values) > 1 else None}


def _check_settings(job: Job, steps: int, sway: float) -> None:
    path = job.folder / SETTINGS
    if not path.exists():
        return
    begun = WorldSettings.load(path)
    if begun != arm_settings(job.arm, seed=job.seed, steps=steps, sway=sway, rubric=_first_rubric(job) or begun.rubric):
        raise RunError(
            f"{job.folder} holds a run with other settings (steps, sway or another version of the world). "
            "Choose another --out, or delete that folder."
        )


def _first_rubric(job: Job) -> Rubric | None:
    """What a job with a source starts with; None for others, and as long as the source is not finished."""
    preset = ARMS[job.arm]
    if job.source is None or preset.source is None or job.source.result is None:
        return None
    return rubric_of(job.source.folder, preset.source.share)


def _run_all(
    todo: list[Job], jobs: Sequence[Job], steps: int, sway: float, n_processes: int, watch: Watch
) -> dict[Job, str]:
    """Run jobs, a bounded number at once; returns those that failed and why. On an interrupt all are ended first."""
    waiting, failed = list(todo), dict[Job, str]()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            for job in [j for j in waiting if j.source in failed]:
                waiting.remove(job)
                failed[job] = "the run whose rubric it starts with failed"
            while len(running) < n_processes and (ready := [j for j in waiting if _can_start(j)]):
                waiting.remove(ready[0])
                running[ready[0]] = _start(ready[0], steps, sway)
            time.sleep(0.5)
            for job, process in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    if process.returncode < 0:
                        failed[job] = f"it was ended by signal {-process.returncode}"
                    elif process.returncode > 0 or job.result is None:
                        failed[job] = _last_line(job.folder / LOG)
            watch(jobs)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed


def _can_start(job: Job) -> bool:
    return job.source is None or job.source.result is not None


def _start(job: Job, steps: int, sway: float) -> subprocess.Popen[bytes]:
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"can't make the folder {job.folder}: {e.strerror}. Choose another with --out.") from e
    command = [sys.executable, "-m", "metapo", "world", "run", job.arm, "--seed", str(job.seed), "--steps", str(steps)]
    command += ["--sway", str(sway), *(["--rubric-of", str(job.source.folder)] if job.source else [])]
    command += ["--out", str(job.folder)]
    with (job.folder / LOG).open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1][:300].rstrip(".") if lines else "it wrote nothing"


def table(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """The comparison as rows of text, header first, in words for people who see it for the first time."""
    header = ("arm", "judge", "real quality", "unseen topics", "no reasons", "flattery", "rubrics")
    rows: list[tuple[str, ...]] = [header]
    for arm, figures in summary["arms"].items():
        rows.append(
            (
                arm,
                f"{_show(figures['judge_start'])} -> {_show(figures['judge_final'])}",
                f"{_show(figures['gold_start'])} -> {_show(figures['gold_final'])}",
                _show(figures["gold_held_out"]),
                f"{figures['hacks']['no reasons']['mean']:.0%}",
                f"{figures['hacks']['remark to the grader']['mean']:.0%}",
                f"{figures['revisions']['mean']:.3g}",
            )
        )
    return rows


def _show(figure: dict[str, float | None]) -> str:
    spread = "" if figure["spread"] is None else f" ±{figure['spread']:.2f}"
    return f"{figure['mean']:.2f}{spread}"


def known_arms(names: Sequence[str]) -> list[str]:
    """The arms by name, in order. Raises RunError for one that doesn't exist."""
    if unknown := [name for name in names if name not in ARMS]:
        raise RunError(f"there is no arm {', '.join(unknown)}; choose from {', '.join(ARMS)}")
    return list(names)

import contextlib
import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.cli import main
from metapo.errors import RunError
from metapo.files import append_row, write_whole
from metapo.rubric import Revision, Rubric
from metapo.run import METRICS, SETTINGS, STORE
from metapo.store import Store
from metapo.world.arms import HACKS
from metapo.world.compare import FIGURES, LOG, SUMMARY, Job, Watch, compare, known_arms, summarize, table
from metapo.world.presets import ARMS, RESULT, SWAY, arm_settings, preset_rubric
from metapo.world.runs import rubric_of


def result(arm: str = "iter0", seed: int = 1, **figures: float) -> dict[str, Any]:
    """What a finished run would have written."""
    given_figures = {name: figures.get(name, 0.5) for name in FIGURES}
    hacks = {kind: figures.get(kind, 0.25) for kind in HACKS}
    return {"arm": arm, "seed": seed, "steps": 2, **given_figures, "hacks": hacks, "proposals": 0}


def finish(out: Path, arm: str, seed: int, steps: int = 2) -> Path:
    """A folder that looks like a finished run."""
    folder = out / f"{arm}-{seed}"
    write_whole(folder / SETTINGS, arm_settings(arm, seed=seed, steps=steps).to_yaml())
    write_whole(folder / RESULT, json.dumps(result(arm, seed)))
    return folder


def run(arms: Sequence[str], seeds: Sequence[int], out: Path, watch: Watch = lambda jobs: None) -> dict[str, Any]:
    return compare(arms, seeds, out, steps=2, sway=SWAY, n_processes=2, watch=watch)


# --- arms


def test_known_arms_stay_in_order() -> None:
    assert known_arms(["mpo", "iter0"]) == ["mpo", "iter0"]
    assert known_arms([*ARMS]) == [*ARMS]


def test_an_unknown_arm_is_named_with_those_there_are() -> None:
    with pytest.raises(RunError) as caught:
        known_arms(["mpo", "magic", "more"])
    assert str(caught.value) == f"there is no arm magic, more; choose from {', '.join(ARMS)}"


# --- the summary


def test_one_seed_has_no_spread() -> None:
    arm = summarize([result(gold_final=0.25)])["arms"]["iter0"]
    assert arm["gold_final"] == {"mean": 0.25, "spread": None}
    assert arm["hacks"]["no reasons"] == {"mean": 0.25, "spread": None}


def test_arms_keep_their_order_and_their_seeds() -> None:
    runs = [result("mpo", 2), result("iter0", 2), result("mpo", 1), result("iter0", 1)]
    summary = summarize(runs)
    assert summary["runs"] == runs
    assert {arm: figures["seeds"] for arm, figures in summary["arms"].items()} == {"mpo": [2, 1], "iter0": [2, 1]}
    assert [*summary["arms"]] == ["mpo", "iter0"]


figures = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6)


@given(figures, st.sampled_from([*FIGURES, *HACKS]))
def test_mean_and_spread_agree_with_their_twin(values: list[float], name: str) -> None:
    arm = summarize([result("mpo", i, **{name: v}) for i, v in enumerate(values)] + [result("iter0")])["arms"]["mpo"]
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    found = (arm | arm["hacks"])[name]
    assert found["mean"] == pytest.approx(mean, abs=1e-9)
    assert found["spread"] == pytest.approx(spread, abs=1e-9)


@settings(max_examples=30)
@given(st.permutations(range(4)))
def test_the_order_of_runs_changes_no_figure(order: list[int]) -> None:
    runs = [result("mpo", i, gold_final=i / 10) for i in range(4)]
    shuffled = summarize([runs[i] for i in order])["arms"]["mpo"]["gold_final"]
    assert shuffled == pytest.approx(summarize(runs)["arms"]["mpo"]["gold_final"])


def test_the_table_tells_it_in_words() -> None:
    first = result("iter0", 1, judge_start=0.5, judge_final=0.75, gold_start=0.25, gold_final=0.125, revisions=1)
    second = {**first, "seed": 2, "gold_final": 0.375}
    mpo = result("mpo", 1, revisions=12, gold_held_out=0.5, **{"no reasons": 1.0, "remark to the grader": 0.0})
    header, one, other = table(summarize([first, second, mpo]))
    assert len(header) == len(one) == len(other) == len(set(header))
    assert one == (*("iter0", "0.50 ±0.00 -> 0.75 ±0.00", "0.25 ±0.00 -> 0.25 ±0.18", "0.50 ±0.00", "25%", "25%", "1"),)
    assert other == ("mpo", "0.50 -> 0.50", "0.50 -> 0.50", "0.50", "100%", "0%", "12")


# --- one job


def test_a_job_without_a_folder_has_not_begun(tmp_path: Path) -> None:
    job = Job("mpo", 1, tmp_path / "mpo-1")
    assert (job.result, job.progress()) == (None, {})


def test_progress_is_the_newest_training_row(tmp_path: Path) -> None:
    for row in ({"kind": "train", "step": 0}, {"kind": "train", "step": 1}, {"kind": "trainer", "step": 2}):
        append_row(tmp_path / METRICS, row)
    with (tmp_path / METRICS).open("a") as f:
        f.write('{"kind": "train", "st')
    assert Job("mpo", 1, tmp_path).progress() == {"kind": "train", "step": 1}


# --- what is finished is read, and what doesn't fit is refused, without a process


def test_finished_runs_are_only_read(tmp_path: Path) -> None:
    for seed in (1, 2):
        finish(tmp_path, "iter0", seed)
    asked: list[object] = []
    summary = run(["iter0"], [1, 2], tmp_path, asked.append)
    assert summary == summarize([result("iter0", 1), result("iter0", 2)])
    assert json.loads((tmp_path / SUMMARY).read_text()) == summary
    assert asked == []


def test_an_arm_or_a_seed_given_twice_counts_once(tmp_path: Path) -> None:
    finish(tmp_path, "iter0", 1)
    assert run(["iter0", "iter0"], [1, 1], tmp_path)["runs"] == [result("iter0", 1)]


@pytest.mark.parametrize("changed", [{"steps": 3}, {"sway": 1.0}])
def test_a_folder_with_other_settings_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    folder = finish(tmp_path, "mpo", 1)
    with pytest.raises(RunError) as caught:
        compare(["mpo"], [1], tmp_path, **({"steps": 2, "sway": SWAY} | changed), n_processes=1, watch=print)
    assert str(caught.value).startswith(f"{folder} holds a run with other settings")
    assert "Choose another --out, or delete that folder" in str(caught.value)
    assert not (tmp_path / SUMMARY).exists()


def test_a_place_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"can't make the folder .*/file/out/iter0-1: Not a directory\. Choose another"):
        run(["iter0"], [1], tmp_path / "file" / "out")


# --- arms that start with another's rubric


def begin(out: Path, arm: str, seed: int, *rubrics: Rubric, steps: int = 2) -> Path:
    """A run folder whose lineage holds these rubrics, adopted after 0, 1, 2, ... steps."""
    folder = out / f"{arm}-{seed}"
    write_whole(folder / SETTINGS, arm_settings(arm, seed=seed, steps=steps).to_yaml())
    store = Store(folder / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    for step, rubric in enumerate(rubrics):
        store.adopt(attempt, step, Revision(rubric=rubric, reason="test", proposer="person", step=step))
    store.close()
    return folder


ITER0, EXPERT, ORACLE = (preset_rubric(name) for name in ("iter0", "expert", "oracle"))


@pytest.mark.parametrize(("share", "rubric"), [(1, EXPERT), (0.5, EXPERT), (0.4, ITER0), (0, ITER0)])
def test_a_rubric_is_taken_from_where_a_run_was(tmp_path: Path, share: float, rubric: Rubric) -> None:
    assert rubric_of(begin(tmp_path, "mpo", 1, ITER0, EXPERT, ORACLE), share) == rubric


def test_a_run_without_a_rubric_gives_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"mpo-1 holds no run whose rubric could be taken: it has no store\.db"):
        rubric_of(tmp_path / "mpo-1")
    with pytest.raises(RunError, match=r"the run in \S+mpo-1 has not begun"):
        rubric_of(begin(tmp_path, "mpo", 1))


def test_a_finished_arm_fits_the_rubric_that_its_source_ended_with(tmp_path: Path) -> None:
    """What was handed over stands in the settings in full; another rubric is another run."""
    folder = begin(tmp_path, "mpo", 1, ITER0, EXPERT)
    write_whole(folder / RESULT, json.dumps(result("mpo", 1)))
    final = tmp_path / "final-from-start-1"
    write_whole(final / RESULT, json.dumps(result("final-from-start", 1)))
    write_whole(final / SETTINGS, arm_settings("final-from-start", seed=1, steps=2, rubric=EXPERT).to_yaml())
    assert [r["arm"] for r in run(["final-from-start"], [1], tmp_path)["runs"]] == ["mpo", "final-from-start"]
    write_whole(final / SETTINGS, arm_settings("final-from-start", seed=1, steps=2, rubric=ORACLE).to_yaml())
    with pytest.raises(RunError, match="final-from-start-1 holds a run with other settings"):
        run(["final-from-start"], [1], tmp_path)


def test_a_folder_of_an_older_version_of_the_settings_still_fits(tmp_path: Path) -> None:
    folder = finish(tmp_path, "iter0", 1)
    told = yaml.safe_load((folder / SETTINGS).read_text())
    for name in ("meta_model", "flaw", "start", "strict", "tires_after"):
        del told[name]
    write_whole(folder / SETTINGS, yaml.safe_dump(told))
    assert run(["iter0"], [1], tmp_path)["runs"] == [result("iter0", 1)]


# --- processes, with a program in Python's place that ends at once

FAKE = """#!/bin/sh
echo "$OMP_NUM_THREADS $*" >> "{calls}"
case "$*" in *" 3 "*) echo "Traceback: a lot"; echo "Error: seed 3 brings bad luck." >&2; exit 1;; esac
for out; do :; done
{busy}
cp "{results}/$(basename "$out").json" "$out/result.json"
"""
# Fails where a second process is at work.
ALONE = 'mkdir "{folder}/busy" || exit 1; sleep 0.1; rmdir "{folder}/busy"'


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Puts the program in place; returns a function that lists the commands it was started with."""
    program, record = tmp_path / "python", tmp_path / "calls"
    for arm in ("iter0", "mpo", "final-from-start"):
        for seed in (1, 2, 3):
            write_whole(tmp_path / "results" / f"{arm}-{seed}.json", json.dumps(result(arm, seed)))
    busy = ALONE.format(folder=tmp_path)
    program.write_text(FAKE.format(calls=record, results=tmp_path / "results", busy=busy))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return lambda: record.read_text().splitlines()


def test_each_arm_and_seed_is_a_process_of_its_own(tmp_path: Path, calls: Callable[[], list[str]]) -> None:
    out = tmp_path / "out"
    seen: list[Sequence[Job]] = []
    compared = compare(["iter0", "mpo"], [2, 1], out, steps=2, sway=0.5, n_processes=1, watch=seen.append)
    order = [("iter0", 2), ("mpo", 2), ("iter0", 1), ("mpo", 1)]
    assert calls() == [
        f"1 -m metapo world run {arm} --seed {seed} --steps 2 --sway 0.5 --out {out}/{arm}-{seed}"
        for arm, seed in order
    ]
    assert [(r["arm"], r["seed"]) for r in compared["runs"]] == order
    assert [[(job.arm, job.seed) for job in jobs] for jobs in seen] == [order] * len(seen)
    assert len(seen) >= 4


@pytest.mark.parametrize("n_processes", [1, 3])
def test_a_source_ends_before_its_rubric_is_taken(
    tmp_path: Path, calls: Callable[[], list[str]], n_processes: int
) -> None:
    """With many processes the second arm still waits for the first; ALONE fails where two are at work."""
    out = tmp_path / "out"
    compared = compare(
        ["final-from-start"], [1], out, steps=2, sway=SWAY, n_processes=n_processes, watch=lambda jobs: None
    )
    mpo, final = calls()
    assert mpo == f"1 -m metapo world run mpo --seed 1 --steps 2 --sway 0.25 --out {out}/mpo-1"
    assert final == (
        "1 -m metapo world run final-from-start --seed 1 --steps 2 --sway 0.25 "
        f"--rubric-of {out}/mpo-1 --out {out}/final-from-start-1"
    )
    assert [r["arm"] for r in compared["runs"]] == ["mpo", "final-from-start"]


def test_an_arm_fails_with_its_source(tmp_path: Path, calls: Callable[[], list[str]]) -> None:
    out = tmp_path / "out"
    with pytest.raises(RunError) as caught:
        compare(["final-from-start"], [3, 1], out, steps=2, sway=SWAY, n_processes=1, watch=lambda jobs: None)
    assert str(caught.value) == (
        "mpo, seed 3 failed: Error: seed 3 brings bad luck; final-from-start, seed 3 failed: the run whose rubric it "
        f"starts with failed. Logs: {out}/mpo-3/{LOG}. The same command goes on where they stopped."
    )
    assert [line.split()[5] for line in calls()] == ["mpo", "mpo", "final-from-start"]


def test_the_others_end_when_one_fails_and_it_is_run_again(tmp_path: Path, calls: Callable[[], list[str]]) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            compare(["iter0"], [3, 1], out, steps=2, sway=SWAY, n_processes=1, watch=lambda jobs: None)
        assert str(caught.value) == (
            f"iter0, seed 3 failed: Error: seed 3 brings bad luck. Logs: {out}/iter0-3/{LOG}. "
            "The same command goes on where they stopped."
        )
    assert [line.split()[7] for line in calls()] == ["3", "1", "3"]
    assert (out / "iter0-3" / LOG).read_text() == "Traceback: a lot\nError: seed 3 brings bad luck.\n" * 2
    assert not (out / SUMMARY).exists()


# --- real runs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms of two steps, of which one was killed and the other is finished."""
    folder = tmp_path_factory.mktemp("comparison")
    (folder / "mpo-7").mkdir()
    (folder / "mpo-7" / LOG).write_text("what an earlier attempt wrote\n")
    seen: list[dict[str, Any]] = []

    def kill(jobs: Sequence[Job]) -> None:
        seen.append(jobs[0].progress())
        for pid in processes(folder / "mpo-7"):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RunError, match=r"^mpo, seed 7 failed: it was ended by signal 9\. Logs: \S+/mpo-7/log\.txt\."):
        run(["iter0", "mpo"], [7], folder, kill)
    assert seen[-1]["step"] == 1
    assert not (folder / SUMMARY).exists()
    return folder


def test_a_comparison_goes_on_where_it_stopped(out: Path) -> None:
    kept = (out / "iter0-7" / RESULT).stat().st_mtime_ns
    summary = run(["iter0", "mpo"], [7], out)
    assert (out / "iter0-7" / RESULT).stat().st_mtime_ns == kept
    assert json.loads((out / SUMMARY).read_text()) == summary
    assert [(r["arm"], r["seed"], r["steps"]) for r in summary["runs"]] == [("iter0", 7, 2), ("mpo", 7, 2)]
    assert "Traceback" not in (out / "iter0-7" / LOG).read_text()
    written = {path: path.stat().st_mtime_ns for path in out.glob("*-7/*")}
    assert run(["iter0", "mpo"], [7], out) == summary
    assert {path: path.stat().st_mtime_ns for path in out.glob("*-7/*")} == written
    check_runs(out, summary)
    check_what_is_printed(out, summary)


def check_runs(out: Path, summary: dict[str, Any]) -> None:
    for told in summary["runs"]:
        store = Store(out / f"{told['arm']}-7" / STORE)
        assert (store.verify(), told["revisions"], told["proposals"]) == (1, 1, 0)
        rollouts = store.rollouts()
        store.close()
        assert len(rollouts) == 2 * arm_settings("iter0", seed=7).engine.batch_size
        assert all(0 <= told[name] <= 1 for name in FIGURES if name.startswith(("gold", "judge")))
        assert told["hacks"].keys() == HACKS.keys()
    first, second = summary["runs"]
    # seeds are paired: until the first meta step these two arms are the same run
    assert {k: first[k] for k in FIGURES if k != "seconds"} == {k: second[k] for k in FIGURES if k != "seconds"}


def test_what_was_handed_over_is_trained_on(tmp_path: Path) -> None:
    """One real step under the handed-over rubric, and a second command that needs no source any more."""
    folder = begin(tmp_path, "mpo", 1, ITER0, EXPERT)
    command = ["world", "run", "final-from-start", "--seed", "1", "--steps", "1", "--out", str(tmp_path / "final")]
    missing = CliRunner().invoke(main, command)
    assert "final-from-start starts with a rubric of mpo under the same seed" in missing.output
    done = CliRunner().invoke(main, [*command, "--rubric-of", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "final" / STORE)
    assert [revision.rubric for _, revision in store.lineage()] == [EXPERT]
    store.close()
    again = CliRunner().invoke(main, command, catch_exceptions=False)
    assert again.exit_code == 0, again.output


def check_what_is_printed(out: Path, summary: dict[str, Any]) -> None:
    command = ["world", "compare", "--arms", "iter0,mpo", "--seeds", "7,7", "--steps", "2", "--out", str(out)]
    done = CliRunner().invoke(main, command, catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    printed = [re.split(r"  +", line.strip()) for line in done.output.splitlines()]
    assert all([*row] in printed for row in table(summary))
    assert "One seed; start -> mean of the last 10 steps. A model organism:" in done.output
    assert f"Report: {out / 'report.html'}\nRubrics: metapo rubric log {out / 'mpo-7'}" in done.output
    assert (out / "report.html").stat().st_size > 10_000


def test_an_interrupt_ends_the_processes(tmp_path: Path) -> None:
    seen: list[int] = []

    def interrupt(jobs: Sequence[Job]) -> None:
        seen.extend(processes(tmp_path))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["iter0", "mpo"], [1], tmp_path, interrupt)
    assert len(seen) == 2
    assert processes(tmp_path) == []
    assert [*tmp_path.glob(f"*/{RESULT}")] == []


def processes(out: Path) -> list[int]:
    """The processes on this machine whose command names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # one that ended while we looked
            if str(out).encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found

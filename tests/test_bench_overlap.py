"""bench/overlap measures what it says: its arithmetic on made-up times, and a few steps of the real thing."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.overlap import MetaTime, SlowMeta, Timing, Trial, make_settings, parse, table

from metapo.judge.transport import ChatRequest
from metapo.rollout import Message
from metapo.world.presets import arm_settings
from tests.world.test_spoilt import FULL, merge_prompt

ROOT = Path(__file__).parents[1]

# Steps take 1 s but for those beside a meta step, which take 1.5 s.
BLOCKING = Timing(5, [0.0, 1.0, 4.0, 5.0, 6.0], [MetaTime(began=2, ended=2, seconds=2.0, waited_s=2.0)])
OVERLAPPED = Timing(5, [0.0, 1.0, 2.5, 4.0, 5.0], [MetaTime(began=2, ended=4, seconds=2.9, waited_s=0.0)])


def test_steps_are_told_apart_and_waiting_is_not_training() -> None:
    assert BLOCKING.steps_s() == ([1.0, 1.0, 1.0, 1.0], [])
    assert OVERLAPPED.steps_s() == ([1.0, 1.0], [1.5, 1.5])


def test_a_meta_step_that_ended_early_is_beside_fewer_steps() -> None:
    early = Timing(5, OVERLAPPED.ends_s, [MetaTime(began=2, ended=4, seconds=1.4, waited_s=0.0)])
    assert early.steps_s() == ([1.0, 1.5, 1.0], [1.5])


def test_one_that_came_late_is_waited_for() -> None:
    late = Timing(5, [0.0, 1.0, 2.5, 4.0, 5.7], [MetaTime(began=2, ended=4, seconds=3.7, waited_s=0.7)])
    alone, beside = late.steps_s()
    assert alone == pytest.approx([1.0, 1.0])
    assert beside == pytest.approx([1.5, 1.5])


def test_the_table_holds_the_shares() -> None:
    _, _, blocking, overlapped = table({"blocking": BLOCKING, "overlapped": OVERLAPPED}).splitlines()
    assert blocking == "| blocking | 5 | 1 | 6.0 | 2.0 | 2.0 | 33.3% | 1.00 |  |"
    assert overlapped == "| overlapped | 5 | 1 | 5.0 | 2.9 | 0.0 | 0.0% | 1.00 | 1.50 |"


def test_the_pause_fills_what_computing_leaves() -> None:
    trial = Trial(step_s=0.5, target_s=1.0, computing_s=0.4, n_in_a_row=30)
    assert trial.pause_s == pytest.approx(0.02)
    assert Trial(step_s=0.5, target_s=1.0, computing_s=1.4, n_in_a_row=30).pause_s == 0


async def test_requests_sent_at_once_wait_at_once() -> None:
    meta = SlowMeta(0.1)
    message = Message(role="user", content=merge_prompt(FULL, 0))
    request = ChatRequest(messages=(message,), max_tokens=9)
    began = time.monotonic()
    await asyncio.gather(*(meta.complete(request) for _ in range(5)))
    await meta.complete(request)
    assert 0.19 <= meta.paused_s <= time.monotonic() - began, (
        "each wait counts once, so they make up no more than passed"
    )


def test_both_modes_have_the_same_schedule() -> None:
    waits, overlaps = (make_settings(9, 4, 1, staleness) for staleness in (0, 2))
    assert waits.meta.model_copy(update={"staleness": 2}) == overlaps.meta
    assert (waits.meta.when, waits.meta.every) == ("every", 4)
    assert waits.meta.gate is not None
    assert waits.model_copy(update={"meta": None}) == arm_settings("metapo", seed=1, steps=9).model_copy(
        update={"meta": None}
    )


@pytest.mark.parametrize("arguments", [["--every", "3"], ["--steps", "23"], ["--staleness", "0"]])
def test_runs_in_which_no_meta_step_ends_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)


def test_it_runs() -> None:
    command = [sys.executable, "bench/overlap.py", "--steps", "6", "--every", "3", "--staleness", "2"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("A training step takes ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[-2:]]
    assert [row[:3] for row in rows] == [["blocking", "6", "1"], ["overlapped", "6", "1"]]
    assert float(rows[0][5]) > 0
    assert rows[0][8] == ""
    assert rows[1][8] != ""
